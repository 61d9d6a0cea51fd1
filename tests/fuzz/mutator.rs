//! Makes new inputs out of old ones: flips, cuts, repeats and splices, from a seed.

use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

/// Pieces that parsers have stumbled over.
const PIECES: &[&[u8]] = &[
    b"{",
    b"}",
    b"[",
    b"]",
    b"\"",
    b"\\",
    b"\\u",
    b"\\ud800",
    b"null",
    b"true",
    b"-",
    b"1e999",
    b"0.0000000000000001",
    b"9223372036854775808",
    b"\0",
    b"\xff\xfe",
    b":",
    b",",
    b"&a *a",
    b"!!",
    b"---\n",
    b"k8s\0",
    b"\x0a\xff\xff\xff\xff\x0f",
    b"$patch",
    b"~1",
    b"/-",
    b" in (",
    b"!=",
    b"Ki",
    b"e-",
    b"\n  ",
    b"\t",
];

#[expect(clippy::disallowed_methods, reason = "the tests are told by their caller how long and from which seed")]
fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// How many inputs a target gets if nobody says for how long.
const USUAL: u64 = 300;

/// Feeds a target with its corpus, then with what becomes of it, for a while.
pub(crate) fn fuzz(corpus: &[Vec<u8>], target: impl Fn(&[u8])) {
    // The same for everybody, so that a change is judged by itself; `FUZZ_SEED` looks elsewhere.
    let seed = number("FUZZ_SEED").unwrap_or(1);
    println!("FUZZ_SEED={seed}");
    let seconds = number("FUZZ_SECONDS");
    let end = Instant::now() + Duration::from_secs(seconds.unwrap_or(60));
    // A quick machine looks no further than a slow one, unless it is told for how long.
    let mut left = if seconds.is_some() { u64::MAX } else { USUAL };
    let mut dice = StdRng::seed_from_u64(seed);
    for input in corpus {
        target(input);
    }
    while Instant::now() < end && left > 0 {
        left -= 1;
        let mut input = corpus[dice.random_range(0..corpus.len())].clone();
        for _ in 0..dice.random_range(1..6) {
            mutate(&mut input, corpus, &mut dice);
        }
        input.truncate(64 * 1024);
        let began = Instant::now();
        target(&input);
        // A bound on work, not a measurement: no input of this size may take minutes.
        assert!(began.elapsed() < Duration::from_mins(1), "{:?}", String::from_utf8_lossy(&input));
    }
}

fn mutate(input: &mut Vec<u8>, corpus: &[Vec<u8>], dice: &mut StdRng) {
    let at = dice.random_range(0..=input.len());
    match dice.random_range(0..7) {
        0 if at < input.len() => input[at] ^= 1 << dice.random_range(0..8),
        1 if at < input.len() => input[at] = dice.random_range(0..=255),
        2 => input.truncate(at),
        3 => {
            let piece = PIECES[dice.random_range(0..PIECES.len())];
            input.splice(at..at, piece.iter().copied());
        }
        4 => {
            let end = (at + dice.random_range(0..40)).min(input.len());
            input.drain(at..end);
        }
        5 => {
            let end = (at + dice.random_range(0..20)).min(input.len());
            let piece = input[at..end].repeat(dice.random_range(1..50));
            input.splice(at..at, piece);
        }
        _ => {
            let other = &corpus[dice.random_range(0..corpus.len())];
            let from = dice.random_range(0..=other.len());
            let to = (from + dice.random_range(0..60)).min(other.len());
            input.splice(at..at, other[from..to].iter().copied());
        }
    }
}
