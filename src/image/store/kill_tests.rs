//! A process is killed in the middle of its work, and the next one finds the truth.

use std::{
    collections::BTreeSet,
    fs,
    path::Path,
    process::{Command, Stdio},
    sync::Arc,
    time::Duration,
};

use crate::{
    image::{
        Store,
        fixture::{Layer, TestImage, TestRegistry, names, open, until, until_empty},
    },
    types::{Digest, Id},
};

/// Tells the killed process where to work and whence to pull.
const DIRECTORY: &str = "BERTH_TEST_KILL_DIRECTORY";
const REGISTRY: &str = "BERTH_TEST_KILL_REGISTRY";
const KILLS: u64 = 12;

fn layer(name: &str) -> Vec<u8> {
    let files = (0..40).fold(Layer::new().directory("etc"), |layer, number| {
        layer.file(&format!("etc/{name}{number}"), &[number; 3000])
    });
    files.file("etc/name", name.as_bytes()).bytes()
}

fn images() -> [TestImage; 2] {
    ["one", "two"].map(|name| TestImage::new(name, &[layer("base"), layer(name)]))
}

/// Pulls, uses and removes images until it is killed.
#[tokio::test]
#[ignore = "is run by another test, which kills it"]
async fn victim() {
    let (Ok(directory), Ok(registry)) = (std::env::var(DIRECTORY), std::env::var(REGISTRY)) else { return };
    let store = open(Path::new(&directory));
    for round in 0.. {
        let names = [format!("{registry}/app:one"), format!("{registry}/app:two"), format!("{registry}/app:moving")];
        let pulls = names.iter().map(|name| store.pull(name, None));
        for pulled in futures_util::future::join_all(pulls).await {
            let image = pulled.expect("pulls");
            let id = Id::from_bytes([round; 32]);
            if store.snapshot(&id, &image, None).await.is_ok() && round % 2 == 0 {
                store.remove_snapshot(&id).await.expect("removes");
            }
        }
        for name in &names[usize::from(round % 2)..] {
            store.remove(name).await.expect("removes");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_process_leaves_a_store_that_tells_the_truth() {
    let (directory, registry) = (tempfile::tempdir().expect("a directory"), TestRegistry::start().await);
    for (name, image) in ["one", "two"].iter().zip(images()) {
        registry.push(name, &image);
        registry.push("moving", &image);
    }
    for kill in 0..KILLS {
        let mut victim = Command::new(std::env::current_exe().expect("this program"))
            .args(["--exact", "image::store::kill_tests::victim", "--ignored", "--quiet"])
            .env(DIRECTORY, directory.path())
            .env(REGISTRY, registry.name("").trim_end_matches('/'))
            .stdout(Stdio::null())
            .spawn()
            .expect("starts");
        tokio::time::sleep(Duration::from_millis(40 + kill * 97 % 700)).await;
        assert!(victim.try_wait().expect("waits").is_none(), "ended by itself");
        victim.kill().expect("kills");
        victim.wait().expect("waits");
        registry.push("moving", &images()[usize::from(kill % 2 == 0)]);

        let store = open(directory.path());
        assert_consistent(directory.path(), &store);
        let pulled = store.pull(&registry.name("app:moving"), None).await.expect("the next pull succeeds");
        assert_eq!(pulled.id, images()[usize::from(kill % 2 == 0)].id);
        assert_consistent(directory.path(), &store);
    }
    let store = open(directory.path());
    for id in store.snapshots() {
        store.remove_snapshot(&id).await.expect("removes");
    }
    for image in store.list() {
        store.remove(&image.id.to_string()).await.expect("removes");
    }
    until_empty(directory.path()).await;
    let containers = directory.path().join("containers");
    until("the snapshots are gone", || {
        names(&containers) == [".trash"] && names(&containers.join(".trash")).is_empty()
    })
    .await;
}

/// Everything that the store lists is there and right, and nothing else is there.
fn assert_consistent(directory: &Path, store: &Arc<Store>) {
    let root = directory.join("image");
    let (mut layers, mut blobs) = (BTreeSet::new(), BTreeSet::new());
    let known = images();
    for image in store.list() {
        let known = known.iter().find(|known| known.id == image.id).expect("an image of this test");
        assert_eq!(image.layers, known.diff_ids);
        for files in store.layers(&image) {
            assert_eq!(fs::read_dir(files.join("etc")).expect("is there").count(), 41);
        }
        layers.extend(image.layers.iter().map(Digest::hex));
        for (digest, content) in [(image.id, &known.blobs[0]), (image.manifest, &known.manifest)] {
            assert_eq!(&fs::read(root.join("blobs").join(digest.blob_path())).expect("is there"), content);
            blobs.insert(digest.hex());
        }
    }
    for container in names(&directory.join("containers")).iter().filter(|name| *name != ".trash") {
        let record = fs::read(directory.join("containers").join(container).join("snapshot.json")).expect("is there");
        let record: serde_json::Value = serde_json::from_slice(&record).expect("JSON");
        for layer in record["layers"].as_array().expect("layers") {
            layers.insert(layer.as_str().expect("a digest").replace("sha256:", ""));
        }
    }
    assert_eq!(names(&root.join("layers")), Vec::from_iter(layers));
    assert_eq!(names(&root.join("blobs/sha256")), Vec::from_iter(blobs));
    assert_eq!(names(&root.join("images")).len(), store.list().len());
    assert_eq!(names(&root.join("ingest")), [""; 0]);
}
