use std::{fs, path::Path, sync::Arc};

use super::Blobs;
use crate::{
    image::{
        Error,
        fixture::{names, until},
        trash::Trash,
    },
    types::Digest,
};

fn open(root: &Path) -> Blobs {
    Blobs::open(root, Arc::new(Trash::open(root.join("trash")).expect("a trash"))).expect("opens")
}

#[test]
fn a_blob_is_there_under_its_digest_while_somebody_needs_it() {
    let root = tempfile::tempdir().expect("a directory");
    let blobs = open(root.path());
    let (digest, lease) = blobs.put(b"content").expect("puts");
    let (again, second) = blobs.put(b"content").expect("puts again");
    assert_eq!((digest, again), (Digest::of(b"content"), digest));
    drop(lease);
    assert_eq!(blobs.read(digest).expect("still there"), b"content");
    assert_eq!(blobs.shelf().meta(digest), Some(7));
    drop(second);
    assert!(matches!(blobs.shelf().lease(&[digest]), Err(Error::Missing(missing)) if missing == digest));
    assert!(blobs.read(digest).is_err());
    assert_eq!(names(&root.path().join("ingest")), [""; 0]);
}

#[test]
fn all_of_several_are_kept_or_none() {
    let root = tempfile::tempdir().expect("a directory");
    let blobs = open(root.path());
    let (digest, lease) = blobs.put(b"content").expect("puts");
    let missing = Digest::of(b"missing");
    assert!(blobs.shelf().lease(&[digest, missing]).is_err());
    drop(lease);
    assert_eq!(blobs.shelf().meta(digest), None, "the failed lease kept nothing");
}

#[test]
fn what_is_not_the_expected_content_is_not_taken_in() {
    let root = tempfile::tempdir().expect("a directory");
    let blobs = open(root.path());
    let mut ingest = blobs.ingest().expect("begins");
    ingest.write(b"other").expect("writes");
    assert!(matches!(blobs.commit(ingest, Some(Digest::of(b"content"))), Err(Error::Corrupt { .. })));
    assert_eq!(names(&root.path().join("ingest")), [""; 0]);
    assert_eq!(names(&root.path().join("blobs/sha256")), [""; 0]);
}

#[test]
fn content_that_has_changed_is_noticed() {
    let root = tempfile::tempdir().expect("a directory");
    let blobs = open(root.path());
    let (digest, _lease) = blobs.put(b"content").expect("puts");
    fs::write(blobs.shelf().path(digest), b"c0ntent").expect("writes");
    assert!(matches!(blobs.read(digest), Err(Error::Corrupt { .. })));
}

#[test]
fn opening_forgets_what_was_half_received_and_what_nobody_needs() {
    let root = tempfile::tempdir().expect("a directory");
    let blobs = open(root.path());
    let (needed, lease) = blobs.put(b"needed").expect("puts");
    let (unneeded, other) = blobs.put(b"unneeded").expect("puts");
    // As if the process ended: neither lease is given back.
    std::mem::forget((lease, other));
    drop(blobs);
    fs::write(root.path().join("ingest/.tmp-1"), b"half").expect("writes");
    fs::write(root.path().join("blobs/sha256/README"), b"stray").expect("writes");

    let blobs = open(root.path());
    let _lease = blobs.shelf().lease(&[needed]).expect("is there");
    blobs.shelf().sweep();
    assert_eq!(blobs.shelf().meta(unneeded), None);
    assert_eq!(names(&root.path().join("blobs/sha256")), [needed.hex()]);
    assert_eq!(names(&root.path().join("ingest")), [""; 0]);
    let trash = root.path().join("trash");
    for _ in 0..200 {
        if names(&trash).is_empty() {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    panic!("the trash is not emptied");
}

#[tokio::test]
async fn many_users_come_and_go_at_once() {
    let root = tempfile::tempdir().expect("a directory");
    let blobs = Arc::new(open(root.path()));
    let users = (0..8).map(|_| {
        let blobs = Arc::clone(&blobs);
        tokio::task::spawn_blocking(move || {
            for _ in 0..50 {
                let (digest, lease) = blobs.put(b"contended").expect("puts");
                assert_eq!(blobs.read(digest).expect("is there while it is leased"), b"contended");
                drop(lease);
            }
        })
    });
    for user in futures_util::future::join_all(users).await {
        user.expect("does not panic");
    }
    assert_eq!(names(&root.path().join("blobs/sha256")), [""; 0]);
    until("the trash is empty", || names(&root.path().join("trash")).is_empty()).await;
}
