//! The 512-byte header block: where its fields are and how numbers are spelt.

/// Everything in an archive comes in blocks of this many bytes.
pub(in crate::image) const BLOCK: usize = 512;

/// A header block.
pub(super) type Block = [u8; BLOCK];

/// A field as its first byte and its length.
#[derive(Debug, Clone, Copy)]
pub(super) struct Field(pub(super) usize, pub(super) usize);

pub(super) const NAME: Field = Field(0, 100);
pub(super) const MODE: Field = Field(100, 8);
pub(super) const UID: Field = Field(108, 8);
pub(super) const GID: Field = Field(116, 8);
pub(super) const SIZE: Field = Field(124, 12);
pub(super) const MTIME: Field = Field(136, 12);
pub(super) const CHECKSUM: Field = Field(148, 8);
pub(super) const TYPE: usize = 156;
pub(super) const LINK: Field = Field(157, 100);
pub(super) const MAGIC: Field = Field(257, 8);
pub(super) const MAJOR: Field = Field(329, 8);
pub(super) const MINOR: Field = Field(337, 8);
pub(super) const PREFIX: Field = Field(345, 155);
/// The shorter prefix of Schilling's star.
const STAR_PREFIX: Field = Field(345, 131);
const STAR_TRAILER: Field = Field(508, 4);

/// POSIX magic and version.
pub(super) const USTAR: &[u8; 8] = b"ustar\x0000";

impl Field {
    /// The field's bytes.
    pub(super) fn of(self, block: &Block) -> &[u8] {
        &block[self.0..self.0 + self.1]
    }

    /// The field's bytes, to be written.
    pub(super) fn of_mut(self, block: &mut Block) -> &mut [u8] {
        &mut block[self.0..self.0 + self.1]
    }

    /// The field's bytes up to the first NUL.
    pub(super) fn text(self, block: &Block) -> &[u8] {
        until_nul(self.of(block))
    }

    /// The number in the field; `None` if it is not one.
    pub(super) fn number(self, block: &Block) -> Option<i64> {
        parse_number(self.of(block))
    }
}

/// The part of `bytes` before the first NUL.
pub(super) fn until_nul(bytes: &[u8]) -> &[u8] {
    bytes.split(|byte| *byte == 0).next().unwrap_or_default()
}

/// Whether the block is all zero, as two of them end an archive.
pub(super) fn is_zero(block: &Block) -> bool {
    block.iter().all(|byte| *byte == 0)
}

/// Sum of the block's bytes with the checksum field taken as blanks; unsigned, and signed as some old writers did it.
pub(super) fn checksums(block: &Block) -> (i64, i64) {
    let Field(start, length) = CHECKSUM;
    block.iter().enumerate().fold((0, 0), |(unsigned, signed), (at, byte)| {
        let byte = if (start..start + length).contains(&at) { b' ' } else { *byte };
        (unsigned + i64::from(byte), signed + i64::from(byte.cast_signed()))
    })
}

/// The directory part that POSIX and star archives keep apart from the name.
pub(super) fn prefix(block: &Block) -> &[u8] {
    if &MAGIC.of(block)[..6] != b"ustar\0" {
        return b"";
    }
    if STAR_TRAILER.of(block) == b"tar\0" { STAR_PREFIX.text(block) } else { PREFIX.text(block) }
}

/// Reads a number: octal digits between blanks and NULs, or base 256 with the top bit of the first byte set.
pub(super) fn parse_number(field: &[u8]) -> Option<i64> {
    match field.first() {
        Some(first) if first & 0x80 != 0 => parse_base256(field),
        _ => parse_octal(field),
    }
}

/// Two's complement, big endian; the bit after the marker is the sign.
fn parse_base256(field: &[u8]) -> Option<i64> {
    let negative = field[0] & 0x40 != 0;
    let fill: u8 = if negative { 0xff } else { 0 };
    let mut bytes = field.to_vec();
    bytes[0] = if negative { bytes[0] | 0x80 } else { bytes[0] & 0x7f };
    let excess = bytes.len().saturating_sub(8);
    if bytes[..excess].iter().any(|byte| *byte != fill) {
        return None;
    }
    let mut number = [fill; 8];
    number[8 - (bytes.len() - excess)..].copy_from_slice(&bytes[excess..]);
    let number = i64::from_be_bytes(number);
    (number < 0).eq(&negative).then_some(number)
}

fn parse_octal(field: &[u8]) -> Option<i64> {
    let padding = |byte: &u8| *byte == b' ' || *byte == 0;
    let Some(start) = field.iter().position(|byte| !padding(byte)) else { return Some(0) };
    let end = field[start..].iter().position(padding).map_or(field.len(), |length| start + length);
    if !field[end..].iter().all(padding) {
        return None;
    }
    field[start..end].iter().try_fold(0_i64, |number, digit| match digit {
        b'0'..=b'7' => number.checked_mul(8)?.checked_add(i64::from(digit - b'0')),
        _ => None,
    })
}

/// Writes a number in octal with a NUL behind it; false if it does not fit.
pub(super) fn write_octal(field: &mut [u8], number: u64) -> bool {
    let digits = field.len() - 1;
    let fits = digits * 3 >= 64 || number >> (digits * 3) == 0;
    if fits {
        let mut rest = number;
        for place in field[..digits].iter_mut().rev() {
            *place = b'0' + u8::try_from(rest & 7).unwrap_or_default();
            rest >>= 3;
        }
        field[digits] = 0;
    }
    fits
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_as_every_writer_spells_them() {
        for (field, number) in [
            (&b"0000644\0"[..], Some(0o644)),
            (b"   644 \0", Some(0o644)),
            (b"00000001", Some(1)),
            (b"\0\0\0\0\0\0\0\0", Some(0)),
            (b"        ", Some(0)),
            (b"00x0644\0", None),
            (b"64 4   \0", None),
            (b"77777777777\0", Some(0o77_777_777_777)),
            (b"\x80\0\0\0\0\0\0\x02\0\0\0\0", Some(0x2_0000_0000)),
            (b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xfe", Some(-2)),
            (b"\xff\xff\xff\xff\xff\xff\xff\xff", Some(-1)),
            (b"\x80\0\0\0\x80\0\0\0\0\0\0\0", None),
            (b"\x80\x01\0\0\0\0\0\0\0\0\0\0", None),
            (b"\xff\0\0\0\0\0\0\0\0\0\0\0", None),
        ] {
            assert_eq!(parse_number(field), number, "{field:?}");
        }
    }

    #[test]
    fn octal_numbers_are_written_only_where_they_fit() {
        let mut field = [0xaa; 8];
        assert!(write_octal(&mut field, 0o7_777_777));
        assert_eq!(&field, b"7777777\0");
        assert!(!write_octal(&mut field, 0o10_000_000));
    }
}
