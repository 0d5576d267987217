use std::{fs, path::Path};

use crate::{
    image::{
        fixture::{Layer, TestImage, TestRegistry, names, open, until, until_empty},
        record::Record,
    },
    types::{Digest, Timestamp},
};

fn record_path(directory: &Path, id: Digest) -> std::path::PathBuf {
    directory.join("image/images").join(format!("{}.json", id.hex()))
}

fn change_record(directory: &Path, id: Digest, change: impl FnOnce(&mut Record)) {
    let path = record_path(directory, id);
    let mut record: Record = serde_json::from_slice(&fs::read(&path).expect("reads")).expect("JSON");
    change(&mut record);
    fs::write(&path, serde_json::to_vec(&record).expect("JSON")).expect("writes");
}

/// A directory with two images in it, with the tags `one` and `two`.
async fn two_images() -> (tempfile::TempDir, TestRegistry, [TestImage; 2]) {
    let (directory, registry) = (tempfile::tempdir().expect("a directory"), TestRegistry::start().await);
    let images = ["one", "two"].map(|name| TestImage::new(name, &[Layer::new().file(name, name.as_bytes()).bytes()]));
    let store = open(directory.path());
    for (name, image) in ["one", "two"].iter().zip(&images) {
        registry.push(name, image);
        store.pull(&registry.name(&format!("app:{name}")), None).await.expect("pulls");
    }
    // Layers are marked as settled in the background; damage done meanwhile would race with that.
    let layers = directory.path().join("image/layers");
    until("layers are settled", || names(&layers).iter().all(|layer| layers.join(layer).join("settled").exists()))
        .await;
    (directory, registry, images)
}

#[tokio::test]
async fn of_two_records_with_one_name_the_later_tells_the_truth() {
    let (directory, registry, [one, two]) = two_images().await;
    // As if the process ended between the two writes that move a tag.
    let name = registry.name("app:one");
    change_record(directory.path(), two.id, |record| {
        record.tags.push(name.clone());
        record.updated = Timestamp(record.updated.0 + 1);
    });
    for _ in 0..2 {
        let store = open(directory.path());
        assert_eq!(store.resolve(&name).map(|image| image.id), Some(two.id));
        assert_eq!(store.resolve(&one.id.to_string()).expect("is there").tags, [""; 0]);
    }
}

#[tokio::test]
async fn images_whose_content_is_not_all_there_are_dropped() {
    type Damage = fn(&Path, &TestImage);
    let damages: [(&str, Damage); 8] = [
        ("layer gone", |root, image| {
            fs::remove_dir_all(root.join("layers").join(image.diff_ids[0].hex())).expect("removes")
        }),
        ("layer without record", |root, image| {
            fs::remove_file(root.join("layers").join(image.diff_ids[0].hex()).join("layer.json")).expect("removes");
        }),
        ("layer without files", |root, image| {
            fs::remove_dir_all(root.join("layers").join(image.diff_ids[0].hex()).join("fs")).expect("removes");
        }),
        ("configuration gone", |root, image| {
            fs::remove_file(root.join("blobs").join(image.id.blob_path())).expect("removes")
        }),
        ("configuration cut off", |root, image| {
            fs::write(root.join("blobs").join(image.id.blob_path()), "{").expect("writes")
        }),
        ("manifest gone", |root, image| {
            fs::remove_file(root.join("blobs").join(image.digest().blob_path())).expect("removes")
        }),
        ("record cut off", |root, image| {
            fs::write(root.join(format!("images/{}.json", image.id.hex())), "{\"id\":").expect("writes")
        }),
        ("record of another", |root, image| {
            let path = root.join(format!("images/{}.json", image.id.hex()));
            fs::rename(path, root.join(format!("images/{}.json", image.digest().hex()))).expect("renames");
        }),
    ];
    for (what, damage) in damages {
        let (directory, registry, [one, two]) = two_images().await;
        damage(&directory.path().join("image"), &one);
        let store = open(directory.path());
        let left: Vec<_> = store.list().iter().map(|image| image.id).collect();
        assert_eq!(left, [two.id], "{what}");
        assert_eq!(names(&directory.path().join("image/layers")), [two.diff_ids[0].hex()], "{what}");
        store.pull(&registry.name("app:one"), None).await.unwrap_or_else(|error| panic!("{what}: {error}"));
        drop(store);
        let store = open(directory.path());
        assert_eq!(store.list().len(), 2, "{what}");
        for image in store.list() {
            store.remove(&image.id.to_string()).await.expect("removes");
        }
        until_empty(directory.path()).await;
    }
}

#[tokio::test]
async fn unfinished_records_are_not_images() {
    let (directory, _registry, [one, _]) = two_images().await;
    let whole = fs::read(record_path(directory.path(), one.id)).expect("reads");
    let images = directory.path().join("image/images");
    fs::write(images.join(".tmp-1"), &whole).expect("writes");
    fs::write(images.join(".tmp-2"), &whole[..whole.len() / 2]).expect("writes");
    let store = open(directory.path());
    assert_eq!(store.list().len(), 2);
    assert_eq!(names(&images).len(), 2);
}

#[tokio::test]
async fn an_id_is_known_by_its_beginning_if_that_is_no_other_s() {
    let (directory, _registry, [one, two]) = two_images().await;
    let store = open(directory.path());
    let (one, two) = (one.id.hex(), two.id.hex());
    let shared = one.bytes().zip(two.bytes()).take_while(|(a, b)| a == b).count();
    assert_eq!(store.resolve(&one[..=shared]).map(|image| image.id.hex()), Some(one.clone()));
    assert_eq!(store.resolve(&one[..shared]), None, "both begin like this");
    assert_eq!(store.resolve(&format!("{one}0")), None);
}
