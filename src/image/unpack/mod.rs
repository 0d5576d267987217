//! Layers: from a compressed stream to a directory in overlayfs form.
//!
//! A layer is unpacked by itself, without the layers below it, so that all layers of an image can be unpacked at the
//! same time and shared between images. Names in the archive are never followed as paths of this host: each is
//! resolved below the layer's root by directory file descriptors, one component or one `openat2(2)` at a time.

mod apply;
mod attributes;
mod compression;
mod entry_path;
mod error;
mod fill;
mod layer;
mod pipe;
mod plain;
mod tally;
mod tree;

pub(super) use apply::Limits;
pub(super) use attributes::{Attributes, is_opaque};
pub(super) use compression::Compression;
pub use error::Error;
pub(super) use error::shown;
pub(super) use layer::{Expected, Unpacked, unpack};
pub(super) use plain::write_file;
pub(super) use tally::{LowerLink, Tally};
pub(super) use tree::is_whiteout;

#[cfg(test)]
mod tests;
