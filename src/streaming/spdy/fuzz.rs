//! What the fuzz target of SPDY checks of the server's side.

use super::frame;

/// What a server sent must be whole frames.
pub(in crate::streaming) async fn check_frames(mut sent: &[u8]) {
    while let Some(_frame) = frame::read(&mut sent).await.expect("the server sends whole frames") {}
}
