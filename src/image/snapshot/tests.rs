use std::{fs, os::unix::fs::MetadataExt as _};

use crate::{
    error::{Classify as _, Kind as ErrorKind},
    image::{
        Error,
        fixture::{Layer, TestImage, TestRegistry, names, open, until},
        tar::{Header, Kind},
    },
    types::Id,
};

fn id(number: u8) -> Id {
    Id::from_bytes([number; 32])
}

#[tokio::test]
async fn a_container_has_one_snapshot_with_the_attributes_of_its_root() {
    let (directory, registry) = (tempfile::tempdir().expect("a directory"), TestRegistry::start().await);
    let root = Header { mode: 0o1750, uid: 3, gid: 4, ..Header::new("./", Kind::Directory) };
    registry.push("1", &TestImage::new("a", &[Layer::new().header(&root, b"").file("x", b"").bytes()]));
    let store = open(directory.path());
    let image = store.pull(&registry.name("app:1"), None).await.expect("pulls");
    let snapshot = store.snapshot(&id(1), &image, None).await.expect("a snapshot");
    let upper = fs::metadata(&snapshot.upper).expect("is there");
    assert_eq!((upper.mode() & 0o7777, upper.uid(), upper.gid()), (0o1750, 3, 4));
    assert!(snapshot.work.is_dir() && snapshot.lower[0].join("x").is_file());
    fs::write(snapshot.upper.join("kept"), "").expect("writes");
    let error = store.snapshot(&id(1), &image, None).await.expect_err("there is one");
    assert!(matches!(error, Error::SnapshotExists(_)) && error.kind() == ErrorKind::AlreadyExists);
    assert!(snapshot.upper.join("kept").exists());
}

#[tokio::test]
async fn an_image_without_layers_has_something_to_be_mounted_from() {
    let (directory, registry) = (tempfile::tempdir().expect("a directory"), TestRegistry::start().await);
    registry.push("1", &TestImage::new("a", &[]));
    let store = open(directory.path());
    let image = store.pull(&registry.name("app:1"), None).await.expect("pulls");
    let snapshot = store.snapshot(&id(1), &image, None).await.expect("a snapshot");
    let [lower] = &snapshot.lower[..] else { panic!("one directory") };
    assert_eq!(names(lower), ["dev", "etc", "proc", "sys"]);
    assert_eq!(names(&lower.join("etc")), ["hostname", "hosts", "resolv.conf"]);
    assert_eq!(fs::metadata(lower).expect("is there").mode() & 0o7777, 0o755);
    let layers = store.layers(&image);
    assert!(layers.len() == 2 && layers[0] != layers[1], "{layers:?}");
}

#[tokio::test]
async fn a_restart_keeps_whole_snapshots_and_removes_others() {
    let (directory, registry) = (tempfile::tempdir().expect("a directory"), TestRegistry::start().await);
    registry.push("1", &TestImage::new("a", &[Layer::new().file("x", b"").bytes()]));
    let store = open(directory.path());
    let image = store.pull(&registry.name("app:1"), None).await.expect("pulls");
    let snapshot = store.snapshot(&id(1), &image, None).await.expect("a snapshot");
    store.hold(&id(2), &image).await.expect("a volume without a snapshot");
    for number in 3..=6 {
        store.snapshot(&id(number), &image, None).await.expect("a snapshot");
    }
    drop(store);
    let containers = directory.path().join("containers");
    let path = |number| containers.join(id(number).as_str());
    fs::remove_file(path(3).join("snapshot.json")).expect("removes");
    fs::write(path(4).join("snapshot.json"), "{").expect("writes");
    fs::remove_dir(path(5).join("work")).expect("removes");
    fs::rename(path(6), containers.join("not-an-id")).expect("renames");
    fs::create_dir(containers.join(".trash/left")).expect("makes");
    // Of a daemon that was killed when it had taken a project for it.
    fs::create_dir(path(7)).expect("makes");
    fs::write(path(7).join("snapshot.json"), r#"{"quota":{"project":7,"size":1048576},"layers":[]}"#).expect("writes");

    let store = open(directory.path());
    assert_eq!(store.snapshots(), [id(1)]);
    let mut kept = [id(1), id(2)].map(|id| id.to_string()).to_vec();
    kept.insert(0, ".trash".to_owned());
    assert_eq!(names(&containers), kept);
    until("the trash is empty", || names(&containers.join(".trash")).is_empty()).await;
    store.remove(&image.id.to_string()).await.expect("removes");
    store.remove_snapshot(&id(2)).await.expect("removes");
    assert!(snapshot.lower[0].is_dir(), "the first container needs it");
    store.remove_snapshot(&id(1)).await.expect("removes");
    assert!(!snapshot.lower[0].exists());
}
