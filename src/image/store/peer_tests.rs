//! Peers that do nothing for as long as they like.

use std::{sync::Arc, time::Duration};

use futures_util::{StreamExt as _, stream};
use tokio::task::JoinSet;

use crate::{
    image::{
        Platforms, Store,
        fixture::{Layer, TestImage, TestRegistry, open, open_with, until},
    },
    types::Id,
};

/// Peers of each kind: more than there are slots for.
const PEERS: usize = 20;

/// An image of this many layers that no other image has, each longer than what of an archive is made ahead.
fn image(label: &str, layers: usize) -> TestImage {
    let layer = |number| Layer::new().file(&format!("{label}-{number}"), &vec![0; 2 << 20]).bytes();
    let layers: Vec<_> = (0..layers).map(layer).collect();
    TestImage::with_streams(label, &layers, |layer| ("application/vnd.oci.image.layer.v1.tar", layer.to_vec()))
}

async fn saved(store: &Arc<Store>, name: &str) -> Vec<u8> {
    let (mut archive, work) = store.save(&[name.to_owned()], Platforms::Host, &[]).await.expect("begins");
    let pieces = stream::poll_fn(move |context| archive.poll_next(context)).collect::<Vec<_>>();
    let (pieces, made) = tokio::join!(pieces, work);
    made.expect("saves");
    pieces.concat()
}

/// Begins to save an image, and takes nothing of it.
fn save_to_nobody(store: &Arc<Store>, name: &str, stuck: &mut JoinSet<()>) {
    let (store, names) = (Arc::clone(store), [name.to_owned()]);
    stuck.spawn(async move {
        let (_archive, work) = store.save(&names, Platforms::Host, &[]).await.expect("begins");
        work.await.expect_err("nobody takes it");
    });
}

#[tokio::test]
async fn peers_that_do_nothing_hold_up_only_their_like() {
    let (directory, registry) = (tempfile::tempdir().expect("a directory"), TestRegistry::start().await);
    let [kept, dropped] = ["kept", "dropped"].map(|tag| registry.name(&format!("app:{tag}")));
    registry.push("kept", &image("kept", 1));
    registry.push("dropped", &image("dropped", 1));
    let store = open_with(directory.path(), |config| config.keep_blobs = true);
    store.pull(&kept, None).await.expect("pulls");
    drop(store);
    let store = open(directory.path());
    store.pull(&dropped, None).await.expect("pulls");
    let file = directory.path().join("saved.tar");
    std::fs::write(&file, saved(&store, &kept).await).expect("writes");

    let elsewhere = TestRegistry::start().await;
    elsewhere.push("1", &image("elsewhere", 8));
    registry.answer_only(0);
    let (mut stuck, mut silent) = (JoinSet::new(), Vec::new());
    for number in 0..PEERS {
        save_to_nobody(&store, &kept, &mut stuck);
        save_to_nobody(&store, &dropped, &mut stuck);
        let (client, archive) = tokio::io::duplex(64);
        silent.push(client);
        let importing = Arc::clone(&store);
        stuck.spawn(async move { drop(importing.import(archive, None).await) });
        let tag = format!("never{number}");
        registry.push(&tag, &image(&tag, 2));
        let (pulling, name) = (Arc::clone(&store), registry.name(&format!("app:{tag}")));
        stuck.spawn(async move { drop(pulling.pull(&name, None).await) });
    }
    let domain = registry.name("").trim_end_matches('/').to_owned();
    until("all slots are taken", || {
        let lanes = [&store.imports, &store.saves, &store.refetches];
        lanes.iter().all(|lane| lane.is_full()) && store.registries.is_full(&domain)
    })
    .await;

    let others = async {
        let container = Id::from_bytes([1; 32]);
        let image = store.resolve(&kept).expect("the image");
        store.snapshot(&container, &image, None).await.expect("makes a snapshot");
        store.remove_snapshot(&container).await.expect("removes it");
        store.tag(&kept, "example.com/other:1").await.expect("tags");
        store.import_file(&file, None).await.expect("imports");
        store.remove(&kept).await.expect("removes");
        store.pull(&elsewhere.name("app:1"), None).await.expect("pulls from a registry that gives something");
    };
    tokio::time::timeout(Duration::from_secs(60), others).await.expect("they go on");
    // Those who leave give their slots back.
    stuck.shutdown().await;
    let archive = tokio::fs::File::open(&file).await.expect("opens");
    assert_eq!(store.import(archive, None).await.expect("imports").len(), 1);
    assert!(!saved(&store, &kept).await.is_empty());
}
