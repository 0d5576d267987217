//! The engine's own service: what the CRI has no word for.

use std::io;

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
        let imported = images.import(archive(messages), name).await?;
        let images =
            imported.iter().map(|image| ImportedImage { id: image.id.to_string(), tags: image.tags.clone() }).collect();
        Ok(Response::new(ImportImageResponse { images }))
    }
}

/// The bytes of the messages that follow the first, as one stream. A message without bytes breaks it off.
fn archive(messages: Streaming<ImportImageRequest>) -> impl AsyncRead + Send + Unpin + 'static {
    let pieces = messages.map_err(io::Error::other).map(|message| match message?.part {
        Some(Part::Data(data)) => Ok(io::Cursor::new(data)),
        _ => Err(io::Error::new(io::ErrorKind::InvalidData, "a message of the archive has no data")),
    });
    StreamReader::new(Box::pin(pieces))
}
