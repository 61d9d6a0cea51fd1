//! What a machine tells, in parts, as it comes: a part that is too long loses its beginning, and a machine that tells
//! too much is not listened to any longer.

use std::io;

use futures::future::BoxFuture;
use ssh::{Piece, Sink};

/// Starts a part of what a machine tells, on a line of its own.
pub(super) const START: &str = "=====provision-part ";

/// The parts so far, each with its file name.
#[derive(Debug)]
pub(super) struct Parts {
    parts: Vec<(String, Vec<u8>)>,
    /// A line that is not whole yet.
    line: Vec<u8>,
    /// How long a part may be at the end; it has more as long as it grows.
    most: usize,
    /// How much more may come.
    room: usize,
}

impl Parts {
    /// Nothing yet; the last `most` bytes of every part are kept at least, and `room` bytes are listened to.
    pub(super) fn new(most: usize, room: usize) -> Self {
        Self { parts: Vec::new(), line: Vec::new(), most, room }
    }

    /// All that came, by file name.
    pub(super) fn finish(mut self) -> Vec<(String, String)> {
        self.end_line();
        let named = self.parts.into_iter().filter(|(name, _)| is_plain(name));
        named.map(|(name, text)| (name, String::from_utf8_lossy(&text).into_owned())).collect()
    }

    fn end_line(&mut self) {
        let line = std::mem::take(&mut self.line);
        if let Some(name) = line.strip_prefix(START.as_bytes()) {
            self.parts.push((String::from_utf8_lossy(name).trim_end().to_owned(), Vec::new()));
        } else if let Some((_, text)) = self.parts.last_mut() {
            text.extend_from_slice(&line);
            // Twice as much before it is cut: a long part is not moved at every line.
            if text.len() > 2 * self.most {
                // One byte too many, by which the bundle knows that something is missing.
                text.drain(..text.len() - self.most - 1);
            }
        }
    }
}

impl Sink for Parts {
    fn take(&mut self, piece: Piece) -> BoxFuture<'_, io::Result<()>> {
        let (Piece::Stdout(data) | Piece::Stderr(data)) = piece;
        let taken = data.len().min(self.room);
        self.room -= taken;
        for piece in data[..taken].split_inclusive(|byte| *byte == b'\n') {
            self.line.extend_from_slice(piece);
            if piece.ends_with(b"\n") {
                self.end_line();
            }
        }
        let whole = taken == data.len();
        let result = if whole { Ok(()) } else { Err(io::Error::other("it tells more than is kept")) };
        Box::pin(std::future::ready(result))
    }
}

/// A machine does not choose where its parts go.
fn is_plain(name: &str) -> bool {
    !name.is_empty() && !name.starts_with('/') && !name.split('/').any(|part| part == ".." || part.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn told(most: usize, room: usize, pieces: &[&str]) -> (io::Result<()>, Vec<(String, String)>) {
        let mut parts = Parts::new(most, room);
        let mut result = Ok(());
        for piece in pieces {
            result = parts.take(Piece::Stdout(piece.to_string().into())).await;
        }
        (result, parts.finish())
    }

    fn named(name: &str, text: &str) -> (String, String) {
        (name.to_owned(), text.to_owned())
    }

    #[tokio::test]
    async fn parts_are_found_wherever_the_pieces_end() {
        let text = format!("x\n{START}a.log\none\ntwo\n\n{START}../../b\nno\n{START}c/d\nthree");
        let expected = [named("a.log", "one\ntwo\n\n"), named("c/d", "three")];
        for cut in 0..text.len() {
            let (first, second) = text.split_at(cut);
            assert_eq!(told(100, 1000, &[first, second]).await.1, expected);
        }
    }

    #[tokio::test]
    async fn a_part_that_is_too_long_keeps_its_end_and_a_little_more() {
        let text = format!("{START}a\n{}{START}b\n12345678\n", "12345678\n".repeat(100));
        let parts = told(13, 10_000, &[&text]).await.1;
        assert!((14..=26).contains(&parts[0].1.len()) && parts[0].1.ends_with("78\n12345678\n"), "{parts:?}");
        assert_eq!(parts[1], named("b", "12345678\n"));
    }

    #[tokio::test]
    async fn a_machine_that_tells_too_much_is_stopped_and_what_came_is_kept() {
        let text = format!("{START}a\n{}", "1\n".repeat(1000));
        let (result, parts) = told(10_000, 122, &[&text]).await;
        assert!(result.unwrap_err().to_string().contains("more than is kept"));
        assert_eq!(parts, [named("a", &"1\n".repeat(50))]);
    }
}
