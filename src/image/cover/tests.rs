use std::{fs, os::unix::fs::MetadataExt as _, path::PathBuf};

use crate::image::{
    Image,
    fixture::{Layer, TestImage, TestRegistry, open},
    tar::{Header, Kind, Time},
};

fn directory(path: &str, mode: u32, uid: u32) -> Header {
    let mtime = Time { seconds: 1_000_000, nanos: 7 };
    Header { mode, uid, mtime, ..Header::new(path, Kind::Directory) }
}

/// Pulls an image of these layers; gives it and its directories, top first.
async fn pulled(layers: &[Vec<u8>]) -> (tempfile::TempDir, Image, Vec<PathBuf>) {
    let (place, registry) = (tempfile::tempdir().expect("a directory"), TestRegistry::start().await);
    registry.push("1", &TestImage::new("a", layers));
    let store = open(place.path());
    let image = store.pull(&registry.name("app:1"), None).await.expect("pulls");
    let directories = store.layers(&image);
    drop(store);
    assert_eq!(open(place.path()).layers(&image), directories, "after a restart");
    (place, Image::clone(&image), directories)
}

#[tokio::test]
async fn implied_directories_keep_the_attributes_of_the_layers_below() {
    let mut with_xattr = directory("srv", 0o700, 33);
    with_xattr.xattrs.insert(b"user.note".to_vec(), b"kept".to_vec());
    let base = Layer::new()
        .header(&directory("tmp", 0o1777, 0), b"")
        .header(&with_xattr, b"")
        .header(&directory("srv/www", 0o755, 33), b"")
        .header(&directory("usr", 0o755, 0), b"")
        .bytes();
    let top = Layer::new().file("tmp/x", b"").file("srv/www/index", b"").file("usr/bin/tool", b"").bytes();
    let (_place, image, layers) = pulled(&[base, top]).await;
    assert_eq!((image.layers.len(), layers.len()), (3, 3));
    let found = |path: &str| fs::metadata(layers[0].join(path)).expect(path);
    assert_eq!((found("tmp").mode() & 0o7777, found("tmp").uid()), (0o1777, 0));
    assert_eq!((found("srv").mode() & 0o7777, found("srv").uid()), (0o700, 33));
    assert_eq!((found("srv/www").mode() & 0o7777, found("srv/www").uid()), (0o755, 33));
    assert_eq!((found("srv").mtime(), found("srv").mtime_nsec()), (1_000_000, 7));
    let mut value = [0; 4];
    rustix::fs::getxattr(layers[0].join("srv"), "user.note", &mut value).expect("an attribute");
    assert_eq!(&value, b"kept");
    assert!(!layers[0].join("usr").exists(), "what looks as usual needs no cover");
    assert!(!layers[0].join("tmp/x").exists(), "a cover holds directories only");
}

#[tokio::test]
async fn there_is_no_cover_where_nothing_is_hidden() {
    let tmp = || Layer::new().header(&directory("tmp", 0o1777, 0), b"");
    for (what, layers) in [
        ("usual attributes", vec![Layer::new().directory("usr"), Layer::new().file("usr/x", b"")]),
        ("explicit on top", vec![Layer::new().file("tmp/x", b""), tmp()]),
        ("nothing below", vec![Layer::new().directory("a"), Layer::new().file("tmp/x", b"")]),
        ("removed between", vec![tmp(), Layer::new().file(".wh.tmp", b""), Layer::new().file("tmp/x", b"")]),
        ("a file between", vec![tmp(), Layer::new().file("tmp", b""), Layer::new().file("tmp/x", b"")]),
        ("opaque", vec![tmp(), Layer::new().file("tmp/.wh..wh..opq", b"").file("tmp/x", b"")]),
        ("all below hidden", vec![tmp(), Layer::new().file(".wh..wh..opq", b""), Layer::new().file("tmp/x", b"")]),
        ("gone again", vec![tmp(), Layer::new().file("tmp/x", b""), Layer::new().file(".wh.tmp", b"")]),
    ] {
        let layers: Vec<_> = layers.into_iter().map(Layer::bytes).collect();
        let (_place, image, _) = pulled(&layers).await;
        assert_eq!(image.layers.len(), layers.len(), "{what}");
    }
}

#[tokio::test]
async fn the_root_of_a_container_looks_as_the_topmost_layer_that_gives_it() {
    let base = Layer::new().header(&directory("./", 0o711, 5), b"").bytes();
    let top = Layer::new().directory("a").bytes();
    let (place, image, _) = pulled(&[base, top]).await;
    let id = crate::types::Id::from_bytes([1; 32]);
    let snapshot = open(place.path()).snapshot(&id, &image, None).await.expect("a snapshot");
    let upper = fs::metadata(snapshot.upper).expect("is there");
    assert_eq!((upper.mode() & 0o7777, upper.uid()), (0o711, 5));
}

#[tokio::test]
async fn a_hard_link_to_a_file_of_a_layer_below_is_one_to_its_copy() {
    let attributes = Header { mode: 0o4755, uid: 7, size: 4, ..Header::new("usr/bin/a", Kind::File) };
    let base = || Layer::new().header(&attributes, b"text").file("other", b"").bytes();
    let links = || {
        let layer = Layer::new().link(Kind::HardLink, "usr/lib/b", "/usr/bin/a");
        layer.link(Kind::HardLink, "c", "usr/lib/b").bytes()
    };
    let (_place, image, layers) = pulled(&[base(), links()]).await;
    assert_eq!(image.layers.len(), 3);
    let found = |name: &str| fs::metadata(layers[0].join(name)).expect(name);
    assert_eq!(fs::read(layers[0].join("usr/lib/b")).expect("reads"), b"text");
    assert_eq!((found("usr/lib/b").mode() & 0o7777, found("usr/lib/b").uid()), (0o4755, 7));
    let inode = found("usr/bin/a").ino();
    assert_eq!([found("usr/lib/b").ino(), found("c").ino()], [inode; 2], "one file");

    // What a layer above says of a name counts more.
    let above = Layer::new().file("usr/lib/.wh.b", b"").file("usr/bin/a", b"new").file("c", b"new").bytes();
    let (_place, image, _) = pulled(&[base(), links(), above]).await;
    assert_eq!(image.layers.len(), 3, "there is a cover that nothing can be seen of");
}

#[tokio::test]
async fn a_hard_link_to_what_no_layer_has_makes_the_image_unusable() {
    for (what, base) in [
        ("nothing", Layer::new().file("b", b"")),
        ("a directory", Layer::new().directory("a")),
        ("a symbolic link", Layer::new().symlink("a", "b")),
    ] {
        let layers = [base.bytes(), Layer::new().link(Kind::HardLink, "link", "a").bytes()];
        let (place, registry) = (tempfile::tempdir().expect("a directory"), TestRegistry::start().await);
        registry.push("1", &TestImage::new("a", &layers));
        let store = open(place.path());
        let error = store.pull(&registry.name("app:1"), None).await.expect_err(what);
        assert!(crate::error::chain(&error).contains("hard link"), "{what}: {}", crate::error::chain(&error));
    }
}
