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

fn lease_all(layers: &Layers, diff_ids: &[Digest]) -> bool {
    layers.shelf().lease(diff_ids).map(std::mem::forget).is_ok()
}

#[test]
fn after_a_reboot_only_layers_that_reached_the_disk_are_trusted() {
    let root = tempfile::tempdir().expect("a directory");
    let layers = open(root.path());
    let diff_ids = ["one", "two"].map(|name| {
        let archive = Archive::new().file(name, b"content").bytes();
        let staged = layers.stage(&archive[..], "", None).expect("unpacks");
        std::mem::forget(layers.commit(&staged).expect("commits"));
        staged.unpacked.diff_id
    });
    assert!(lease_all(&open(root.path()), &diff_ids), "in the same boot");
    let mark = |diff_id: Digest| root.path().join("layers").join(diff_id.hex()).join("settled");
    for _ in 0..1000 {
        if diff_ids.iter().all(|diff_id| mark(*diff_id).exists()) {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    fs::remove_file(mark(diff_ids[1])).expect("both are settled in time");
    for diff_id in diff_ids {
        let path = root.path().join("layers").join(diff_id.hex()).join("layer.json");
        let record = fs::read_to_string(&path).expect("reads");
        let boot = super::boot_id().expect("an id");
        assert!(record.contains(&boot));
        fs::write(path, record.replace(&boot, "another boot")).expect("writes");
    }
    let layers = open(root.path());
    assert!(lease_all(&layers, &diff_ids[..1]), "it reached the disk");
    assert!(!lease_all(&layers, &diff_ids[1..]), "nobody knows what of it did");
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
