//! The engine's own service: what the CRI has no word for.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use futures_util::{StreamExt as _, TryStreamExt as _};
use tokio::io::AsyncRead;
use tokio_util::io::StreamReader;
use tonic::{Request, Response, Status, Streaming};

use super::Door;
use crate::{
    berth_wire::{
        ImportImageRequest, ImportImageResponse, ImportedImage, engine_server::Engine, import_image_request::Part,
    },
    cri::convert::Invalid,
};

#[tonic::async_trait]
impl Engine for Door {
    async fn import_image(
        &self,
        request: Request<Streaming<ImportImageRequest>>,
    ) -> Result<Response<ImportImageResponse>, Status> {
        let images = self.engine()?.images();
        let mut messages = request.into_inner();
        let name = match messages.message().await?.and_then(|first| first.part) {
            Some(Part::Options(options)) => options.name,
            _ => return Err(Invalid::new("options", "must come in the first message").into()),
        };
        let name = Some(name.as_str()).filter(|name| !name.is_empty());
        let malformed = Arc::new(AtomicBool::new(false));
        let imported = images.import(archive(messages, Arc::clone(&malformed)), name).await;
        if malformed.load(Ordering::Relaxed) {
            return Err(Invalid::new("part", "must be data after the first message").into());
        }
        let imported = imported?;
        let images =
            imported.iter().map(|image| ImportedImage { id: image.id.to_string(), tags: image.tags.clone() }).collect();
        Ok(Response::new(ImportImageResponse { images }))
    }
}

/// The bytes of the messages that follow the first, as one stream. A message without bytes breaks it off, and is told
/// in `malformed`.
fn archive(
    messages: Streaming<ImportImageRequest>,
    malformed: Arc<AtomicBool>,
) -> impl AsyncRead + Send + Unpin + 'static {
    let pieces = messages.map_err(io::Error::other).map(move |message| match message?.part {
        Some(Part::Data(data)) => Ok(io::Cursor::new(data)),
        _ => {
            malformed.store(true, Ordering::Relaxed);
            Err(io::Error::from(io::ErrorKind::InvalidData))
        }
    });
    StreamReader::new(Box::pin(pieces))
}
