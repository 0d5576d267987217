//! Cutting output into the pieces that a log line holds.

use std::io::BufRead;

/// Longest content of one log line, bytes. Longer lines are cut; kubelet and containerd know the same limit.
pub(super) const LONGEST: usize = 16 * 1024;

/// Content of one log line, in two parts: what was left over from earlier reads, and what follows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Piece<'a> {
    /// The output's line ends here (`F`); otherwise it goes on in the next piece (`P`).
    pub full: bool,
    pub head: &'a [u8],
    pub tail: &'a [u8],
}

/// Takes the first piece off `head` and `chunk`, and says how many bytes of `chunk` it used, with the newline.
///
/// `None` when there is neither a newline nor more than the longest line holds; then `chunk` is to be kept and given as
/// `head` with the next read. `head` is no longer than [`LONGEST`].
pub(super) fn next<'a>(head: &'a [u8], chunk: &'a [u8]) -> Option<(Piece<'a>, usize)> {
    let room = LONGEST - head.len();
    // One byte more than there is room for: the newline of a line that just fits. (Reading from a slice cannot fail,
    // and it is the standard library's way to its fast byte search.)
    let mut window = &chunk[..chunk.len().min(room + 1)];
    let window_length = window.len();
    let used = window.skip_until(b'\n').unwrap_or(window_length);
    match chunk[..used].split_last() {
        Some((b'\n', tail)) => Some((Piece { full: true, head, tail }, used)),
        _ if chunk.len() > room => Some((Piece { full: false, head, tail: &chunk[..room] }, room)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn lines_of_just_the_longest_length_are_not_cut() {
        let mut text = vec![b'x'; LONGEST];
        assert_eq!(next(&[], &text), None, "the newline may still come");
        text.push(b'\n');
        let (piece, used) = next(&[], &text).expect("a piece");
        assert_eq!((piece.full, piece.tail.len(), used), (true, LONGEST, LONGEST + 1));
        text[LONGEST] = b'x';
        let (piece, used) = next(&[], &text).expect("a piece");
        assert_eq!((piece.full, piece.tail.len(), used), (false, LONGEST, LONGEST));
        let (piece, used) = next(&text[..LONGEST], b"\n").expect("a piece");
        assert_eq!((piece.full, piece.head.len(), used), (true, LONGEST, 1));
    }

    /// What the pieces of a whole output should be, written as plainly as possible.
    fn model(output: &[u8]) -> (Vec<(bool, Vec<u8>)>, Vec<u8>) {
        let mut pieces = Vec::new();
        let mut line = Vec::new();
        for &byte in output {
            if byte == b'\n' {
                pieces.push((true, std::mem::take(&mut line)));
            } else {
                if line.len() == LONGEST {
                    pieces.push((false, std::mem::take(&mut line)));
                }
                line.push(byte);
            }
        }
        (pieces, line)
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]
        #[test]
        fn pieces_are_the_same_however_the_output_is_read(
            lines in prop::collection::vec(prop_oneof![0..5_usize, 0..200_usize, LONGEST - 2..LONGEST + 3, 0..50_000_usize], 0..12),
            last in any::<bool>(),
            reads in prop::collection::vec(1..40_000_usize, 1..8),
        ) {
            let mut output = Vec::new();
            for (index, length) in lines.iter().enumerate() {
                let letter = b'a' + u8::try_from(index).expect("few");
                output.extend(std::iter::repeat_n(letter, *length));
                if last || index + 1 < lines.len() {
                    output.push(b'\n');
                }
            }
            let (mut pieces, mut head) = (Vec::new(), Vec::new());
            let mut rest = output.as_slice();
            for read in reads.iter().cycle() {
                let (mut chunk, later) = rest.split_at(rest.len().min(*read));
                rest = later;
                while let Some((piece, used)) = next(&head, chunk) {
                    pieces.push((piece.full, [piece.head, piece.tail].concat()));
                    head.clear();
                    chunk = &chunk[used..];
                }
                head.extend_from_slice(chunk);
                prop_assert!(head.len() <= LONGEST);
                if rest.is_empty() {
                    break;
                }
            }
            prop_assert_eq!((pieces, head), model(&output));
        }
    }
}
