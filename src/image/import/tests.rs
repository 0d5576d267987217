use std::{path::Path, process::Command};

use crate::{
    error::{Classify as _, Kind as ErrorKind, chain},
    image::{
        Error, Image,
        fixture::{INDEX, Layer, MANIFEST, TestImage, gzip, names, open, until_empty},
        tar::Kind,
    },
    types::Digest,
};

fn layer(name: &str) -> Vec<u8> {
    Layer::new().directory("etc").file(&format!("etc/{name}"), name.as_bytes()).bytes()
}

fn blob_path(content: &[u8]) -> String {
    format!("blobs/sha256/{}", Digest::of(content).hex())
}

/// An OCI layout with these images, each under an annotated name.
fn oci_layout(images: &[(&TestImage, &[(&str, &str)])]) -> Layer {
    let mut archive = Layer::new().file("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#).directory("blobs/sha256");
    let mut choices = Vec::new();
    for (image, annotations) in images {
        for blob in image.blobs.iter().chain([&image.manifest]) {
            archive = archive.file(&blob_path(blob), blob);
        }
        let annotations: std::collections::BTreeMap<_, _> = annotations.iter().copied().collect();
        choices.push(serde_json::json!({
            "mediaType": MANIFEST, "digest": image.digest(), "size": image.manifest.len(), "annotations": annotations}));
    }
    let index = serde_json::json!({"schemaVersion": 2, "manifests": choices});
    archive.file("index.json", index.to_string().as_bytes())
}

/// A docker archive of the old kind; equal layers are links.
fn docker_archive(image: &TestImage, layers: &[Vec<u8>], tags: &[&str]) -> Layer {
    let config = format!("{}.json", image.id.hex());
    let mut archive = Layer::new();
    let mut paths: Vec<String> = Vec::new();
    for (number, content) in layers.iter().enumerate() {
        let path = format!("layer{number}/layer.tar");
        archive = match layers[..number].iter().position(|other| other == content) {
            Some(equal) => archive.link(Kind::SymbolicLink, &path, &format!("../layer{equal}/layer.tar")),
            None => archive
                .directory(&format!("layer{number}"))
                .file(&path, content)
                .file(&format!("layer{number}/VERSION"), b"1.0"),
        };
        paths.push(path);
    }
    let list = serde_json::json!([{"Config": config, "RepoTags": tags, "Layers": paths}]);
    archive
        .file(&config, &image.blobs[0])
        .file("manifest.json", list.to_string().as_bytes())
        .file("repositories", b"{}")
}

async fn import(directory: &Path, archive: Vec<u8>, name: Option<&str>) -> Result<Vec<std::sync::Arc<Image>>, Error> {
    open(directory).import(std::io::Cursor::new(archive), name).await
}

#[tokio::test]
async fn an_oci_layout_gives_its_images_with_their_names() {
    let directory = tempfile::tempdir().expect("a directory");
    let (one, two) = (TestImage::new("1", &[layer("one")]), TestImage::new("2", &[layer("one"), layer("two")]));
    let archive = oci_layout(&[
        (&one, &[("io.containerd.image.name", "docker.io/library/app:1"), ("org.opencontainers.image.ref.name", "1")]),
        (&two, &[("org.opencontainers.image.ref.name", "example.com/app:2")]),
    ]);
    let images = import(directory.path(), archive.bytes(), None).await.expect("imports");
    let [first, second] = &images[..] else { panic!("two images") };
    assert_eq!((first.id, second.id), (one.id, two.id));
    assert_eq!(first.tags, ["docker.io/library/app:1"]);
    assert_eq!(first.digests, [format!("docker.io/library/app@{}", one.digest())]);
    assert_eq!(second.tags, ["example.com/app:2"]);
    let store = open(directory.path());
    assert_eq!(store.resolve("app:1").as_ref(), Some(first), "after a restart");
    assert!(store.layers(second)[0].join("etc/two").is_file());
    assert_eq!(names(&directory.path().join("image/layers")).len(), 2, "the shared layer is there once");
}

#[tokio::test]
async fn an_archive_may_be_compressed_and_come_from_a_file() {
    let image = TestImage::new("1", &[layer("one")]);
    let plain = oci_layout(&[(&image, &[])]).bytes();
    for (what, bytes) in [
        ("plain", plain.clone()),
        ("gzip", gzip(&plain)),
        ("zstd", zstd::encode_all(&plain[..], 3).expect("compresses")),
    ] {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("archive");
        std::fs::write(&path, bytes).expect("writes");
        let images = open(directory.path())
            .import_file(&path, Some("app"))
            .await
            .unwrap_or_else(|error| panic!("{what}: {error}"));
        assert_eq!((images[0].id, &images[0].tags[..]), (image.id, &["docker.io/library/app:latest".to_owned()][..]));
    }
}

#[tokio::test]
async fn an_index_in_a_layout_leads_to_the_image_for_this_host() {
    let directory = tempfile::tempdir().expect("a directory");
    let image = TestImage::new("1", &[layer("one")]);
    let arch = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
    let inner = serde_json::json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [
        {"mediaType": MANIFEST, "digest": Digest::of(b"elsewhere"), "size": 1, "platform": {"os": "linux", "architecture": "s390x"}},
        {"mediaType": MANIFEST, "digest": image.digest(), "size": 1, "platform": {"os": "linux", "architecture": arch}},
    ]});
    let inner = inner.to_string().into_bytes();
    let outer = serde_json::json!({"schemaVersion": 2, "manifests": [
        {"mediaType": INDEX, "digest": Digest::of(&inner), "size": inner.len(),
         "annotations": {"io.containerd.image.name": "example.com/app:1"}}]});
    let archive = image
        .blobs
        .iter()
        .chain([&image.manifest, &inner])
        .fold(Layer::new(), |archive, blob| archive.file(&blob_path(blob), blob));
    let archive = archive.file("index.json", outer.to_string().as_bytes()).bytes();
    let images = import(directory.path(), archive, None).await.expect("imports");
    assert_eq!((images[0].id, images[0].manifest), (image.id, image.digest()));
    assert_eq!(images[0].digests, [format!("example.com/app@{}", Digest::of(&inner))]);
}

#[tokio::test]
async fn a_docker_archive_gives_its_images() {
    let directory = tempfile::tempdir().expect("a directory");
    let layers = [layer("one"), layer("two"), layer("one")];
    let image = TestImage::new("1", &layers);
    let archive = docker_archive(&image, &layers, &["app:1", "example.com/app:2"]).bytes();
    let images = import(directory.path(), archive.clone(), None).await.expect("imports");
    assert_eq!(images[0].id, image.id);
    assert_eq!(images[0].tags, ["docker.io/library/app:1", "example.com/app:2"]);
    assert_eq!(images[0].digests, [""; 0]);
    assert_eq!(images[0].layers, image.diff_ids);
    let again = import(directory.path(), archive, Some("other:3")).await.expect("imports again");
    assert_eq!(again[0].tags.len(), 3);
    assert!(again[0].size > layers.iter().map(|layer| layer.len() as u64).sum());
    assert_eq!(open(directory.path()).list(), again);
}

#[tokio::test]
async fn a_docker_layout_takes_names_from_either_list() {
    let directory = tempfile::tempdir().expect("a directory");
    let image = TestImage::new("1", &[layer("one")]);
    let list = serde_json::json!([{
        "Config": blob_path(&image.blobs[0]), "RepoTags": ["app:1"], "Layers": [blob_path(&image.blobs[1])]}]);
    let archive = oci_layout(&[(&image, &[("org.opencontainers.image.ref.name", "1")])]);
    let archive = archive.file("manifest.json", list.to_string().as_bytes()).bytes();
    let images = import(directory.path(), archive, None).await.expect("imports");
    assert_eq!(images[0].tags, ["docker.io/library/app:1"]);
}

#[tokio::test]
async fn what_is_no_image_archive_is_refused_and_leaves_nothing() {
    let directory = tempfile::tempdir().expect("a directory");
    let (one, two) = (TestImage::new("1", &[layer("one")]), TestImage::new("2", &[layer("two")]));
    let full = oci_layout(&[(&one, &[])]).bytes();
    let mut wrong_layer = one.clone();
    wrong_layer.blobs[1] = gzip(&layer("other"));
    let without_layer = {
        let mut image = one.clone();
        image.blobs.pop();
        oci_layout(&[(&image, &[])]).bytes()
    };
    for (what, archive, name, kind) in [
        ("nothing", Vec::new(), None, ErrorKind::InvalidArgument),
        ("text", b"hello".to_vec(), None, ErrorKind::DataLoss),
        ("some tar", Layer::new().file("a", b"b").bytes(), None, ErrorKind::InvalidArgument),
        ("xz", b"\xfd7zXZ\0 and so on".to_vec(), None, ErrorKind::InvalidArgument),
        ("cut off", full[..full.len() / 2].to_vec(), None, ErrorKind::DataLoss),
        ("cut off and compressed", gzip(&full)[..300].to_vec(), None, ErrorKind::DataLoss),
        ("no layer", without_layer, None, ErrorKind::FailedPrecondition),
        ("no images", oci_layout(&[]).bytes(), None, ErrorKind::InvalidArgument),
        (
            "two images, one name",
            oci_layout(&[(&one, &[]), (&two, &[])]).bytes(),
            Some("app:1"),
            ErrorKind::InvalidArgument,
        ),
        ("a digest as name", full.clone(), Some(&*format!("app@{}", one.digest())), ErrorKind::InvalidArgument),
        ("a malformed name", full.clone(), Some("A"), ErrorKind::InvalidArgument),
        (
            "a bad annotation",
            oci_layout(&[(&one, &[("io.containerd.image.name", "A/B")])]).bytes(),
            None,
            ErrorKind::InvalidArgument,
        ),
    ] {
        let error = import(directory.path(), archive, name).await.expect_err(what);
        assert_eq!(error.kind(), kind, "{what}: {}", chain(&error));
    }
    let error = import(directory.path(), oci_layout(&[(&wrong_layer, &[])]).bytes(), None).await;
    assert!(matches!(error, Err(Error::Missing(_))), "a layer under another digest is another layer");
    assert_eq!(open(directory.path()).list(), []);
    until_empty(directory.path()).await;
}

#[tokio::test]
async fn archives_of_skopeo_are_read() {
    let directory = tempfile::tempdir().expect("a directory");
    let image = TestImage::new("1", &[layer("one"), layer("two")]);
    let layout = directory.path().join("layout");
    let archive = oci_layout(&[(&image, &[("org.opencontainers.image.ref.name", "1")])]).bytes();
    std::fs::create_dir(&layout).expect("makes");
    tar::Archive::new(&archive[..]).unpack(&layout).expect("unpacks");
    for (format, target) in [("docker", "docker-archive"), ("oci", "oci-archive")] {
        let path = directory.path().join(format);
        let made = Command::new("skopeo")
            .args(["copy", "--quiet", "--insecure-policy"])
            .arg(format!("oci:{}:1", layout.display()))
            .arg(format!("{target}:{}:example.com/app:1", path.display()))
            .env("TMPDIR", directory.path())
            .status();
        let Ok(made) = made else {
            eprintln!("skipped: there is no skopeo");
            return;
        };
        assert!(made.success(), "{format}");
        let images = open(directory.path())
            .import_file(&path, None)
            .await
            .unwrap_or_else(|error| panic!("{format}: {}", chain(&error)));
        assert_eq!(images[0].tags, ["example.com/app:1"], "{format}");
        assert_eq!(images[0].layers, image.diff_ids, "{format}");
    }
}
