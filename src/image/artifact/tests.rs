use std::{collections::BTreeSet, fs, os::unix::fs::PermissionsExt as _, path::Path};

use serde_json::json;

use super::{Form, file_path};
use crate::{
    error::{Classify as _, Kind as ErrorKind, chain},
    image::{
        Error, Platforms, Store,
        fixture::{Layer, MANIFEST, TestImage, TestRegistry, names, open, open_with, until_empty},
        manifest::Document,
        tar,
    },
    types::{Digest, Id},
};

const EMPTY: &[u8] = b"{}";

/// A layer of a test's artifact.
struct Part {
    media_type: &'static str,
    annotations: serde_json::Value,
    content: Vec<u8>,
}

fn file(title: &str, content: &[u8]) -> Part {
    let annotations = json!({"org.opencontainers.image.title": title});
    Part { media_type: "application/vnd.oci.image.layer.v1.tar", annotations, content: content.to_vec() }
}

/// An artifact with the empty configuration that most have.
fn artifact(parts: &[Part]) -> TestImage {
    let layers: Vec<_> = parts
        .iter()
        .map(|part| {
            json!({"mediaType": part.media_type, "digest": Digest::of(&part.content), "size": part.content.len(),
                "annotations": part.annotations})
        })
        .collect();
    let manifest = json!({
        "schemaVersion": 2, "mediaType": MANIFEST, "artifactType": "application/vnd.example.model",
        "config": {"mediaType": "application/vnd.oci.empty.v1+json", "digest": Digest::of(EMPTY), "size": EMPTY.len()},
        "layers": layers})
    .to_string()
    .into_bytes();
    let blobs = parts.iter().map(|part| part.content.clone()).chain([EMPTY.to_vec()]).collect();
    TestImage { blobs, id: Digest::of(&manifest), manifest, diff_ids: Vec::new() }
}

fn forms(parts: &[Part]) -> Result<Vec<Form>, Error> {
    let bytes = artifact(parts).manifest;
    let Document::Manifest(manifest) = Document::parse("a", Digest::of(&bytes), "", &bytes)? else {
        panic!("not a manifest")
    };
    Ok(manifest.contents("a")?.into_iter().map(|(_, form)| form).collect())
}

/// What stands in the layers of an image, one above the other.
fn content(store: &Store, id: Digest) -> Vec<(String, String)> {
    fn collect(root: &Path, path: &Path, found: &mut BTreeSet<(String, String)>) {
        for name in names(path) {
            let path = path.join(name);
            if path.is_dir() {
                collect(root, &path, found);
            } else {
                let relative = path.strip_prefix(root).expect("below").display().to_string();
                found.insert((relative, fs::read_to_string(&path).expect("text")));
            }
        }
    }
    let image = store.resolve(&id.to_string()).expect("is there");
    let mut found = BTreeSet::new();
    for layer in store.layers(&image) {
        collect(&layer, &layer, &mut found);
    }
    found.into_iter().collect()
}

fn owned(files: &[(&str, &str)]) -> Vec<(String, String)> {
    files.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned())).collect()
}

#[test]
fn names_lead_nowhere_else() {
    for (name, path) in [("a", "a"), ("a/b", "a/b"), ("./a//b", "a/b"), ("..a/b..", "..a/b.."), (".wh.a", ".wh.a")] {
        assert_eq!(file_path(name), Ok(path.into()), "{name}");
    }
    let (long, deep) = ("x".repeat(256), "x/".repeat(2001) + "x");
    for name in ["/a", "//a", "..", "../a", "a/../b", "a/..", ".", "./", "a/", "/", "a\0b", &long, &deep] {
        file_path(name).expect_err(name);
    }
    assert!(forms(&[file("/etc/passwd", b"")]).is_err_and(|error| error.kind() == ErrorKind::InvalidArgument));
}

#[test]
fn each_layer_has_its_form() {
    let part = |media_type, annotations| Part { media_type, annotations, content: b"x".to_vec() };
    let directory = json!({"org.opencontainers.image.title": "d", "io.deis.oras.content.unpack": "true"});
    let forms = forms(&[
        file("title", b"x"),
        part("application/vnd.cncf.model.weight.v1.raw", json!({"org.cncf.model.filepath": "weights/1"})),
        part("application/vnd.oci.image.layer.v1.tar+gzip", directory),
        part("application/vnd.oci.image.layer.v1.tar+zstd", json!({})),
        part("application/octet-stream", json!({"org.opencontainers.image.title": ""})),
    ]);
    let file = |path: &str| Form::File(path.into());
    assert_eq!(forms.expect("forms"), [file("title"), file("weights/1"), Form::Unpacked, Form::Unpacked]);
}

#[test]
fn files_that_cannot_lie_in_one_directory_are_refused() {
    for [one, other] in [["a", "a"], ["a", "./a"], ["a/b", "a"], ["a", "a/b/c"]] {
        let refused = forms(&[file(one, b"1"), file("z", b""), file(other, b"2")]);
        assert!(refused.is_err_and(|error| error.kind() == ErrorKind::InvalidArgument), "{one} {other}");
    }
    let nameless = Part { annotations: json!({}), media_type: "application/octet-stream", content: b"x".to_vec() };
    let refused = forms(&[nameless]).expect_err("nothing to mount");
    assert!(refused.to_string().contains("application/vnd.example.model"), "{refused}");
}

#[tokio::test]
async fn artifacts_with_the_same_configuration_are_two_and_share_their_files() {
    let (directory, registry) = (tempfile::tempdir().expect("a directory"), TestRegistry::start().await);
    let shared = || file("weights/1", b"the same in both");
    let [one, two] = [artifact(&[shared(), file("card", b"one")]), artifact(&[shared(), file("card", b"two")])];
    registry.push("one", &one);
    registry.push("two", &two);
    registry.push("again", &one);
    let mut store = open(directory.path());
    for (tag, expected) in [("one", &one), ("two", &two), ("again", &one)] {
        let pulled = store.pull(&registry.name(&format!("model:{tag}")), None).await.expect("pulls");
        assert_eq!((pulled.id, pulled.manifest), (expected.id, expected.id));
        assert_eq!(pulled.artifact_type.as_deref(), Some("application/vnd.example.model"));
    }
    for _ in 0..2 {
        assert_eq!(store.list().len(), 2);
        assert_eq!(store.resolve(&one.id.to_string()).expect("is there").tags.len(), 2);
        assert_eq!(content(&store, one.id), owned(&[("card", "one"), ("weights/1", "the same in both")]));
        assert_eq!(content(&store, two.id), owned(&[("card", "two"), ("weights/1", "the same in both")]));
        assert_eq!(names(&directory.path().join("image/layers")).len(), 3, "one file is in both");
        drop(store);
        store = open(directory.path());
    }
    let image = store.resolve(&two.id.to_string()).expect("is there");
    let mode = |path: &str| fs::metadata(store.layers(&image)[1].join(path)).expect("is there").permissions().mode();
    assert_eq!((mode("weights") & 0o7777, mode("weights/1") & 0o7777), (0o755, 0o644));

    store.remove(&registry.name("model:again")).await.expect("removes");
    assert_eq!(content(&store, two.id), owned(&[("card", "two"), ("weights/1", "the same in both")]));
    store.remove(&two.id.to_string()).await.expect("removes");
    until_empty(directory.path()).await;
}

#[tokio::test]
async fn an_artifact_is_no_root_but_stays_while_it_is_mounted() {
    let (directory, registry) = (tempfile::tempdir().expect("a directory"), TestRegistry::start().await);
    let model = artifact(&[file("a", b"content")]);
    registry.push("1", &model);
    let store = open(directory.path());
    let image = store.pull(&registry.name("model:1"), None).await.expect("pulls");
    let id = Id::from_bytes([1; 32]);
    let refused = store.snapshot(&id, &image, None).await.expect_err("it is no root");
    assert!(matches!(refused, Error::NotRunnable { .. }) && refused.kind() == ErrorKind::InvalidArgument);
    assert!(store.snapshots().is_empty());

    let lower = store.hold(&id, &image).await.expect("holds");
    store.remove(&image.id.to_string()).await.expect("removes");
    assert_eq!(fs::read(lower[0].join("a")).expect("is still there"), b"content");
    store.remove_snapshot(&id).await.expect("removes");
    until_empty(directory.path()).await;
}

#[tokio::test]
async fn directories_and_archives_are_unpacked_beside_files() {
    let (directory, registry) = (tempfile::tempdir().expect("a directory"), TestRegistry::start().await);
    let archive = Layer::new().directory("d").file("d/x", b"packed").bytes();
    let title = json!({"org.opencontainers.image.title": "d", "io.deis.oras.content.unpack": "true"});
    let packed = Part {
        media_type: "application/vnd.oci.image.layer.v1.tar+gzip",
        annotations: title,
        content: crate::image::fixture::gzip(&archive),
    };
    let model = artifact(&[packed, file("d/y", b"beside")]);
    registry.push("1", &model);
    let store = open_with(directory.path(), |config| config.keep_blobs = true);
    store.pull(&registry.name("model:1"), None).await.expect("pulls");
    assert_eq!(content(&store, model.id), owned(&[("d/x", "packed"), ("d/y", "beside")]));
    assert_eq!(names(&directory.path().join("image/blobs/sha256")).len(), 3, "a file is not kept a second time");
}

#[tokio::test]
async fn files_with_other_content_than_promised_are_refused() {
    let (directory, registry) = (tempfile::tempdir().expect("a directory"), TestRegistry::start().await);
    let model = artifact(&[file("a", b"content")]);
    for content in [&b"CONTENT"[..], b"cont", b"content and more"] {
        registry.push("1", &model);
        registry.push_blob(Digest::of(b"content"), content);
        let store = open(directory.path());
        let refused = store.pull(&registry.name("model:1"), None).await.expect_err("it is another file");
        assert_eq!(refused.kind(), ErrorKind::DataLoss, "{}", chain(&refused));
        drop(store);
        until_empty(directory.path()).await;
    }
}

#[tokio::test]
async fn an_artifact_is_saved_from_its_files_and_not_taken_in_from_an_archive() {
    let (directory, registry) = (tempfile::tempdir().expect("a directory"), TestRegistry::start().await);
    let model = artifact(&[file("a", b"content")]);
    registry.push("1", &model);
    let (store, name) = (open(directory.path()), registry.name("model:1"));
    store.pull(&name, None).await.expect("pulls");
    drop(registry);
    let (mut archive, write) = store.save(&[name], Platforms::Host, &[]).await.expect("begins");
    let mut bytes = Vec::new();
    let read = async {
        while let Some(piece) = std::future::poll_fn(|context| archive.poll_next(context)).await {
            bytes.extend_from_slice(&piece);
        }
    };
    tokio::join!(write, read).0.expect("saves");
    let mut reader = tar::Reader::new(&bytes[..]);
    let mut found = Vec::new();
    while let Some(header) = reader.next_entry().expect("reads") {
        found.push(String::from_utf8(header.path).expect("text"));
    }
    let blob = |digest: Digest| format!("blobs/sha256/{}", digest.hex());
    for path in [blob(Digest::of(b"content")), blob(Digest::of(EMPTY)), blob(model.id)] {
        assert!(found.contains(&path), "{path} in {found:?}");
    }
    let path = directory.path().join("archive");
    fs::write(&path, &bytes).expect("writes");
    let refused = store.import_file(&path, None).await.expect_err("it is an artifact");
    assert!(refused.to_string().contains("artifacts can only be pulled"), "{refused}");
}
