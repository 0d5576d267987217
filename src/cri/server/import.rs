//! Images out of an archive that the client sends.

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
use tonic::{Status, Streaming};

use crate::{
    berth_wire::{ImportImageRequest, ImportImageResponse, ImportedImage, import_image_request::Part},
    cri::convert::Invalid,
    image,
};

/// Takes the images in.
pub(super) async fn import(
    images: &Arc<image::Store>,
    mut messages: Streaming<ImportImageRequest>,
) -> Result<ImportImageResponse, Status> {
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
    let images =
        imported?.iter().map(|image| ImportedImage { id: image.id.to_string(), tags: image.tags.clone() }).collect();
    Ok(ImportImageResponse { images })
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
