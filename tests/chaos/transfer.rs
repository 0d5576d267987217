//! Images that leave the daemon, as calls of its own service.

use berth::berth_wire::{PushRequest, SaveRequest, engine_client::EngineClient};
use tonic::Status;

use crate::support::Daemon;

/// Pushes to its end.
pub(crate) async fn push(daemon: &Daemon, image: &str, destination: &str) -> Result<(), Status> {
    let (image, destination) = (image.to_owned(), destination.to_owned());
    let request = PushRequest { image, destination, ..Default::default() };
    let mut events = EngineClient::new(daemon.channel()).push_image(request).await?.into_inner();
    let mut last = None;
    while let Some(event) = events.message().await? {
        last = event.result;
    }
    last.map(drop).ok_or_else(|| Status::data_loss("the push ended without a result"))
}

/// Saves an image and returns the archive's length, bytes.
pub(crate) async fn save(daemon: &Daemon, image: &str) -> Result<usize, Status> {
    let request = SaveRequest { images: vec![image.to_owned()], ..Default::default() };
    let mut pieces = EngineClient::new(daemon.channel()).save_images(request).await?.into_inner();
    let mut length = 0;
    while let Some(piece) = pieces.message().await? {
        length += piece.data.len();
    }
    Ok(length)
}
