//! The images of a run, and the registry that has them.

use berth::{
    berth_wire::{CheckRequest, engine_client::EngineClient},
    wire::{Image, ImageSpec, ImageStatusRequest, ListImagesRequest, PullImageRequest, RemoveImageRequest},
};
use tonic::Status;

use crate::{
    relay::Relay,
    support::{Archive, Compression, Daemon, Layer, Registry},
};

/// Images in a registry. Each has a file `/name` that says which one it is; they share a layer.
pub(crate) struct Pictures {
    /// Their full names.
    pub(crate) names: Vec<String>,
    /// Between the daemon and the registry.
    pub(crate) relay: Relay,
    _registry: Registry,
}

impl Pictures {
    /// Starts the registry and puts images there.
    pub(crate) async fn bring(names: &[&str]) -> Self {
        let registry = Registry::start_with(Registry::OTHER_ADDRESS, "").await;
        let relay = Relay::start(Registry::ADDRESS, Registry::OTHER_ADDRESS).await;
        let shared = Archive::busybox().with_layer(many_files("shared", 300), Compression::Gzip);
        let mut full_names = Vec::new();
        for (name, size) in names.iter().zip([1, 700_000, 3_000_000].into_iter().cycle()) {
            let big = Layer::new().file("big", 0o644, 0, &noise(name, size));
            let own = many_files(name, 100).file("name", 0o644, 0, name.as_bytes());
            let archive = shared.clone().with_layer(big, Compression::None).with_layer(own, Compression::Zstd);
            let there = registry.push(&archive, &format!("chaos/{name}"), "1").await;
            full_names.push(there.replacen(Registry::OTHER_ADDRESS, Registry::ADDRESS, 1));
        }
        Self { names: full_names, relay, _registry: registry }
    }

    /// What the file `/name` of an image says.
    pub(crate) fn says(name: &str) -> &str {
        name.rsplit('/').next().and_then(|name| name.strip_suffix(":1")).expect("one of these images")
    }

    /// Checks the store, then removes all images.
    pub(crate) async fn remove_all(&self, daemon: &Daemon) {
        check_store(daemon).await;
        for image in list(daemon).await.expect("list images") {
            remove(daemon, &image.id).await.expect("remove an image");
        }
        assert_eq!(list(daemon).await.expect("list images"), []);
    }
}

fn many_files(name: &str, count: u32) -> Layer {
    (0..count).fold(Layer::new().directory(name, 0o755, 0), |layer, number| {
        layer.file(&format!("{name}/{number}"), 0o644, 0, format!("{name} {number}").as_bytes())
    })
}

/// Bytes that no compression makes less.
fn noise(name: &str, size: usize) -> Vec<u8> {
    let seed = name.bytes().fold(1, |seed: u64, byte| seed.wrapping_mul(31).wrapping_add(byte.into()));
    let mut chance = fastrand::Rng::with_seed(seed);
    (0..size).map(|_| chance.u8(..)).collect()
}

/// Fails when `berth image check` finds anything.
pub(crate) async fn check_store(daemon: &Daemon) {
    let answer = EngineClient::new(daemon.channel()).check_images(CheckRequest { repair: false }).await;
    let findings = answer.expect("check the store").into_inner().findings;
    assert!(findings.is_empty(), "{findings:#?}");
}

pub(crate) async fn pull(daemon: &Daemon, name: &str) -> Result<(), Status> {
    let request = PullImageRequest { image: spec(name), ..Default::default() };
    daemon.image().pull_image(request).await.map(drop)
}

pub(crate) async fn remove(daemon: &Daemon, name: &str) -> Result<(), Status> {
    daemon.image().remove_image(RemoveImageRequest { image: spec(name) }).await.map(drop)
}

pub(crate) async fn list(daemon: &Daemon) -> Result<Vec<Image>, Status> {
    Ok(daemon.image().list_images(ListImagesRequest::default()).await?.into_inner().images)
}

pub(crate) async fn is_there(daemon: &Daemon, name: &str) -> Result<bool, Status> {
    let request = ImageStatusRequest { image: spec(name), verbose: false };
    Ok(daemon.image().image_status(request).await?.into_inner().image.is_some())
}

pub(crate) fn spec(name: &str) -> Option<ImageSpec> {
    Some(ImageSpec { image: name.to_owned(), ..Default::default() })
}
