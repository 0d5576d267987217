//! Images made for tests, as OCI layouts.

use std::{
    collections::BTreeMap,
    fs,
    io::{Read as _, Write as _},
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

/// The image that hack/make-image makes of Debian's busybox-static, as a tar archive of an OCI layout.
pub(crate) fn busybox() -> Vec<u8> {
    static ARCHIVE: OnceLock<Vec<u8>> = OnceLock::new();
    ARCHIVE.get_or_init(make_busybox).clone()
}

fn make_busybox() -> Vec<u8> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("hack/make-image");
    let directory = tempfile::tempdir().expect("make a temporary directory");
    let path = directory.path().join("busybox.tar");
    let output = Command::new(script).arg(&path).output().expect("run hack/make-image");
    assert!(output.status.success(), "hack/make-image: {}", String::from_utf8_lossy(&output.stderr));
    fs::read(path).expect("read the image")
}

/// How a layer is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Compression {
    /// Not at all.
    None,
    /// gzip
    Gzip,
    /// zstd
    Zstd,
}

/// A file tree of one layer.
pub(crate) struct Layer(tar::Builder<Vec<u8>>);

impl Layer {
    /// An empty layer.
    pub(crate) fn new() -> Self {
        Self(tar::Builder::new(Vec::new()))
    }

    /// Adds a file.
    pub(crate) fn file(mut self, path: &str, mode: u32, owner: u64, content: &[u8]) -> Self {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(mode);
        header.set_uid(owner);
        header.set_gid(owner);
        self.0.append_data(&mut header, path, content).expect("append a file");
        self
    }

    /// Adds a symbolic link, with the target as it is.
    pub(crate) fn symlink(mut self, path: &str, target: &str) -> Self {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Symlink);
        header.set_size(0);
        header.set_mode(0o777);
        self.0.append_link(&mut header, path, target).expect("append a link");
        self
    }

    /// Adds a directory.
    pub(crate) fn directory(mut self, path: &str, mode: u32, owner: u64) -> Self {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Directory);
        header.set_size(0);
        header.set_mode(mode);
        header.set_uid(owner);
        header.set_gid(owner);
        self.0.append_data(&mut header, path, std::io::empty()).expect("append a directory");
        self
    }

    /// Adds a file under a name that is written as it is, even if it leads out of the layer.
    pub(crate) fn hostile_file(mut self, path: &str, content: &[u8]) -> Self {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        header.as_gnu_mut().expect("a GNU header").name[..path.len()].copy_from_slice(path.as_bytes());
        header.set_cksum();
        self.0.append(&header, content).expect("append a file");
        self
    }

    /// The tree as a tar archive.
    pub(crate) fn tar(self) -> Vec<u8> {
        self.0.into_inner().expect("finish the layer")
    }
}

/// An image of one platform: its blobs and which of them is the manifest.
#[derive(Debug, Clone)]
pub(crate) struct Archive {
    /// Digest → content.
    pub(crate) blobs: BTreeMap<String, Vec<u8>>,
    /// The manifest's digest.
    pub(crate) manifest: String,
}

impl Archive {
    /// The busybox image.
    pub(crate) fn busybox() -> Self {
        let mut blobs = BTreeMap::new();
        let mut index = Value::Null;
        let archive = busybox();
        let mut archive = tar::Archive::new(archive.as_slice());
        for entry in archive.entries().expect("a tar archive") {
            let mut entry = entry.expect("an entry");
            let path: PathBuf = entry.path().expect("a path").into_owned();
            let mut content = Vec::new();
            entry.read_to_end(&mut content).expect("read the entry");
            if path == Path::new("index.json") {
                index = serde_json::from_slice(&content).expect("the index is JSON");
            } else if let Ok(name) = path.strip_prefix("blobs/sha256")
                && !content.is_empty()
            {
                blobs.insert(format!("sha256:{}", name.display()), content);
            }
        }
        let manifest = index["manifests"][0]["digest"].as_str().expect("a manifest").to_owned();
        Self { blobs, manifest }
    }

    /// The manifest.
    pub(crate) fn manifest(&self) -> Value {
        serde_json::from_slice(&self.blobs[&self.manifest]).expect("the manifest is JSON")
    }

    /// The digest of the configuration, which is the image's id.
    pub(crate) fn id(&self) -> String {
        self.manifest()["config"]["digest"].as_str().expect("a configuration").to_owned()
    }

    /// The configuration.
    pub(crate) fn config(&self) -> Value {
        serde_json::from_slice(&self.blobs[&self.id()]).expect("the configuration is JSON")
    }

    /// The same image with values laid over its `config`, like `{"User": "app"}`.
    pub(crate) fn with_config(self, values: &Value) -> Self {
        let mut config = self.config();
        for (key, value) in values.as_object().expect("an object") {
            config["config"][key] = value.clone();
        }
        let mut manifest = self.manifest();
        self.rebuilt(&config, &mut manifest)
    }

    /// The same image with one more layer on top.
    pub(crate) fn with_layer(mut self, layer: Layer, compression: Compression) -> Self {
        let tar = layer.tar();
        let mut config = self.config();
        config["rootfs"]["diff_ids"].as_array_mut().expect("layers").push(json!(digest(&tar)));
        let (suffix, blob) = compress(&tar, compression);
        let mut manifest = self.manifest();
        let descriptor = json!({
            "mediaType": format!("application/vnd.oci.image.layer.v1.tar{suffix}"),
            "digest": digest(&blob),
            "size": blob.len(),
        });
        manifest["layers"].as_array_mut().expect("layers").push(descriptor);
        self.blobs.insert(digest(&blob), blob);
        self.rebuilt(&config, &mut manifest)
    }

    /// The same image with its manifest changed by hand.
    pub(crate) fn with_manifest(mut self, change: impl FnOnce(&mut Value)) -> Self {
        let mut manifest = self.manifest();
        change(&mut manifest);
        self.blobs.remove(&self.manifest);
        let bytes = serde_json::to_vec(&manifest).expect("JSON");
        self.manifest = digest(&bytes);
        self.blobs.insert(self.manifest.clone(), bytes);
        self
    }

    fn rebuilt(mut self, config: &Value, manifest: &mut Value) -> Self {
        let config = serde_json::to_vec(config).expect("JSON");
        self.blobs.remove(&self.id());
        manifest["config"]["digest"] = json!(digest(&config));
        manifest["config"]["size"] = json!(config.len());
        self.blobs.insert(digest(&config), config);
        let manifest = manifest.take();
        self.with_manifest(|old| *old = manifest)
    }

    /// A tar archive of an OCI layout in which the image has this name.
    pub(crate) fn oci_layout(&self, name: &str) -> Vec<u8> {
        let manifest = &self.blobs[&self.manifest];
        let index = json!({
            "schemaVersion": 2,
            "manifests": [{
                "mediaType": "application/vnd.oci.image.manifest.v1+json",
                "digest": self.manifest,
                "size": manifest.len(),
                "annotations": { "io.containerd.image.name": name },
            }],
        });
        let mut layout = Layer::new().file("oci-layout", 0o644, 0, br#"{"imageLayoutVersion":"1.0.0"}"#).file(
            "index.json",
            0o644,
            0,
            index.to_string().as_bytes(),
        );
        for (digest, blob) in &self.blobs {
            layout = layout.file(&format!("blobs/{}", digest.replace(':', "/")), 0o644, 0, blob);
        }
        layout.tar()
    }

    /// The archive that `docker save` made before it spoke OCI.
    pub(crate) fn docker_archive(&self, name: &str) -> Vec<u8> {
        let manifest = self.manifest();
        let mut layers = Vec::new();
        let mut archive = Layer::new();
        for (number, layer) in manifest["layers"].as_array().expect("layers").iter().enumerate() {
            let blob = &self.blobs[layer["digest"].as_str().expect("a digest")];
            let mut tar = Vec::new();
            flate2::read::GzDecoder::new(blob.as_slice()).read_to_end(&mut tar).expect("a gzip layer");
            let path = format!("{number}/layer.tar");
            archive = archive.file(&path, 0o644, 0, &tar);
            layers.push(path);
        }
        let config = format!("{}.json", self.id().trim_start_matches("sha256:"));
        let index = json!([{ "Config": config, "RepoTags": [name], "Layers": layers }]);
        archive
            .file(&config, 0o644, 0, &self.blobs[&self.id()])
            .file("manifest.json", 0o644, 0, index.to_string().as_bytes())
            .tar()
    }
}

/// The digest of some bytes, with its algorithm.
pub(crate) fn digest(bytes: &[u8]) -> String {
    let hex: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}

fn compress(tar: &[u8], compression: Compression) -> (&'static str, Vec<u8>) {
    match compression {
        Compression::None => ("", tar.to_vec()),
        Compression::Gzip => {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            encoder.write_all(tar).expect("compress");
            ("+gzip", encoder.finish().expect("compress"))
        }
        Compression::Zstd => ("+zstd", zstd::encode_all(tar, 1).expect("compress")),
    }
}
