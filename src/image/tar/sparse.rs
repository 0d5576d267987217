//! Maps of sparse files that stand in blocks of their own: GNU's old format and PAX format 1.0.

use super::{
    BLOCK, Segment,
    block::{Block, Field},
    pax::decimal,
};

/// Upper bound of the number of segments; a map is held in memory.
pub(super) const MAX_SEGMENTS: usize = 1 << 20;

const OLD_MAP: usize = 386;
const OLD_SEGMENTS: usize = 4;
const OLD_EXTENDED: usize = 482;
/// Length of the file with its holes, in a header of the old format.
pub(super) const OLD_SIZE: Field = Field(483, 12);
const EXTENSION_SEGMENTS: usize = 21;
const EXTENSION_EXTENDED: usize = 504;

/// Reads the segments in a header block of the old format; tells whether extension blocks follow.
pub(super) fn old_header(block: &Block, segments: &mut Vec<Segment>) -> Result<bool, &'static str> {
    old_segments(&block[OLD_MAP..], OLD_SEGMENTS, segments)?;
    Ok(block[OLD_EXTENDED] != 0)
}

/// Reads an extension block of the old format; tells whether another one follows.
pub(super) fn old_extension(block: &Block, segments: &mut Vec<Segment>) -> Result<bool, &'static str> {
    old_segments(block, EXTENSION_SEGMENTS, segments)?;
    Ok(block[EXTENSION_EXTENDED] != 0)
}

fn old_segments(map: &[u8], count: usize, segments: &mut Vec<Segment>) -> Result<(), &'static str> {
    for entry in map.chunks_exact(24).take(count).take_while(|entry| entry[0] != 0) {
        let number = |field| super::block::parse_number(field).and_then(|number| u64::try_from(number).ok());
        segments.push(Segment {
            offset: number(&entry[..12]).ok_or("sparse file offset")?,
            length: number(&entry[12..]).ok_or("sparse file length")?,
        });
        if segments.len() > MAX_SEGMENTS {
            return Err("sparse file with too many segments");
        }
    }
    Ok(())
}

/// Reads the map at the start of a format 1.0 file: decimal numbers, each with a newline behind it, the first of them
/// the number of segments; filled up to a whole block. `next_block` gives the data's blocks.
pub(super) fn in_data<E: From<&'static str>>(
    mut next_block: impl FnMut() -> Result<Block, E>,
) -> Result<Vec<Segment>, E> {
    let mut block: Block = [0; BLOCK];
    let mut at = BLOCK;
    let mut next_number = || -> Result<u64, E> {
        let mut digits = Vec::new();
        loop {
            if at == BLOCK {
                block = next_block()?;
                at = 0;
            }
            let byte = block[at];
            at += 1;
            match byte {
                b'\n' => return decimal(&digits).ok_or(E::from("sparse file map")),
                _ if digits.len() < 20 => digits.push(byte),
                _ => return Err("sparse file map".into()),
            }
        }
    };
    let count = next_number()?;
    if count > MAX_SEGMENTS as u64 {
        return Err("sparse file with too many segments".into());
    }
    let mut segments = Vec::new();
    for _ in 0..count {
        segments.push(Segment { offset: next_number()?, length: next_number()? });
    }
    Ok(segments)
}

/// Checks that segments rise, do not overlap, stay within the file and hold exactly the stored bytes. Empty ones,
/// which only mark the end of the file, are dropped.
pub(super) fn validate(segments: Vec<Segment>, size: u64, stored: u64) -> Result<Vec<Segment>, &'static str> {
    let mut end = 0;
    let mut sum = 0_u64;
    for segment in &segments {
        let next = segment.offset.checked_add(segment.length).ok_or("sparse file map")?;
        if segment.offset < end || next > size {
            return Err("sparse file map");
        }
        end = next;
        sum += segment.length;
    }
    if sum != stored {
        return Err("sparse file map does not match its data");
    }
    Ok(segments.into_iter().filter(|segment| segment.length > 0).collect())
}
