use std::{fs, time::Duration};

use crate::{
    error::{Classify as _, Kind},
    image::{
        Auth, Error,
        fixture::{INDEX, Layer, TestImage, TestRegistry, gzip, names, open, open_with, try_open, until, until_empty},
    },
    types::{Digest, Id},
};

fn layer(name: &str) -> Vec<u8> {
    Layer::new().directory("etc").file(&format!("etc/{name}"), name.as_bytes()).bytes()
}

fn id(number: u8) -> Id {
    Id::from_bytes([number; 32])
}

#[tokio::test]
async fn a_pulled_image_has_its_names_and_its_files() {
    let (directory, registry) = (tempfile::tempdir().expect("a directory"), TestRegistry::start().await);
    let image = TestImage::new("a", &[layer("one"), layer("two")]);
    registry.push("1", &image);
    let store = open(directory.path());
    let name = registry.name("app:1");
    let pulled = store.pull(&name, None).await.expect("pulls");

    assert_eq!(pulled.id, image.id);
    assert_eq!(pulled.tags, [name.as_str()]);
    assert_eq!(pulled.digests, [format!("{}@{}", registry.name("app"), image.digest())]);
    assert_eq!(pulled.layers, image.diff_ids);
    assert_eq!(pulled.size, image.blobs.iter().map(|blob| blob.len() as u64).sum::<u64>());
    assert_eq!((pulled.config.cmd.as_slice(), pulled.config.user.as_str()), (&["/bin/true".to_owned()][..], "1002:22"));
    assert_eq!(pulled.created.map(|at| at.to_string()).as_deref(), Some("2026-01-02T03:04:05.000000000Z"));
    for name in [
        name.clone(),
        pulled.digests[0].clone(),
        format!("{name}@{}", image.digest()),
        pulled.id.to_string(),
        pulled.id.hex(),
        pulled.id.hex()[..10].to_owned(),
        format!("sha256:{}", &pulled.id.hex()[..10]),
    ] {
        assert_eq!(store.resolve(&name).as_ref(), Some(&pulled), "{name}");
    }
    for name in ["", "sha256:", "unknown", &registry.name("app:2"), &registry.name("other:1"), "A/B"] {
        assert_eq!(store.resolve(name), None, "{name}");
    }
    let [top, bottom] = &store.layers(&pulled)[..] else { panic!("two layers") };
    assert!(top.join("etc/two").is_file() && bottom.join("etc/one").is_file());

    assert!(matches!(try_open(directory.path()), Err(Error::Locked(_))), "the store has one user");
    drop(store);
    assert_eq!(open(directory.path()).list(), [pulled], "after a restart");
}

#[tokio::test]
async fn a_pull_by_digest_gives_no_tag_and_a_later_one_by_tag_adds_it() {
    let (directory, registry) = (tempfile::tempdir().expect("a directory"), TestRegistry::start().await);
    let image = TestImage::new("a", &[layer("one")]);
    registry.push("1", &image);
    let store = open(directory.path());
    let by_digest = registry.name(&format!("app@{}", image.digest()));
    let pulled = store.pull(&by_digest, None).await.expect("pulls");
    assert_eq!((pulled.tags.len(), &pulled.digests[..]), (0, &[by_digest.clone()][..]));
    let fetched = registry.fetched();
    let tagged = store.pull(&registry.name("app:1"), None).await.expect("pulls");
    assert_eq!((&tagged.tags[..], &tagged.digests[..]), (&[registry.name("app:1")][..], &[by_digest][..]));
    store.pull(&registry.name("app:1"), None).await.expect("pulls");
    assert_eq!(registry.fetched(), fetched, "what is there is not fetched again");
}

#[tokio::test]
async fn an_index_leads_to_the_image_for_this_host() {
    let (directory, registry) = (tempfile::tempdir().expect("a directory"), TestRegistry::start().await);
    let image = TestImage::new("a", &[layer("one")]);
    registry.push("only-by-digest", &image);
    let arch = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
    let index = serde_json::json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [
        {"mediaType": "x", "digest": Digest::of(b"other"), "size": 1, "platform": {"os": "linux", "architecture": "s390x"}},
        {"mediaType": "x", "digest": image.digest(), "size": 1, "platform": {"os": "linux", "architecture": arch}},
    ]});
    let index = index.to_string().into_bytes();
    registry.push_manifest("1", INDEX, &index);
    let store = open(directory.path());
    let pulled = store.pull(&registry.name("app:1"), None).await.expect("pulls");
    assert_eq!((pulled.id, pulled.manifest), (image.id, image.digest()));
    assert_eq!(pulled.digests, [format!("{}@{}", registry.name("app"), Digest::of(&index))]);
    let blobs = names(&directory.path().join("image/blobs/sha256"));
    assert_eq!(blobs.len(), 3, "configuration, manifest and index are kept, layers are not");
}

#[tokio::test]
async fn the_same_content_is_one_image_wherever_it_comes_from() {
    let (directory, first) = (tempfile::tempdir().expect("a directory"), TestRegistry::start().await);
    let second = TestRegistry::start().await;
    let image = TestImage::new("a", &[layer("one")]);
    first.push("1", &image);
    second.push("2", &image);
    let store = open(directory.path());
    store.pull(&first.name("app:1"), None).await.expect("pulls");
    let both = store.pull(&second.name("copy:2"), None).await.expect("pulls");
    assert_eq!(both.tags, [first.name("app:1"), second.name("copy:2")]);
    assert_eq!(both.digests.len(), 2);
    assert_eq!(store.list().len(), 1);
    store.remove(&first.name("app:1")).await.expect("removes");
    assert_eq!(store.list(), [], "one name given, all go");
    until_empty(directory.path()).await;
}

#[tokio::test]
async fn a_tag_moves_to_the_image_pulled_last() {
    let (directory, registry) = (tempfile::tempdir().expect("a directory"), TestRegistry::start().await);
    let (old, new) = (TestImage::new("old", &[layer("one")]), TestImage::new("new", &[layer("one"), layer("two")]));
    registry.push("1", &old);
    let store = open(directory.path());
    let name = registry.name("app:1");
    store.pull(&name, None).await.expect("pulls");
    registry.push("1", &new);
    let pulled = store.pull(&name, None).await.expect("pulls");
    assert_eq!(pulled.id, new.id);
    let mut store = store;
    for _ in 0..2 {
        assert_eq!(store.resolve(&name).map(|image| image.id), Some(new.id));
        let left = store.resolve(&old.id.to_string()).expect("stays until it is removed");
        assert_eq!((left.tags.len(), left.digests.len()), (0, 1));
        drop(store);
        store = open(directory.path());
    }
}

#[tokio::test]
async fn shared_layers_are_fetched_once_and_stay_until_the_last_image_goes() {
    let (directory, registry) = (tempfile::tempdir().expect("a directory"), TestRegistry::start().await);
    let (base, one, two) = (layer("base"), layer("one"), layer("two"));
    let images = [TestImage::new("1", &[base.clone(), one]), TestImage::new("2", &[base.clone(), two])];
    registry.push("1", &images[0]);
    registry.push("2", &images[1]);
    let store = open(directory.path());
    let names_of = [registry.name("app:1"), registry.name("app:2")];
    let (first, second) = tokio::join!(store.pull(&names_of[0], None), store.pull(&names_of[1], None));
    first.and(second).expect("pull");
    assert_eq!(registry.fetched(), 5, "two configurations and three layers");
    let layers = directory.path().join("image/layers");
    assert_eq!(names(&layers).len(), 3);
    store.remove(&names_of[0]).await.expect("removes");
    assert_eq!(names(&layers).len(), 2, "removed at once");
    assert!(layers.join(Digest::of(&base).hex()).is_dir());
    store.remove(&names_of[1]).await.expect("removes");
    until_empty(directory.path()).await;
}

#[tokio::test]
async fn equal_pulls_join_and_others_do_not() {
    let (directory, registry) = (tempfile::tempdir().expect("a directory"), TestRegistry::start().await);
    let image = TestImage::new("a", &[layer("one")]);
    registry.push("1", &image);
    let store = open(directory.path());
    let name = registry.name("app:1");
    let pulls: Vec<_> = (0..5).map(|_| store.pull(&name, None)).collect();
    for pulled in futures_util::future::join_all(pulls).await {
        assert_eq!(pulled.expect("pulls").id, image.id);
    }
    assert_eq!(registry.fetched(), 2, "one configuration and one layer");
    let auth = Auth { username: "someone".to_owned(), ..Auth::default() };
    store.pull(&name, Some(auth)).await.expect("the registry does not mind");
}

#[tokio::test]
async fn a_pull_that_nobody_waits_for_stops_and_leaves_nothing() {
    let (directory, registry) = (tempfile::tempdir().expect("a directory"), TestRegistry::start().await);
    let noise: Vec<u8> = (0..1_u32 << 20).map(|number| (number.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let big = Layer::new().file("big", &noise).bytes();
    let image = TestImage::new("a", &[layer("one"), big, layer("three")]);
    registry.push("1", &image);
    let store = open(directory.path());
    let name = registry.name("app:1");
    registry.answer_only(3);
    let mut first = Box::pin(store.pull(&name, None));
    let mut second = Box::pin(store.pull(&name, None));
    let wait = Duration::from_millis(300);
    let both = futures_util::future::join(&mut first, &mut second);
    assert!(tokio::time::timeout(wait, both).await.is_err(), "one blob is not answered");
    drop(first);
    assert!(tokio::time::timeout(wait, &mut second).await.is_err(), "goes on for the other");
    assert_eq!(registry.fetched(), 4);
    drop(second);
    until_empty(directory.path()).await;
    assert_eq!(store.list(), []);
    registry.answer_all();
    store.pull(&name, None).await.expect("a later pull succeeds");
}

#[tokio::test]
async fn what_a_registry_gets_wrong_is_said_and_leaves_nothing() {
    let (directory, registry) = (tempfile::tempdir().expect("a directory"), TestRegistry::start().await);
    let store = open(directory.path());
    let good = [layer("one"), layer("two")];
    let push = |tag: &str, change: &dyn Fn(&mut TestImage)| {
        let mut image = TestImage::new(tag, &[good[0].clone(), layer(tag)]);
        change(&mut image);
        registry.push(tag, &image);
        image
    };
    let image = push("blob", &|_| {});
    registry.push_blob(Digest::of(&image.blobs[2]), &gzip(&layer("other")));
    let image = push("config", &|_| {});
    registry.push_blob(image.id, &image.blobs[0].to_ascii_uppercase());
    push("diffid", &|image| {
        let other = TestImage::new("diffid", &[good[0].clone(), layer("unexpected")]);
        // The manifest names other layers than the configuration does.
        let text = String::from_utf8(other.manifest).expect("text");
        let text = text.replace(&other.id.to_string(), &image.id.to_string());
        let size = |image: &TestImage| format!("\"size\":{}", image.blobs[0].len());
        let swapped = text.replace(&format!("\"size\":{}", other.blobs[0].len()), &size(image));
        image.manifest = swapped.into_bytes();
        image.blobs.extend(other.blobs);
    });
    push("count", &|image| {
        let text = String::from_utf8(image.manifest.clone()).expect("text");
        let mut manifest: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        manifest["layers"].as_array_mut().expect("layers").pop();
        image.manifest = manifest.to_string().into_bytes();
    });
    push("garbage", &|image| image.manifest = b"{\"schemaVersion\":2}".to_vec());
    for (tag, kind) in [
        ("blob", Kind::DataLoss),
        ("config", Kind::DataLoss),
        ("diffid", Kind::DataLoss),
        ("count", Kind::InvalidArgument),
        ("garbage", Kind::InvalidArgument),
        ("unknown", Kind::NotFound),
    ] {
        let error = store.pull(&registry.name(&format!("app:{tag}")), None).await.expect_err(tag);
        assert_eq!(error.kind(), kind, "{tag}: {}", crate::error::chain(&error));
    }
    let error = store.pull("Not A Name", None).await.expect_err("a malformed name");
    assert_eq!(error.kind(), Kind::InvalidArgument);
    assert_eq!(store.list(), []);
    until_empty(directory.path()).await;
}

#[tokio::test]
async fn streams_are_kept_if_wanted() {
    let (directory, registry) = (tempfile::tempdir().expect("a directory"), TestRegistry::start().await);
    let image = TestImage::new("a", &[layer("one"), layer("two")]);
    registry.push("1", &image);
    let store = open_with(directory.path(), |config| config.keep_blobs = true);
    store.pull(&registry.name("app:1"), None).await.expect("pulls");
    for blob in &image.blobs {
        let path = directory.path().join("image/blobs/sha256").join(Digest::of(blob).hex());
        assert_eq!(&fs::read(path).expect("is kept"), blob);
    }
    drop(store);
    let store = open_with(directory.path(), |config| config.keep_blobs = true);
    assert_eq!(names(&directory.path().join("image/blobs/sha256")).len(), 4, "after a restart");
    store.remove(&image.id.to_string()).await.expect("removes");
    until_empty(directory.path()).await;
}

#[tokio::test]
async fn removing_is_for_all_names_and_never_an_error() {
    let (directory, registry) = (tempfile::tempdir().expect("a directory"), TestRegistry::start().await);
    let image = TestImage::new("a", &[layer("one")]);
    registry.push("1", &image);
    let store = open(directory.path());
    let name = registry.name("app:1");
    store.pull(&name, None).await.expect("pulls");
    let unknown = format!("sha256:{}", "0".repeat(64));
    for _ in 0..2 {
        store.remove(&unknown).await.expect("an unknown image");
    }
    let removals: Vec<_> = (0..5)
        .map(|_| async {
            store.remove(&name).await.expect("all at once");
            assert_eq!(store.resolve(&name), None, "gone when it returns");
        })
        .collect();
    futures_util::future::join_all(removals).await;
    until_empty(directory.path()).await;
    drop(store);
    assert_eq!(open(directory.path()).list(), []);
}

#[tokio::test]
async fn layers_in_use_stay_until_the_container_is_removed() {
    let (directory, registry) = (tempfile::tempdir().expect("a directory"), TestRegistry::start().await);
    registry.push("1", &TestImage::new("a", &[layer("one")]));
    registry.push("2", &TestImage::new("b", &[layer("volume")]));
    let store = open(directory.path());
    let image = store.pull(&registry.name("app:1"), None).await.expect("pulls");
    let volume = store.pull(&registry.name("app:2"), None).await.expect("pulls");
    let snapshot = store.snapshot(&id(1), &image, None).await.expect("a snapshot");
    let held = store.hold(&id(1), &volume).await.expect("a volume");
    assert_eq!(held.len(), 2, "overlayfs needs two directories without an upper one");
    assert!(snapshot.lower[0].join("etc/one").is_file() && held[0].join("etc/volume").is_file());
    assert_eq!(snapshot.lower.len(), 2, "the image's layer, and what is mounted on");

    for name in [registry.name("app:1"), registry.name("app:2")] {
        store.remove(&name).await.expect("removes");
    }
    assert!(store.snapshot(&id(2), &image, None).await.is_ok(), "the layers are still there");
    store.remove_snapshot(&id(2)).await.expect("removes");
    drop(store);
    let store = open(directory.path());
    assert!(snapshot.lower[0].join("etc/one").is_file() && held[0].join("etc/volume").is_file(), "after a restart");
    assert_eq!(store.snapshots(), [id(1)]);
    for _ in 0..2 {
        store.remove_snapshot(&id(1)).await.expect("removes");
    }
    assert!(matches!(store.snapshot(&id(3), &image, None).await, Err(Error::Missing(_))), "the layers are gone");
    until_empty(directory.path()).await;
    until("the snapshots are gone", || names(&directory.path().join("containers")) == [".trash"]).await;
}

#[tokio::test]
async fn pinned_images_are_marked() {
    let (directory, registry) = (tempfile::tempdir().expect("a directory"), TestRegistry::start().await);
    registry.push("1", &TestImage::new("a", &[layer("one")]));
    registry.push("2", &TestImage::new("b", &[layer("two")]));
    let pinned = vec![registry.name("app:1"), "other.example/*".to_owned()];
    let store = open_with(directory.path(), |config| config.pinned = pinned);
    assert!(store.pull(&registry.name("app:1"), None).await.expect("pulls").pinned);
    assert!(!store.pull(&registry.name("app:2"), None).await.expect("pulls").pinned);
}

#[tokio::test]
async fn usage_counts_images_and_containers_apart() {
    let (directory, registry) = (tempfile::tempdir().expect("a directory"), TestRegistry::start().await);
    let big = Layer::new().file("big", &vec![7; 1 << 20]).bytes();
    registry.push("1", &TestImage::new("a", &[big]));
    let store = open(directory.path());
    let empty = store.usage().await.expect("usage");
    let image = store.pull(&registry.name("app:1"), None).await.expect("pulls");
    let snapshot = store.snapshot(&id(1), &image, None).await.expect("a snapshot");
    fs::write(snapshot.upper.join("written"), vec![1; 2 << 20]).expect("writes");
    let container = store.snapshot_usage(&id(1)).expect("usage");
    assert!((2 << 20..(2 << 20) + 16384).contains(&container.used_bytes), "{container:?}");
    assert_eq!(container.inodes_used, 2);
    assert!(matches!(store.snapshot_usage(&id(2)), Err(Error::NoSnapshot(_))));
    let space = store.snapshot_space().expect("space");
    assert!(space.bytes > container.used_bytes && space.inodes_free <= space.inodes, "{space:?}");
    assert!(space.device.starts_with("/dev/") || space.device.starts_with("0:"), "{space:?}");
    drop(store);
    let used = open(directory.path()).usage().await.expect("usage");
    let grown = used.images.used_bytes - empty.images.used_bytes;
    assert!((1 << 20..(1 << 20) + 65536).contains(&grown), "{grown}");
    assert!(used.images.inodes_used > empty.images.inodes_used);
    assert!(used.containers.used_bytes >= container.used_bytes);
}
