use std::{collections::BTreeMap, io::Read as _, process::Command};

use proptest::prelude::*;

use super::{BLOCK, Error, Header, Kind, Reader, Segment, Time, Writer};

type Entries = Vec<(Header, Vec<u8>)>;

fn read_all(archive: &[u8]) -> Result<Entries, Error> {
    let mut reader = Reader::new(archive);
    let mut entries = Vec::new();
    while let Some(header) = reader.next_entry()? {
        let mut data = Vec::new();
        loop {
            let part = reader.fill_entry()?;
            if part.is_empty() {
                break;
            }
            data.extend_from_slice(part);
            let length = part.len();
            reader.consume_entry(length);
        }
        entries.push((header, data));
    }
    reader.drain()?;
    Ok(entries)
}

fn write_all(entries: &Entries) -> Vec<u8> {
    let mut writer = Writer::new(Vec::new());
    for (header, data) in entries {
        writer.append(header, data).expect("writes to memory");
    }
    writer.finish().expect("ends")
}

fn file(path: impl Into<Vec<u8>>, data: &[u8]) -> (Header, Vec<u8>) {
    (Header { size: data.len() as u64, ..Header::new(path, Kind::File) }, data.to_vec())
}

/// Puts the stored bytes of a sparse file in their places.
fn expand(header: &Header, data: &[u8]) -> Vec<u8> {
    let mut whole = vec![0; usize::try_from(header.size).expect("a small file")];
    let mut rest = data;
    for segment in header.sparse.as_deref().expect("a sparse file") {
        let (offset, length) = (usize::try_from(segment.offset), usize::try_from(segment.length));
        let (part, after) = rest.split_at(length.expect("small"));
        whole[offset.expect("small")..][..part.len()].copy_from_slice(part);
        rest = after;
    }
    assert!(rest.is_empty());
    whole
}

/// A raw header block, for archives that the writer would not write.
fn block(name: &[u8], flag: u8, size: u64, change: impl FnOnce(&mut [u8; BLOCK])) -> Vec<u8> {
    let mut block = [0; BLOCK];
    block[..name.len()].copy_from_slice(name);
    block[100..108].copy_from_slice(b"0000644\0");
    block[124..136].copy_from_slice(format!("{size:011o}\0").as_bytes());
    block[156] = flag;
    change(&mut block);
    block[148..156].fill(b' ');
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    block.to_vec()
}

fn padded(data: &[u8]) -> Vec<u8> {
    let mut data = data.to_vec();
    data.resize(data.len().next_multiple_of(BLOCK), 0);
    data
}

fn pax(records: &[(&str, &[u8])]) -> Vec<u8> {
    let mut data = Vec::new();
    for (key, value) in records {
        super::pax::push_record(&mut data, key.as_bytes(), value);
    }
    [block(b"pax", b'x', data.len() as u64, |_| {}), padded(&data)].concat()
}

#[test]
fn the_other_implementation_reads_what_is_written() {
    let mut long = file(format!("{}/{}", "d".repeat(90), "f".repeat(90)), b"split into prefix and name");
    long.0.mtime = Time { seconds: 1_700_000_000, nanos: 0 };
    let longer = file(format!("{}/file", "deep/".repeat(100)), b"only a record holds this");
    let mut link = Header::new("link", Kind::SymbolicLink);
    link.link = "t".repeat(300).into_bytes();
    let mut device = Header::new("dev/null", Kind::CharDevice);
    device.device = (1, 3);
    let mut owned = file("owned", b"x");
    (owned.0.uid, owned.0.gid, owned.0.mode) = (u32::MAX - 1, 65534, 0o4755);
    let entries =
        vec![(Header::new("dir", Kind::Directory), vec![]), long, longer, (link, vec![]), (device, vec![]), owned];
    let bytes = write_all(&entries);
    assert_eq!(bytes, write_all(&entries), "equal entries give equal bytes");

    let mut archive = tar::Archive::new(&bytes[..]);
    let mut seen = 0;
    for (entry, (header, data)) in archive.entries().expect("an archive").zip(&entries) {
        let mut entry = entry.expect("an entry");
        let path = entry.path_bytes().into_owned();
        assert_eq!(path.strip_suffix(b"/").unwrap_or(&path), header.path);
        assert_eq!(entry.link_name_bytes().map(|link| link.into_owned()).unwrap_or_default(), header.link);
        assert_eq!(entry.header().mode().expect("mode"), header.mode);
        assert_eq!(entry.header().mtime().expect("mtime"), header.mtime.seconds.unsigned_abs());
        let extensions: BTreeMap<String, String> =
            entry.pax_extensions().expect("records").map_or_else(BTreeMap::new, |records| {
                records.flatten().map(|r| (r.key().unwrap().into(), r.value().unwrap().into())).collect()
            });
        let uid = extensions.get("uid").map_or_else(|| entry.header().uid().expect("uid"), |uid| uid.parse().unwrap());
        assert_eq!(uid, u64::from(header.uid));
        let mut content = Vec::new();
        entry.read_to_end(&mut content).expect("data");
        assert_eq!(&content, data);
        seen += 1;
    }
    assert_eq!(seen, entries.len());
}

#[test]
fn what_the_other_implementation_writes_is_read() {
    let mut builder = tar::Builder::new(Vec::new());
    let mut expected = Vec::new();
    for (path, link) in [("a", ""), (&"x/".repeat(80), ""), (&"n".repeat(200), &"l".repeat(200)), ("s", "target")] {
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o640);
        header.set_uid(70_000);
        header.set_gid(12);
        header.set_mtime(1234);
        if link.is_empty() {
            let data = path.as_bytes();
            header.set_size(data.len() as u64);
            header.set_entry_type(if path.ends_with('/') {
                tar::EntryType::Directory
            } else {
                tar::EntryType::Regular
            });
            if path.ends_with('/') {
                header.set_size(0);
                builder.append_data(&mut header, path, &[][..]).expect("appends");
            } else {
                builder.append_data(&mut header, path, data).expect("appends");
            }
        } else {
            header.set_size(0);
            header.set_entry_type(tar::EntryType::Symlink);
            builder.append_link(&mut header, path, link).expect("appends");
        }
        expected.push((path.to_owned(), link.to_owned()));
    }
    let entries = read_all(&builder.into_inner().expect("bytes")).expect("reads");
    let read: Vec<_> = entries
        .iter()
        .map(|(header, _)| {
            assert_eq!((header.mode, header.uid, header.gid, header.mtime.seconds), (0o640, 70_000, 12, 1234));
            (String::from_utf8(header.path.clone()).unwrap(), String::from_utf8(header.link.clone()).unwrap())
        })
        .collect();
    assert_eq!(read, expected);
}

#[test]
fn gnu_tar_sparse_files_are_read_in_every_form() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("holes");
    let holes = std::fs::File::create(&path).expect("a file");
    // More segments than a header of the old form holds.
    for piece in 0..40_u64 {
        std::os::unix::fs::FileExt::write_all_at(&holes, &[b'a'; 4096], piece * 65536).expect("writes");
    }
    holes.set_len(64 << 16).expect("a hole at the end");
    let content = std::fs::read(&path).expect("reads");
    for form in [
        &["--format=gnu"][..],
        &["--format=posix", "--sparse-version=0.0"],
        &["--format=posix", "--sparse-version=0.1"],
        &["--format=posix", "--sparse-version=1.0"],
    ] {
        let made =
            Command::new("tar").args(form).args(["-S", "-cf", "-", "-C"]).arg(directory.path()).arg("holes").output();
        let Ok(made) = made else {
            eprintln!("skipped: there is no tar command");
            return;
        };
        let entries = read_all(&made.stdout).unwrap_or_else(|error| panic!("{form:?}: {error}"));
        let [(header, data)] = &entries[..] else { panic!("{form:?}: {} entries", entries.len()) };
        assert_eq!(header.path, b"holes", "{form:?}");
        assert!(data.len() < content.len() / 2, "{form:?}: stored without holes");
        assert!(expand(header, data) == content, "{form:?}");
        // And written again.
        let again = read_all(&write_all(&entries)).expect("reads");
        assert!(again == entries, "{form:?}");
    }
}

#[test]
fn numbers_too_large_for_octal_are_read() {
    let large = block(b"large", b'0', 0, |block| {
        block[108..116].copy_from_slice(&[0x80, 0, 0, 0, 0xff, 0xff, 0xff, 0xfe]);
        block[136..148].copy_from_slice(&[0xff; 12]);
    });
    let entries = read_all(&large).expect("reads");
    assert_eq!((entries[0].0.uid, entries[0].0.mtime.seconds), (u32::MAX - 1, -1));
}

#[test]
fn records_override_the_header_and_empty_ones_do_not() {
    let archive = [
        pax(&[("path", b"real\nname"), ("uid", b"9"), ("mtime", b"-1.25"), ("linkpath", b""), ("size", b"3")]),
        block(b"name", b'0', 7, |_| {}),
        padded(b"abc"),
        block(b"next", b'0', 0, |_| {}),
    ]
    .concat();
    let entries = read_all(&archive).expect("reads");
    let (header, data) = &entries[0];
    assert_eq!((&header.path[..], header.uid, &data[..]), (&b"real\nname"[..], 9, &b"abc"[..]));
    assert_eq!(header.mtime, Time { seconds: -2, nanos: 750_000_000 });
    assert_eq!((&entries[1].0.path[..], entries[1].0.uid), (&b"next"[..], 0), "records count for one entry");
}

#[test]
fn links_and_directories_have_no_data_whatever_their_size_says() {
    let archive = [block(b"hard", b'1', 512, |_| {}), block(b"dir", b'5', 1024, |_| {}), block(b"old/", 0, 0, |_| {})];
    let entries = read_all(&archive.concat()).expect("reads");
    let kinds: Vec<_> = entries.iter().map(|(header, _)| (header.kind, header.size)).collect();
    assert_eq!(kinds, [(Kind::HardLink, 0), (Kind::Directory, 0), (Kind::Directory, 0)]);
}

#[test]
fn broken_archives_are_refused() {
    let entry = [block(b"a", b'0', 600, |_| {}), padded(&[7; 600])].concat();
    let mut wrong_sum = entry.clone();
    wrong_sum[0] = b'b';
    let lone_zero = [vec![0; BLOCK], entry.clone()].concat();
    let huge_records = block(b"pax", b'x', 1 << 30, |_| {});
    let huge =
        block(b"huge", b'0', 0, |block| block[124..136].copy_from_slice(&[0x80, 0, 0, 0, 0xff, 0, 0, 0, 0, 0, 0, 0]));
    let negative = block(b"negative", b'0', 0, |block| block[124..136].copy_from_slice(&[0xff; 12]));
    for (what, archive) in [
        ("cut in a header", &entry[..100]),
        ("cut in the data", &entry[..700]),
        ("cut in the padding", &entry[..entry.len() - 1]),
        ("checksum", &wrong_sum[..]),
        ("lone zero block", &lone_zero[..]),
        ("huge records", &huge_records[..]),
        ("huge", &huge[..]),
        ("negative size", &negative[..]),
        ("bad record", &pax(&[("mtime", b"x")])[..]),
    ] {
        let archive = if what == "bad record" { [archive, &entry[..]].concat() } else { archive.to_vec() };
        assert!(read_all(&archive).is_err(), "{what}");
    }
    assert_eq!(read_all(&entry).expect("no end is an end").len(), 1);
    assert!(read_all(b"").expect("nothing is an empty archive").is_empty());
}

#[test]
fn sparse_maps_that_lie_are_refused() {
    let sparse = |map: &[u8], size: &[u8], stored: usize| {
        let records = pax(&[("GNU.sparse.size", size), ("GNU.sparse.map", map)]);
        read_all(&[records, block(b"s", b'0', stored as u64, |_| {}), padded(&vec![1; stored])].concat())
    };
    assert!(sparse(b"0,10,20,10,40,0", b"40", 20).is_ok());
    for (map, size, stored) in [
        (&b"0,10,5,10"[..], &b"40"[..], 20),
        (b"0,10,20,10", b"25", 20),
        (b"0,10", b"40", 20),
        (b"0,30", b"40", 20),
        (b"0,18446744073709551615", b"40", 20),
        (b"0", b"40", 0),
        (b"0,x", b"40", 0),
    ] {
        assert!(sparse(map, size, stored).is_err(), "{}", String::from_utf8_lossy(map));
    }
    let in_data = |text: &[u8]| {
        let records = pax(&[
            ("GNU.sparse.major", b"1"),
            ("GNU.sparse.minor", b"0"),
            ("GNU.sparse.realsize", b"100"),
            ("GNU.sparse.name", b"real"),
        ]);
        let data = [padded(text), b"0123456789".to_vec()].concat();
        read_all(&[records, block(b"s", b'0', data.len() as u64, |_| {}), padded(&data)].concat())
    };
    let good = in_data(b"1\n50\n10\n").expect("reads");
    assert_eq!(good[0].0.sparse, Some(vec![Segment { offset: 50, length: 10 }]));
    assert_eq!((&good[0].0.path[..], good[0].0.size), (&b"real"[..], 100));
    for bad in [&b"2\n50\n10\n"[..], b"1\n95\n10\n", b"99999999\n", b"x\n", b"111111111111111111111111\n"] {
        assert!(in_data(bad).is_err(), "{}", String::from_utf8_lossy(bad));
    }
}

fn bytes_without_nul(length: std::ops::Range<usize>) -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(1..=255_u8, length)
}

fn entry() -> impl Strategy<Value = (Header, Vec<u8>)> {
    let kinds = prop_oneof![
        Just(Kind::File),
        Just(Kind::HardLink),
        Just(Kind::SymbolicLink),
        Just(Kind::CharDevice),
        Just(Kind::Directory),
        Just(Kind::Fifo)
    ];
    let xattrs = proptest::collection::btree_map("[a-z.]{1,20}", proptest::collection::vec(any::<u8>(), 0..60), 0..3);
    let time = (any::<i32>(), 0..1_000_000_000_u32);
    let ids = (0..0o10000_u32, any::<u32>(), any::<u32>());
    (
        bytes_without_nul(1..320),
        bytes_without_nul(1..320),
        kinds,
        ids,
        time,
        xattrs,
        proptest::collection::vec(any::<u8>(), 0..1500),
    )
        .prop_map(|(mut path, link, kind, (mode, uid, gid), (seconds, nanos), xattrs, data)| {
            while path.ends_with(b"/") && path.len() > 1 {
                path.pop();
            }
            if path == b"/" {
                path = b"x".to_vec();
            }
            let data = if kind == Kind::File { data } else { Vec::new() };
            let is_link = matches!(kind, Kind::HardLink | Kind::SymbolicLink);
            let header = Header {
                link: if is_link { link } else { Vec::new() },
                mode,
                uid,
                gid,
                size: data.len() as u64,
                mtime: Time { seconds: seconds.into(), nanos },
                device: if kind == Kind::CharDevice { (mode, uid) } else { (0, 0) },
                xattrs: xattrs.into_iter().map(|(name, value)| (name.into_bytes(), value)).collect(),
                ..Header::new(path, kind)
            };
            (header, data)
        })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_written_is_read_again(entries in proptest::collection::vec(entry(), 0..6)) {
        let mut read = read_all(&write_all(&entries)).expect("reads");
        for ((header, _), (written, _)) in read.iter_mut().zip(&entries) {
            if written.kind == Kind::Directory {
                prop_assert_eq!(header.path.pop(), Some(b'/'));
            }
        }
        prop_assert_eq!(read, entries);
    }

    #[test]
    fn no_archive_makes_the_reader_panic(
        entries in proptest::collection::vec(entry(), 0..3),
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..8),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut bytes = write_all(&entries);
        for (at, value) in changes {
            let at = at.index(bytes.len());
            bytes[at] = value;
            // A right checksum, so that the change is looked at.
            let start = at / BLOCK * BLOCK;
            let block: &mut [u8] = &mut bytes[start..start + BLOCK];
            if block[257..262] == *b"ustar" {
                block[148..156].fill(b' ');
                let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
                block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
            }
        }
        bytes.truncate(cut.index(bytes.len() + 1));
        let _ = read_all(&bytes);
    }
}
