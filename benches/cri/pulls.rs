//! Images of three shapes, from a registry on the loopback.

use std::time::Instant;

use crate::{Archive, Compression, Layer, memory::Process, node::Node, registry::Registry, report::Column};

const MIB: usize = 1 << 20;
/// How often each image is pulled; the best time counts, because the page cache is cold only once.
const REPETITIONS: usize = 3;

/// Makes the images and pushes them: what they look like, and their names.
pub(crate) async fn push_all(registry: &Registry) -> Vec<(&'static str, String)> {
    let mut noise = Noise(1);
    let many_layers = (0..20).fold(Archive::busybox(), |image, number| {
        let file = Layer::new().file(&format!("layer-{number}"), 0o644, 0, &noise.bytes(MIB));
        image.with_layer(file, Compression::Gzip)
    });
    let files = (0..20_000).fold(Layer::new(), |layer, number| {
        layer.file(&format!("{:02}/{number}", number % 100), 0o644, 0, &noise.bytes(200))
    });
    let many_files = Archive::busybox().with_layer(files, Compression::Gzip);
    let large = (0..4).fold(Archive::busybox(), |image, number| {
        let file = Layer::new().file(&format!("large-{number}"), 0o644, 0, &noise.bytes(64 * MIB));
        image.with_layer(file, Compression::Gzip)
    });
    let mut images = Vec::new();
    for (name, image) in
        [("20 layers of 1 MiB", many_layers), ("20,000 files in a layer", many_files), ("256 MiB in 4 layers", large)]
    {
        let repository = format!("shape-{}", images.len());
        images.push((name, registry.push(&image, &repository, "latest").await));
    }
    images
}

/// Pulls each image several times; what the daemon needs for that at most.
pub(crate) async fn measure(node: &Node, daemon: &Process, images: &[(&str, String)], results: &mut Column) {
    daemon.forget_peak();
    for (shape, image) in images {
        let mut times = Vec::new();
        for _ in 0..REPETITIONS {
            let started = Instant::now();
            node.pull(image).await;
            times.push(started.elapsed());
            node.remove_image(image).await;
        }
        results.add_best_time(&format!("pull of {shape}"), &times);
    }
    results.add_size("peak of the daemon's memory in pulls", daemon.peak().unwrap_or_default());
}

/// Bytes that do not compress, the same in each run (xorshift64*).
struct Noise(u64);

impl Noise {
    fn bytes(&mut self, count: usize) -> Vec<u8> {
        let next = || {
            self.0 ^= self.0 >> 12;
            self.0 ^= self.0 << 25;
            self.0 ^= self.0 >> 27;
            self.0.wrapping_mul(0x2545_f491_4f6c_dd1d).to_le_bytes()
        };
        let mut bytes: Vec<u8> = std::iter::repeat_with(next).take(count.div_ceil(8)).flatten().collect();
        bytes.truncate(count);
        bytes
    }
}
