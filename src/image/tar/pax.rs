//! PAX extended headers: `<length> <key>=<value>\n`, where the value is any bytes at all.

use super::{Header, Segment, Time};

/// Records of one extended header in the order written; a key may come more than once.
#[derive(Debug, Default)]
pub(super) struct Records(Vec<(Vec<u8>, Vec<u8>)>);

/// Prefix of the records that hold extended attributes.
pub(super) const XATTR: &[u8] = b"SCHILY.xattr.";

impl Records {
    /// Splits an extended header. Says what is wrong with it if it cannot be split.
    pub(super) fn parse(mut bytes: &[u8]) -> Result<Self, &'static str> {
        let mut records = Vec::new();
        while !bytes.is_empty() {
            let (key, value, rest) = split_record(bytes).ok_or("extended header record")?;
            if matches!(key, b"path" | b"linkpath" | b"uname" | b"gname") && value.contains(&0) {
                return Err("NUL byte in an extended header name");
            }
            records.push((key.to_vec(), value.to_vec()));
            bytes = rest;
        }
        Ok(Self(records))
    }

    /// The last value of a key; an empty one counts as none, as it unsets the record.
    fn get(&self, key: &str) -> Option<&[u8]> {
        let found = self.0.iter().rev().find(|(name, _)| name == key.as_bytes());
        found.map(|(_, value)| value.as_slice()).filter(|value| !value.is_empty())
    }

    /// A number among the records: `Ok(None)` if it is not there.
    fn number(&self, key: &str, what: &'static str) -> Result<Option<u64>, &'static str> {
        self.get(key).map(|value| decimal(value).ok_or(what)).transpose()
    }

    /// Bytes that the archive stores for the entry, if an extended header tells.
    pub(super) fn stored_size(&self) -> Result<Option<u64>, &'static str> {
        self.number("size", "extended header size")
    }

    /// Puts the records in the place of the header block's fields.
    pub(super) fn apply(&self, header: &mut Header) -> Result<(), &'static str> {
        if let Some(path) = self.get("path") {
            header.path = path.to_vec();
        }
        if let Some(link) = self.get("linkpath") {
            header.link = link.to_vec();
        }
        let id = |key, what| -> Result<_, &'static str> {
            self.number(key, what)?.map(|number| u32::try_from(number).map_err(|_| what)).transpose()
        };
        header.uid = id("uid", "extended header uid")?.unwrap_or(header.uid);
        header.gid = id("gid", "extended header gid")?.unwrap_or(header.gid);
        let (major, minor) = header.device;
        let device = |key| id(key, "extended header device number");
        header.device = (device("SCHILY.devmajor")?.unwrap_or(major), device("SCHILY.devminor")?.unwrap_or(minor));
        if let Some(time) = self.get("mtime") {
            header.mtime = parse_time(time).ok_or("extended header mtime")?;
        }
        for (key, value) in &self.0 {
            if let Some(name) = key.strip_prefix(XATTR) {
                header.xattrs.insert(name.to_vec(), value.clone());
            }
        }
        Ok(())
    }

    /// How a sparse file is described among the records, if at all.
    pub(super) fn sparse(&self) -> Result<Option<Sparse>, &'static str> {
        let version = (self.get("GNU.sparse.major"), self.get("GNU.sparse.minor"));
        let map = match version {
            (Some(b"1"), Some(b"0")) => Map::InData,
            (None | Some(b"0"), _) if self.get("GNU.sparse.map").is_some() => {
                Map::Segments(parse_map(self.get("GNU.sparse.map").unwrap_or_default())?)
            }
            (None | Some(b"0"), _) if self.get("GNU.sparse.numblocks").is_some() => Map::Segments(self.offsets()?),
            (None, None) => return Ok(None),
            _ => return Err("sparse file version"),
        };
        let size = match self.number("GNU.sparse.realsize", "sparse file size")? {
            Some(size) => size,
            None => self.number("GNU.sparse.size", "sparse file size")?.ok_or("sparse file size")?,
        };
        Ok(Some(Sparse { map, size, name: self.get("GNU.sparse.name").map(<[u8]>::to_vec) }))
    }

    /// Segments of format 0.0: pairs of records in order.
    fn offsets(&self) -> Result<Vec<Segment>, &'static str> {
        let mut segments = Vec::new();
        let mut offset = None;
        for (key, value) in &self.0 {
            match key.as_slice() {
                b"GNU.sparse.offset" => offset = Some(decimal(value).ok_or("sparse file offset")?),
                b"GNU.sparse.numbytes" => segments.push(Segment {
                    offset: offset.take().ok_or("sparse file offset")?,
                    length: decimal(value).ok_or("sparse file length")?,
                }),
                _ => {}
            }
        }
        Ok(segments)
    }
}

/// A sparse file as PAX records describe it.
#[derive(Debug)]
pub(super) struct Sparse {
    /// Where its stored bytes belong.
    pub(super) map: Map,
    /// Its length with the holes.
    pub(super) size: u64,
    /// Its name: the header's own is a made-up one for readers that know no sparse files.
    pub(super) name: Option<Vec<u8>>,
}

/// Where the map of a sparse file is.
#[derive(Debug)]
pub(super) enum Map {
    /// In the records (formats 0.0 and 0.1).
    Segments(Vec<Segment>),
    /// At the start of the data (format 1.0).
    InData,
}

/// Splits off the first record: key, value, rest.
fn split_record(bytes: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let blank = bytes.iter().take(20).position(|byte| *byte == b' ')?;
    let length = usize::try_from(decimal(&bytes[..blank])?).ok()?;
    let record = bytes.get(blank + 1..length)?.strip_suffix(b"\n")?;
    let equals = record.iter().position(|byte| *byte == b'=')?;
    (equals > 0).then(|| (&record[..equals], &record[equals + 1..], &bytes[length..]))
}

/// Segments of format 0.1: offsets and lengths in turn, between commas.
fn parse_map(map: &[u8]) -> Result<Vec<Segment>, &'static str> {
    let mut numbers = map.split(|byte| *byte == b',').map(|number| decimal(number).ok_or("sparse file map"));
    let mut segments = Vec::new();
    while let Some(offset) = numbers.next() {
        let length = numbers.next().ok_or("sparse file map")??;
        segments.push(Segment { offset: offset?, length });
    }
    Ok(segments)
}

/// Reads decimal digits and nothing else.
pub(super) fn decimal(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0_u64, |number, digit| match digit {
        b'0'..=b'9' => number.checked_mul(10)?.checked_add(u64::from(digit - b'0')),
        _ => None,
    })
}

/// Reads `[-]seconds[.fraction]`; digits beyond nanoseconds are dropped.
fn parse_time(text: &[u8]) -> Option<Time> {
    let (negative, text) = match text.strip_prefix(b"-") {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let mut parts = text.splitn(2, |byte| *byte == b'.');
    let seconds = i64::try_from(decimal(parts.next()?)?).ok()?;
    let mut nanos = 0_u32;
    if let Some(fraction) = parts.next() {
        if !fraction.iter().all(u8::is_ascii_digit) {
            return None;
        }
        for place in 0..9 {
            nanos = nanos * 10 + u32::from(fraction.get(place).map_or(0, |digit| digit - b'0'));
        }
    }
    Some(match (negative, nanos) {
        (false, _) => Time { seconds, nanos },
        (true, 0) => Time { seconds: -seconds, nanos },
        (true, _) => Time { seconds: -seconds - 1, nanos: 1_000_000_000 - nanos },
    })
}

/// Spells a time as [`parse_time`] reads it.
pub(super) fn format_time(time: Time) -> String {
    let (sign, seconds, nanos) = match (time.seconds < 0, time.nanos) {
        (true, 0) => ("-", time.seconds.unsigned_abs(), 0),
        (true, nanos) => ("-", (time.seconds + 1).unsigned_abs(), 1_000_000_000 - nanos),
        (false, nanos) => ("", time.seconds.unsigned_abs(), nanos),
    };
    let text = format!("{sign}{seconds}.{nanos:09}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// Appends one record. Its length counts its own digits.
pub(super) fn push_record(out: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while length.to_string().len() + rest != length {
        length = length.to_string().len() + rest;
    }
    out.extend_from_slice(length.to_string().as_bytes());
    out.push(b' ');
    out.extend_from_slice(key);
    out.push(b'=');
    out.extend_from_slice(value);
    out.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_may_hold_newlines_and_nuls() {
        let mut bytes = Vec::new();
        push_record(&mut bytes, b"SCHILY.xattr.security.capability", b"\x01\0\n\n=\x02\n");
        push_record(&mut bytes, b"path", b"a\nb");
        let records = Records::parse(&bytes).expect("parses");
        assert_eq!(records.get("SCHILY.xattr.security.capability"), Some(&b"\x01\0\n\n=\x02\n"[..]));
        assert_eq!(records.get("path"), Some(&b"a\nb"[..]));
    }

    #[test]
    fn a_record_counts_its_own_digits() {
        for length in 1..2000 {
            let mut bytes = Vec::new();
            push_record(&mut bytes, b"k", &vec![b'v'; length]);
            let blank = bytes.iter().position(|byte| *byte == b' ').expect("a blank");
            assert_eq!(decimal(&bytes[..blank]), Some(bytes.len() as u64));
        }
    }

    #[test]
    fn broken_records_are_refused() {
        for bad in
            [&b"5 a=b"[..], b"a=b\n", b"99 a=b\n", b"7 a=b\n", b"0 a=b\n", b"7 =aab\n", b"11 path=\0a\n", b"6 a\nb\n"]
        {
            assert!(Records::parse(bad).is_err(), "{:?}", String::from_utf8_lossy(bad));
        }
    }

    #[test]
    fn times_before_the_epoch_round_down() {
        for (text, seconds, nanos) in
            [("0", 0, 0), ("1.5", 1, 500_000_000), ("-1.5", -2, 500_000_000), ("-3", -3, 0), ("12.0000000019", 12, 1)]
        {
            let time = parse_time(text.as_bytes()).expect(text);
            assert_eq!(time, Time { seconds, nanos });
            assert_eq!(parse_time(format_time(time).as_bytes()), Some(time));
        }
        assert_eq!(parse_time(b"1.2.3"), None);
        assert_eq!(parse_time(b"-"), None);
    }
}
