use std::{
    fs,
    os::unix::{
        ffi::OsStrExt as _,
        fs::{FileTypeExt as _, MetadataExt as _},
    },
    path::Path,
};

use super::{Error, Expected, Limits, Unpacked, unpack};
use crate::{
    error::{Classify as _, Kind as ErrorKind},
    image::{
        fixture::{Layer, gzip},
        tar::{Header, Kind, Segment, Time},
    },
    types::Digest,
};

impl Layer {
    /// Unpacks it to a new directory.
    fn unpack(self) -> (tempfile::TempDir, Result<Unpacked, Error>) {
        unpack_bytes(&self.bytes(), "", None, Limits::default())
    }

    /// Unpacks what must unpack.
    fn tree(self) -> (tempfile::TempDir, Unpacked) {
        let (root, unpacked) = self.unpack();
        (root, unpacked.expect("unpacks"))
    }
}

fn unpack_bytes(
    bytes: &[u8],
    media_type: &str,
    expected: Option<Expected>,
    limits: Limits,
) -> (tempfile::TempDir, Result<Unpacked, Error>) {
    let outer = tempfile::tempdir().expect("a directory");
    fs::create_dir(outer.path().join("fs")).expect("makes");
    fs::write(outer.path().join("secret"), "outside").expect("writes");
    let root = fs::File::open(outer.path().join("fs")).expect("opens");
    let result = unpack(bytes, media_type, expected, root.into(), limits);
    assert_eq!(fs::read(outer.path().join("secret")).expect("is still there"), b"outside");
    assert_eq!(fs::read_dir(outer.path()).expect("lists").count(), 2, "something was made outside");
    (outer, result)
}

fn is_whiteout(path: &Path) -> bool {
    let found = fs::symlink_metadata(path).expect("is there");
    found.file_type().is_char_device() && found.rdev() == 0
}

fn xattr(path: &Path, name: &str) -> Option<Vec<u8>> {
    let mut value = vec![0; 200];
    let length = rustix::fs::lgetxattr(path, name, &mut value[..]).ok()?;
    value.truncate(length);
    Some(value)
}

fn is_opaque(path: &Path) -> bool {
    xattr(path, "trusted.overlay.opaque").as_deref() == Some(b"y")
}

#[test]
fn every_kind_of_entry_is_made_with_its_attributes() {
    let capability = [1, 0, 0, 2, 0x0a, 0x0a, 0, 0, 0, 0, 0, 0, 0x0a, 0, 0, 0, 0, 0, 0, 0];
    let time = Time { seconds: 1_234_567_890, nanos: 123_456_789 };
    let mut directory = Header { mode: 0o1777, mtime: time, ..Header::new("tmp", Kind::Directory) };
    directory.xattrs.insert(b"user.note".to_vec(), b"kept\n".to_vec());
    let mut program =
        Header { mode: 0o4755, uid: 70_001, gid: 12, mtime: time, size: 4, ..Header::new("tmp/ping", Kind::File) };
    program.xattrs.insert(b"security.capability".to_vec(), capability.to_vec());
    program.xattrs.insert(b"trusted.overlay.redirect".to_vec(), b"/etc/shadow".to_vec());
    let link =
        Header { link: b"/etc/\xff".to_vec(), uid: 7, gid: 8, mtime: time, ..Header::new("link", Kind::SymbolicLink) };
    let device = Header { device: (1, 300), mode: 0o620, ..Header::new("device", Kind::BlockDevice) };
    let fifo = Header { mode: 0o604, uid: 5, ..Header::new("fifo", Kind::Fifo) };
    let sparse = Header {
        size: 10 << 20,
        sparse: Some(vec![Segment { offset: 1 << 20, length: 5 }]),
        ..Header::new("sparse", Kind::File)
    };
    let (outer, unpacked) = Layer::new()
        .header(&Header { mode: 0o711, gid: 3, ..Header::new("./", Kind::Directory) }, b"")
        .header(&directory, b"")
        .header(&program, b"ping")
        .link(Kind::HardLink, "hard", "/tmp/ping")
        .header(&link, b"")
        .header(&device, b"")
        .header(&fifo, b"")
        .header(&sparse, b"bytes")
        .tree();
    let root = outer.path().join("fs");
    let stat = |name: &str| fs::symlink_metadata(root.join(name)).expect(name);

    assert_eq!((stat("").mode() & 0o7777, stat("").gid()), (0o711, 3));
    assert_eq!((stat("tmp").mode(), stat("tmp").mtime()), (0o041_777, time.seconds), "after its files were made");
    assert_eq!(xattr(&root.join("tmp"), "user.note").as_deref(), Some(&b"kept\n"[..]));
    let ping = stat("tmp/ping");
    assert_eq!((ping.mode(), ping.uid(), ping.gid(), ping.nlink()), (0o104_755, 70_001, 12, 2));
    assert_eq!((ping.mtime(), ping.mtime_nsec()), (time.seconds, 123_456_789));
    assert_eq!(xattr(&root.join("tmp/ping"), "security.capability").as_deref(), Some(&capability[..]));
    assert_eq!(xattr(&root.join("tmp/ping"), "trusted.overlay.redirect"), None, "overlayfs' own attributes");
    assert_eq!(stat("hard").ino(), ping.ino());
    assert_eq!(fs::read_link(root.join("link")).expect("a link").as_os_str().as_bytes(), b"/etc/\xff");
    assert_eq!((stat("link").uid(), stat("link").gid(), stat("link").mtime()), (7, 8, time.seconds));
    assert_eq!((stat("device").mode(), stat("device").rdev()), (0o060_620, rustix::fs::makedev(1, 300)));
    assert_eq!((stat("fifo").mode(), stat("fifo").uid()), (0o010_604, 5));
    assert_eq!(stat("sparse").len(), 10 << 20);
    assert!(stat("sparse").blocks() < 1024, "holes are kept");
    assert_eq!(&fs::read(root.join("sparse")).expect("reads")[1 << 20..][..6], b"bytes\0");
    assert_eq!(unpacked.tally.inodes, 7);
    assert_eq!(unpacked.tally.bytes, 4 * 4096);
    assert!(unpacked.tally.implicit.is_empty());
}

#[test]
fn whiteouts_take_overlayfs_form() {
    let (outer, unpacked) = Layer::new()
        .file("etc/.wh.gone", b"")
        .file("opaque/.wh..wh..opq", b"")
        .file("opaque/kept", b"1")
        // A whiteout is for the layers below; what the layer itself has stays, in either order.
        .file("own", b"first")
        .file(".wh.own", b"")
        .file(".wh.later", b"")
        .file("later", b"second")
        .file(".wh.directory", b"")
        .directory("directory")
        .file("implied/x", b"")
        .file(".wh.implied", b"")
        .file(".wh.wasfile", b"")
        .file("wasfile/x", b"")
        .file(".wh..wh.plnk/123.456", b"")
        .file(".wh..wh..opq", b"")
        .tree();
    let root = outer.path().join("fs");
    assert!(is_whiteout(&root.join("etc/gone")));
    assert!(is_opaque(&root.join("opaque")));
    assert_eq!(fs::read(root.join("opaque/kept")).expect("reads"), b"1");
    assert_eq!(fs::read(root.join("own")).expect("reads"), b"first");
    assert_eq!(fs::read(root.join("later")).expect("reads"), b"second");
    for directory in ["directory", "implied", "wasfile"] {
        assert!(root.join(directory).is_dir() && is_opaque(&root.join(directory)), "{directory}");
    }
    assert!(!root.join(".wh..wh.plnk").exists());
    assert!(unpacked.tally.opaque);
    let implicit = [&b""[..], b"etc", b"implied", b"opaque", b"wasfile"];
    assert_eq!(unpacked.tally.implicit, implicit, "directories whose attributes the layer does not give");
}

#[test]
fn links_are_followed_within_the_layer_only() {
    let (outer, _) = Layer::new()
        .directory("real")
        .symlink("absolute", "/real")
        .symlink("up", "../../../../../real")
        .symlink("missing", "/made/by/need")
        .symlink("chain", "up")
        .file("absolute/a", b"a")
        .file("up/b", b"b")
        .file("missing/c", b"c")
        .file("chain/d", b"d")
        .symlink("self", ".")
        .file("self/self/e", b"e")
        .symlink("escape", "../secret")
        .file("escape", b"replaces the link")
        .tree();
    let root = outer.path().join("fs");
    for (path, content) in [("real/a", "a"), ("real/b", "b"), ("made/by/need/c", "c"), ("real/d", "d"), ("e", "e")] {
        assert_eq!(fs::read_to_string(root.join(path)).expect(path), content);
    }
    assert!(fs::symlink_metadata(root.join("escape")).expect("is there").is_file());
}

#[test]
fn what_leads_out_of_the_layer_is_refused() {
    for (what, layer) in [
        ("..", Layer::new().file("../secret", b"evil")),
        (".. within", Layer::new().file("a/../../secret", b"evil")),
        ("hard link out", Layer::new().link(Kind::HardLink, "secret", "../secret")),
        ("hard link to a directory", Layer::new().directory("d").link(Kind::HardLink, "x", "d")),
        ("hard link to the root", Layer::new().link(Kind::HardLink, "x", "/")),
        ("whiteout of ..", Layer::new().file("a/.wh...", b"")),
        ("file as directory", Layer::new().file("f", b"").file("f/x", b"")),
        ("link to itself", Layer::new().symlink("loop", "loop").file("loop/x", b"")),
        ("root as file", Layer::new().file(".", b"")),
        ("unknown type", Layer::new().header(&Header::new("x", Kind::Other(b'Z')), b"")),
    ] {
        let (_outer, result) = layer.unpack();
        assert!(result.is_err(), "{what}");
    }
    // An absolute name is taken from the layer's root, and a link that leads out stays within.
    let (outer, _) = Layer::new().file("/secret", b"inside").symlink("out", "..").file("out/deeper", b"x").tree();
    assert_eq!(fs::read(outer.path().join("fs/secret")).expect("reads"), b"inside");
    assert!(outer.path().join("fs/deeper").exists());
}

#[test]
fn a_hard_link_to_what_is_not_in_the_layer_is_left_to_the_layers_below() {
    let layer = Layer::new()
        .file("link", b"is replaced")
        .link(Kind::HardLink, "link", "/etc/passwd")
        .link(Kind::HardLink, "same", "link")
        .symlink("out", "..")
        .link(Kind::HardLink, "d/x", "out/secret")
        .link(Kind::HardLink, "taken", "nothing")
        .file("taken", b"by a file");
    let (outer, unpacked) = layer.tree();
    let links: Vec<_> =
        unpacked.tally.links.iter().map(|link| (link.path.as_slice(), link.target.as_slice())).collect();
    assert_eq!(
        links,
        [(&b"link"[..], &b"etc/passwd"[..]), (b"same", b"etc/passwd"), (b"d/x", b"out/secret")],
        "what was replaced by a file is no link"
    );
    for name in ["link", "same", "d/x"] {
        assert!(!outer.path().join("fs").join(name).exists(), "{name} is there already");
    }
    assert!(outer.path().join("fs/d").is_dir());
}

#[test]
fn later_entries_replace_earlier_ones() {
    let (outer, _) = Layer::new()
        .file("file", b"old content")
        .file("file", b"new")
        .file("dir/inner/deep", b"")
        .file("dir", b"now a file")
        .file("other", b"")
        .directory("other")
        .file("other/x", b"x")
        .symlink("link", "other")
        .file("link/y", b"through the link")
        .directory("link")
        .file("link/z", b"in the new directory")
        .header(&Header { mode: 0o700, ..Header::new("other", Kind::Directory) }, b"")
        .file("a", b"linked")
        .link(Kind::HardLink, "b", "a")
        .link(Kind::HardLink, "b", "a")
        .link(Kind::HardLink, "a", "a")
        .tree();
    let root = outer.path().join("fs");
    assert_eq!(fs::read(root.join("file")).expect("reads"), b"new");
    assert_eq!(fs::read(root.join("dir")).expect("reads"), b"now a file");
    assert_eq!(fs::read(root.join("other/x")).expect("a directory twice is one"), b"x");
    assert_eq!(fs::metadata(root.join("other")).expect("is there").mode() & 0o777, 0o700);
    assert!(root.join("other/y").exists() && root.join("link/z").exists() && !root.join("other/z").exists());
    assert_eq!(fs::metadata(root.join("a")).expect("is there").nlink(), 2);
}

#[test]
fn a_layer_may_be_compressed_in_any_known_way() {
    let plain = Layer::new().file("f", &vec![b'x'; 300_000]).bytes();
    let diff_id = Digest::of(&plain);
    let middle = plain.len() / 2;
    let skippable =
        [&[0x50, 0x2a, 0x4d, 0x18, 4, 0, 0, 0, 1, 2, 3, 4][..], &zstd::encode_all(&plain[..], 3).expect("compresses")]
            .concat();
    for (what, bytes) in [
        ("plain", plain.clone()),
        ("gzip", gzip(&plain)),
        ("two members", [gzip(&plain[..middle]), gzip(&plain[middle..])].concat()),
        ("zstd", zstd::encode_all(&plain[..], 3).expect("compresses")),
        ("skippable frame", skippable),
        ("padded", [plain.clone(), vec![0; 10240]].concat()),
    ] {
        let expected = Expected { digest: Digest::of(&bytes), size: bytes.len() as u64 };
        let (outer, unpacked) =
            unpack_bytes(&bytes, "application/vnd.oci.image.layer.v1.tar", Some(expected), Limits::default());
        let unpacked = unpacked.unwrap_or_else(|error| panic!("{what}: {error}"));
        assert_eq!((unpacked.digest, unpacked.size), (expected.digest, expected.size), "{what}");
        assert_eq!(unpacked.diff_id == diff_id, what != "padded", "{what}: the padding counts");
        assert_eq!(fs::metadata(outer.path().join("fs/f")).expect("is there").len(), 300_000, "{what}");
    }
}

#[test]
fn a_stream_that_is_not_the_expected_one_is_named_so() {
    let plain = Layer::new().file("f", b"content").bytes();
    let bytes = gzip(&plain);
    let good = Expected { digest: Digest::of(&bytes), size: bytes.len() as u64 };
    let result = |bytes: &[u8], expected| unpack_bytes(bytes, "", Some(expected), Limits::default()).1;
    let mut flipped = bytes.clone();
    flipped[bytes.len() / 2] ^= 0x40;
    assert!(matches!(result(&flipped, good), Err(Error::Digest { .. })));
    assert!(matches!(result(&bytes[..bytes.len() - 9], good), Err(Error::Size { .. })));
    assert!(matches!(result(&[&bytes[..], b"more"].concat(), good), Err(Error::Size { .. })));
    let other = Expected { digest: Digest::of(b"other"), ..good };
    assert!(matches!(result(&bytes, other), Err(Error::Digest { .. })));
    let mut broken = plain;
    broken[0] = b'x';
    let right = Expected { digest: Digest::of(&broken), size: broken.len() as u64 };
    let error = result(&broken, right).expect_err("a broken archive with the right digest");
    assert!(matches!(error, Error::Archive(_)) && error.kind() == ErrorKind::DataLoss);
    let text = b"this is no archive at all";
    let right = Expected { digest: Digest::of(text), size: text.len() as u64 };
    assert!(matches!(result(text, right), Err(Error::Archive(_))));
    let cut = gzip(&Layer::new().file("f", &[1; 5000]).bytes()[..1000]);
    let right = Expected { digest: Digest::of(&cut), size: cut.len() as u64 };
    assert!(matches!(result(&cut, right), Err(Error::Archive(_))));
    let half = &gzip(&vec![7; 100_000])[..60];
    let right = Expected { digest: Digest::of(half), size: half.len() as u64 };
    assert!(matches!(result(half, right), Err(Error::Decompress(_))));
}

#[test]
fn a_layer_that_grows_too_large_is_stopped() {
    let bomb = gzip(&Layer::new().file("zeros", &vec![0; 8 << 20]).bytes());
    let limits = Limits { bytes: 1 << 20, ..Limits::default() };
    let (outer, result) = unpack_bytes(&bomb, "", None, limits);
    assert!(matches!(result, Err(Error::Limit { what: "bytes", .. })));
    assert!(fs::metadata(outer.path().join("fs/zeros")).expect("begun").len() <= 1 << 20);
    let deep = (0..20)
        .fold(Layer::new(), |layer, number| layer.directory(&format!("{number}")).file(&format!("i{number}/x"), b""));
    let (_, result) = unpack_bytes(&deep.bytes(), "", None, Limits { names: 30, ..Limits::default() });
    assert!(matches!(result, Err(Error::Limit { what: "bytes of directory names", .. })));
    let many = (0..20).fold(Layer::new(), |layer, number| layer.file(&format!("{number}"), b""));
    let (_, result) = unpack_bytes(&many.bytes(), "", None, Limits { entries: 10, ..Limits::default() });
    assert!(matches!(result, Err(Error::Limit { what: "entries", .. })));
}

/// What is compared of a file: everything but the time of a link's own and what depends on the file system.
fn described(root: &Path) -> std::collections::BTreeMap<std::path::PathBuf, String> {
    let mut files = std::collections::BTreeMap::new();
    let mut pending = vec![root.to_owned()];
    while let Some(directory) = pending.pop() {
        for entry in fs::read_dir(&directory).expect("lists") {
            let path = entry.expect("an entry").path();
            let found = fs::symlink_metadata(&path).expect("is there");
            let content = if found.is_file() {
                Digest::of(&fs::read(&path).expect("reads")).to_string()
            } else {
                format!("{:?}", fs::read_link(&path).ok())
            };
            let (mode, uid, gid, time) = (found.mode(), found.uid(), found.gid(), found.mtime());
            let key = path.strip_prefix(root).expect("below the root").to_owned();
            files.insert(key, format!("{mode:o} {uid}:{gid} {time} {content}"));
            if found.is_dir() {
                pending.push(path);
            }
        }
    }
    files
}

#[test]
fn a_real_tree_comes_out_as_it_went_in() {
    let source = Path::new("/etc");
    for format in ["gnu", "posix", "ustar"] {
        let packed = std::process::Command::new("tar")
            .arg(format!("--format={format}"))
            .args(["-C", "/etc", "-cf", "-", "."])
            .output();
        let Ok(packed) = packed else {
            eprintln!("skipped: there is no tar command");
            return;
        };
        let (outer, unpacked) = unpack_bytes(&packed.stdout, "", None, Limits::default());
        let unpacked = unpacked.unwrap_or_else(|error| panic!("{format}: {error}"));
        let files = described(&outer.path().join("fs"));
        assert!(files == described(source), "{format}");
        assert!(unpacked.tally.implicit.is_empty() && unpacked.tally.inodes > 100, "{format}");
    }
}
