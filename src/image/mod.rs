//! Images: from a registry or an archive to layers that a container's root can be mounted from.
//!
//! - **Owns:** the registry client, blobs, unpacked layers, image records and names, container snapshots, their space.
//! - **Never:** mounts anything, or knows pods, containers' states or the wire.
//! - **Runs in:** the daemon; file work on blocking threads.
//! - **Start reading at:** [`Store`], then `pull.rs`.
//!
//! On disk, below the store's root:
//!
//! | path | what |
//! |---|---|
//! | `blobs/sha256/<hex>` | manifests and configurations as they were received, and layers: those of imported archives, and others if they are to be kept |
//! | `layers/<hex>/fs` | a layer in overlayfs form, named by its diff id (a file of an artifact: by name and content, see `artifact.rs`); `layer.json` beside it says its size, and `settled` that it has reached the disk, and its seal (see `seal.rs`) |
//! | `images/<hex>.json` | an image's record, named by the digest of its configuration (an artifact's: of its manifest); the signatures that let it in are in it |
//! | `ingest/`, `trash/` | what is being received and what is being deleted; emptied at start |
//! | `empty/` | stands in for layers where an image has too few |
//! | `mount-points/` | lowest layer of every container: what something is mounted on |
//! | `lock` | keeps a second process out |
//!
//! Containers' writable parts are in a directory of their own: `<containers>/<id>/{upper,work,snapshot.json}`.

mod admission;
mod artifact;
mod assemble;
mod check;
mod chunks;
mod config;
mod content;
mod cover;
pub mod directory;
mod durable;
mod error;
mod fetch;
#[cfg(test)]
mod fixture;
mod flight;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzz;
mod history;
mod images;
mod import;
mod layers;
mod login;
mod manifest;
mod metrics;
mod names;
mod origin;
mod outgoing;
mod progress;
mod prune;
mod pull;
mod push;
mod receive;
mod record;
pub mod registry;
mod save;
mod seal;
mod settle;
mod snapshot;
mod store;
mod tar;
mod trash;
mod trust;
mod unpack;
mod usage;

pub use check::{CheckReport, Finding};
pub use config::ImageConfig;
pub use error::Error;
pub use history::Step;
pub use metrics::Metrics;
pub use origin::SourceAuth;
pub use outgoing::Platforms;
pub use progress::{BlobProgress, BlobState, Progress};
pub use prune::Pruned;
pub use push::{PushOptions, PushedImage};
pub use record::Image;
pub use registry::{Auth, LoginFile, LoginFileError};
pub use save::Archive;
pub use snapshot::{LayerLimits, Snapshot};
pub use store::{Config, Store};
pub use tar::Error as ArchiveError;
pub use trust::{PolicyError, Untrusted};
pub use unpack::Error as LayerError;
pub use usage::ImageUsage;
