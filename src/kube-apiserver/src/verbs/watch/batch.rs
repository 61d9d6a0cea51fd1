//! Events that go out together: one alone as the bytes all watchers share, more of them copied behind each other.

use bytes::Bytes;

/// The events of one piece of a watch.
#[derive(Default)]
pub(super) struct Batch {
    only: Option<Bytes>,
    copied: Vec<u8>,
}

impl Batch {
    /// Adds shared bytes.
    pub(super) fn push(&mut self, frame: &Bytes) {
        if self.is_empty() {
            self.only = Some(frame.clone());
        } else {
            let room = frame.len() * 3;
            self.make_copy(room).extend_from_slice(frame);
        }
    }

    /// The place to write what nobody shares.
    pub(super) fn buffer(&mut self) -> &mut Vec<u8> {
        self.make_copy(0)
    }

    fn make_copy(&mut self, room: usize) -> &mut Vec<u8> {
        if let Some(only) = self.only.take() {
            self.copied.reserve(only.len() + room);
            self.copied.extend_from_slice(&only);
        }
        &mut self.copied
    }

    /// How many bytes there are.
    pub(super) fn len(&self) -> usize {
        self.copied.len() + self.only.as_ref().map_or(0, Bytes::len)
    }

    /// Whether there is nothing to send.
    pub(super) fn is_empty(&self) -> bool {
        self.only.is_none() && self.copied.is_empty()
    }

    /// All of it.
    pub(super) fn into_bytes(self) -> Bytes {
        self.only.unwrap_or_else(|| self.copied.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_event_is_shared_and_several_keep_their_order() {
        let frame = Bytes::from_static(b"one");
        let mut batch = Batch::default();
        batch.push(&frame);
        assert_eq!(batch.len(), 3);
        assert_eq!(batch.into_bytes().as_ptr(), frame.as_ptr());
        let mut batch = Batch::default();
        batch.push(&frame);
        batch.push(&Bytes::from_static(b"two"));
        batch.buffer().extend_from_slice(b"three");
        batch.push(&Bytes::from_static(b"four"));
        assert_eq!(batch.into_bytes(), "onetwothreefour");
        assert!(Batch::default().is_empty());
    }
}
