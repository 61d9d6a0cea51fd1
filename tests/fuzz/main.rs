//! Untrusted bytes: whatever they are, nothing panics, hangs or takes memory without end, and what is read can be
//! written and read again. Runs on a stable compiler; `FUZZ_SECONDS` makes each target longer, `FUZZ_SEED` repeats a run.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "all of it is tests, and a seed is told")]

#[cfg(test)]
mod decoders;
#[cfg(test)]
mod expressions;
#[cfg(test)]
mod mutator;
