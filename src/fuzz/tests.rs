//! The short run: the corpus of each target, and seeded changes of it. The same inputs every time.

use std::{
    fs,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    path::Path,
};

use proptest::{
    prelude::Rng as _,
    test_runner::{RngAlgorithm, TestRng},
};

use super::{TARGETS, target};

/// Longest input that is made.
const LONGEST: usize = 16 << 10;
/// Most changes between two tries of an input's descendants.
const MOST_CHANGES: u64 = 4;
/// Numbers at the edges of what fields hold.
const EDGES: [&[u8]; 6] =
    [b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"-1", b"18446744073709551616", b"1e999"];

/// Tries a target's corpus and `count` changes of it.
fn run(name: &str, count: usize) {
    let target = target(name).expect("a target");
    let corpus = corpus(name);
    let attempt = |input: &[u8]| {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| (target.run)(input))) {
            eprintln!("{name} failed on b\"{}\"", input.escape_ascii());
            resume_unwind(panic);
        }
    };
    attempt(b"");
    corpus.iter().for_each(|input| attempt(input));
    let mut mutator = Mutator(TestRng::deterministic_rng(RngAlgorithm::ChaCha));
    for _ in 0..count {
        let mut input = mutator.pick(&corpus).clone();
        for _ in 0..=mutator.below(MOST_CHANGES) {
            mutator.change(&mut input, &corpus);
        }
        input.truncate(LONGEST);
        attempt(&input);
    }
}

fn corpus(name: &str) -> Vec<Vec<u8>> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/fuzz").join(name);
    let entries = fs::read_dir(directory).expect("a corpus");
    let mut paths: Vec<_> = entries.map(|entry| entry.expect("an entry").path()).collect();
    paths.sort();
    paths.iter().map(|path| fs::read(path).expect("readable")).collect()
}

/// Makes new inputs of old ones.
struct Mutator(TestRng);

impl Mutator {
    /// A number below `end`, which is not 0.
    fn below(&mut self, end: u64) -> usize {
        usize::try_from(self.0.next_u64() % end).expect("fits")
    }

    fn pick<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len() as u64)]
    }

    /// A place in `input`, its end included.
    fn place(&mut self, input: &[u8]) -> usize {
        self.below(input.len() as u64 + 1)
    }

    /// The places before and behind a short piece of `input`.
    fn piece(&mut self, input: &[u8]) -> std::ops::Range<usize> {
        let start = self.place(input);
        let length = self.below(32) + 1;
        start..(start + length).min(input.len())
    }

    fn change(&mut self, input: &mut Vec<u8>, corpus: &[Vec<u8>]) {
        let at = self.place(input);
        match self.below(8) {
            0 if at < input.len() => input[at] ^= 1 << self.below(8),
            1 if at < input.len() => input[at] = self.below(256).to_le_bytes()[0],
            2 => input.truncate(at),
            3 => drop(input.drain(self.piece(input))),
            4 => {
                let piece = input[self.piece(input)].to_vec();
                input.splice(at..at, piece);
            }
            5 => {
                let edge = *self.pick(&EDGES);
                let end = (at + edge.len()).min(input.len());
                input.splice(at..end, edge.iter().copied());
            }
            6 => {
                let other = self.pick(corpus);
                let piece = other[self.piece(other)].to_vec();
                input.splice(at..at, piece);
            }
            _ => {
                let other = self.pick(corpus);
                input.truncate(at);
                input.extend_from_slice(&other[self.place(other)..]);
            }
        }
    }
}

/// A test for each target, with the number of changes that it takes about a second to try.
macro_rules! short_runs {
    ($($name:ident: $count:literal,)*) => {
        $(#[test] fn $name() { run(stringify!($name), $count); })*

        #[test]
        fn every_target_is_run() {
            let names: Vec<_> = TARGETS.iter().map(|target| target.name).collect();
            assert_eq!([$(stringify!($name)),*].as_slice(), names);
        }
    };
}

short_runs! {
    reference: 5000,
    size: 5000,
    manifest: 5000,
    image_config: 5000,
    layer: 500,
    hosts_toml: 3000,
    auth_file: 5000,
    registry_headers: 5000,
    spdy: 2000,
    websocket: 2000,
    http2: 2000,
    cni_list: 5000,
    cni_result: 5000,
    seccomp: 2000,
    cdi: 2000,
    passwd: 5000,
    monitor_frame: 3000,
    state_record: 3000,
    state_file: 100,
}
