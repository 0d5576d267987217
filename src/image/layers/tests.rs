use std::{fs, path::Path, sync::Arc};

use super::Layers;
use crate::{
    image::{
        fixture::{Layer as Archive, gzip, names},
        trash::Trash,
        unpack::{Expected, Limits},
    },
    types::Digest,
};

fn open(root: &Path) -> Layers {
    let trash = Arc::new(Trash::open(root.join("trash")).expect("a trash"));
    Layers::open(root, trash, Limits::default()).expect("opens")
}

#[test]
fn a_layer_is_seen_when_it_is_whole() {
    let root = tempfile::tempdir().expect("a directory");
    let layers = open(root.path());
    let archive = Archive::new().file("a", b"content").file("b/c", b"").bytes();
    let (diff_id, stream) = (Digest::of(&archive), gzip(&archive));
    let expected = Expected { digest: Digest::of(&stream), size: stream.len() as u64 };
    let staged = layers.stage(&stream[..], "", Some(expected)).expect("unpacks");
    assert!(layers.shelf().lease(&[diff_id]).is_err(), "not yet");
    let lease = layers.commit(&staged).expect("commits");
    drop(staged);
    assert_eq!(fs::read(layers.files(diff_id).join("a")).expect("reads"), b"content");
    let (found, second) = layers.lease_stream(expected.digest).expect("is known by its stream");
    assert_eq!(found, diff_id);
    let tally = layers.shelf().meta(diff_id).expect("is known").tally;
    assert_eq!(tally.implicit, [&b""[..], b"b"]);
    assert_eq!(open(root.path()).shelf().meta(diff_id).expect("is known after a restart").tally, tally);
    drop((lease, second));
    assert!(layers.lease_stream(expected.digest).is_none());
    assert_eq!(names(&root.path().join("layers")), [""; 0]);
}

#[test]
fn equal_layers_are_one_however_they_were_compressed() {
    let root = tempfile::tempdir().expect("a directory");
    let layers = open(root.path());
    let archive = Archive::new().file("a", b"content").bytes();
    let leases =
        [gzip(&archive), zstd::encode_all(&archive[..], 1).expect("compresses"), archive.clone()].map(|stream| {
            let staged = layers.stage(&stream[..], "", None).expect("unpacks");
            let lease = layers.commit(&staged).expect("commits");
            assert!(layers.lease_stream(Digest::of(&stream)).is_some());
            lease
        });
    assert_eq!(names(&root.path().join("layers")), [Digest::of(&archive).hex()]);
    drop(leases);
    assert_eq!(names(&root.path().join("layers")), [""; 0]);
}

#[test]
fn a_layer_that_fails_or_is_not_wanted_leaves_nothing() {
    let root = tempfile::tempdir().expect("a directory");
    let layers = open(root.path());
    let archive = Archive::new().file("a", b"content").bytes();
    drop(layers.stage(&archive[..], "", None).expect("unpacks"));
    let wrong = Expected { digest: Digest::of(b"other"), size: archive.len() as u64 };
    assert!(layers.stage(&archive[..], "", Some(wrong)).is_err());
    assert_eq!(names(&root.path().join("layers")), [""; 0]);
}
