//! As much of SPDY/3.1 as it takes to ask a kubelet for streams, to feed them and to see them end.
//!
//! Header blocks are zlib streams that begin with a known dictionary. Those that are sent are stored instead of compressed,
//! and those that come are answers without news: neither needs a compressor.

use std::io;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// The largest payload of a frame: its length has 24 bits.
pub(super) const MOST_BYTES: usize = (1 << 24) - 1;
/// So much of a payload is passed on at once.
const PIECE: usize = 32 * 1024;

const VERSION: u16 = 0x8003;
const SYN_STREAM: u16 = 1;
const SYN_REPLY: u16 = 2;
const RST_STREAM: u16 = 3;
const PING: u16 = 6;
const FIN: u8 = 1;

/// The head of a zlib stream (RFC 1950) with the checksum of SPDY's dictionary.
const ZLIB_HEAD: [u8; 6] = [0x78, 0x20, 0xe3, 0xc6, 0xa7, 0xc2];
/// An empty stored block: whoever inflates hands out what came before it.
const ZLIB_FLUSH: [u8; 5] = [0, 0, 0, 0xff, 0xff];

/// What this side says.
pub(super) struct Writer<W> {
    to: W,
    begun: bool,
}

impl<W: AsyncWrite + Unpin> Writer<W> {
    pub(super) fn new(to: W) -> Self {
        Self { to, begun: false }
    }

    /// Asks for a stream. Numbers are odd and grow.
    pub(super) async fn open(&mut self, stream: u32, headers: &[(&str, &str)]) -> io::Result<()> {
        let block = self.header_block(headers);
        let mut payload = Vec::with_capacity(10 + block.len());
        payload.extend(stream.to_be_bytes());
        // No stream it belongs to, the usual priority, no credentials.
        payload.extend([0; 6]);
        payload.extend(block);
        self.control(SYN_STREAM, &payload).await
    }

    /// Sends bytes of a stream, and its end if they are the last.
    pub(super) async fn data(&mut self, stream: u32, bytes: &[u8], last: bool) -> io::Result<()> {
        let mut head = [0; 8];
        head[..4].copy_from_slice(&stream.to_be_bytes());
        head[4..].copy_from_slice(&length(bytes)?.to_be_bytes());
        head[4] = if last { FIN } else { 0 };
        self.send(&head, bytes).await
    }

    /// Answers a ping.
    pub(super) async fn pong(&mut self, id: u32) -> io::Result<()> {
        self.control(PING, &id.to_be_bytes()).await
    }

    /// Closes the connection.
    pub(super) async fn end(&mut self) -> io::Result<()> {
        self.to.shutdown().await
    }

    async fn control(&mut self, kind: u16, payload: &[u8]) -> io::Result<()> {
        let mut head = [0; 8];
        head[..2].copy_from_slice(&VERSION.to_be_bytes());
        head[2..4].copy_from_slice(&kind.to_be_bytes());
        head[4..].copy_from_slice(&length(payload)?.to_be_bytes());
        self.send(&head, payload).await
    }

    async fn send(&mut self, head: &[u8], payload: &[u8]) -> io::Result<()> {
        self.to.write_all(&[head, payload].concat()).await?;
        // TLS may keep the last record back until it is told to flush.
        self.to.flush().await
    }

    fn header_block(&mut self, headers: &[(&str, &str)]) -> Vec<u8> {
        let size = |text: &[u8]| u32::try_from(text.len()).unwrap_or(u32::MAX).to_be_bytes();
        let mut plain = u32::try_from(headers.len()).unwrap_or(u32::MAX).to_be_bytes().to_vec();
        for text in headers.iter().flat_map(|(name, value)| [name.as_bytes(), value.as_bytes()]) {
            plain.extend(size(text));
            plain.extend(text);
        }
        let mut block = Vec::with_capacity(plain.len() + 16);
        if !std::mem::replace(&mut self.begun, true) {
            block.extend(ZLIB_HEAD);
        }
        let length = u16::try_from(plain.len()).expect("the few headers of a stream are short");
        block.push(0);
        block.extend(length.to_le_bytes());
        block.extend((!length).to_le_bytes());
        block.extend(plain);
        block.extend(ZLIB_FLUSH);
        block
    }
}

fn length(payload: &[u8]) -> io::Result<u32> {
    let length = u32::try_from(payload.len()).ok().filter(|_| payload.len() <= MOST_BYTES);
    length.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "too much for one frame"))
}

/// What the other side said.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// It took a stream on.
    Accepted(u32),
    /// Bytes of a stream, and whether they are the last.
    Data(u32, Bytes, bool),
    /// It gave a stream up.
    Reset(u32),
    /// It wants an answer.
    Ping(u32),
}

/// Reads what the other side says.
pub(super) struct Reader<R> {
    from: R,
    /// The stream, how much of a frame's payload is still to come, and whether its end follows.
    inside: Option<(u32, usize, bool)>,
}

impl<R: AsyncRead + Unpin> Reader<R> {
    pub(super) fn new(from: R) -> Self {
        Self { from, inside: None }
    }

    /// The next event; nothing when the connection has ended.
    pub(super) async fn next(&mut self) -> io::Result<Option<Event>> {
        loop {
            if let Some((stream, left, last)) = self.inside.take() {
                return self.piece(stream, left, last).await.map(Some);
            }
            let mut head = [0; 8];
            match self.from.read_exact(&mut head).await {
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
                read => read?,
            };
            let first = u32::from_be_bytes([head[0], head[1], head[2], head[3]]);
            let length = u32::from_be_bytes([0, head[5], head[6], head[7]]) as usize;
            if head[0] & 0x80 == 0 {
                self.inside = Some((first, length, head[4] & FIN != 0));
                continue;
            }
            if let Some(event) = self.control(u16::from_be_bytes([head[2], head[3]]), length).await? {
                return Ok(Some(event));
            }
        }
    }

    async fn piece(&mut self, stream: u32, left: usize, last: bool) -> io::Result<Event> {
        let mut bytes = vec![0; left.min(PIECE)];
        // What is there is passed on; the rest of the frame may take its time.
        let read = if bytes.is_empty() { 0 } else { self.from.read(&mut bytes).await? };
        if read == 0 && left > 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        bytes.truncate(read);
        let left = left - read;
        if left > 0 {
            self.inside = Some((stream, left, last));
        }
        Ok(Event::Data(stream, bytes.into(), last && left == 0))
    }

    async fn control(&mut self, kind: u16, length: usize) -> io::Result<Option<Event>> {
        let known = matches!(kind, SYN_REPLY | RST_STREAM | PING) && length >= 4;
        let number = if known { self.from.read_u32().await? } else { 0 };
        let rest = u64::try_from(length - if known { 4 } else { 0 }).unwrap_or(u64::MAX);
        tokio::io::copy(&mut (&mut self.from).take(rest), &mut tokio::io::sink()).await?;
        Ok(match kind {
            _ if !known => None,
            SYN_REPLY => Some(Event::Accepted(number)),
            RST_STREAM => Some(Event::Reset(number)),
            _ => Some(Event::Ping(number)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn streams_are_asked_for_as_spdy_writes_it() {
        let mut said = Vec::new();
        let mut writer = Writer::new(&mut said);
        writer.open(1, &[("streamtype", "error")]).await.unwrap();
        writer.open(3, &[("streamtype", "stdin")]).await.unwrap();
        writer.data(3, b"ab", false).await.unwrap();
        writer.data(3, b"", true).await.unwrap();
        let names = |value: &str| {
            let mut plain = b"\0\0\0\x01\0\0\0\x0astreamtype\0\0\0\x05".to_vec();
            plain.extend(value.as_bytes());
            plain
        };
        let mut expected =
            b"\x80\x03\0\x01\0\0\0\x35\0\0\0\x01\0\0\0\0\0\0\x78\x20\xe3\xc6\xa7\xc2\0\x1b\0\xe4\xff".to_vec();
        expected.extend(names("error"));
        expected.extend(b"\0\0\0\xff\xff\x80\x03\0\x01\0\0\0\x2f\0\0\0\x03\0\0\0\0\0\0\0\x1b\0\xe4\xff");
        expected.extend(names("stdin"));
        expected.extend(b"\0\0\0\xff\xff\0\0\0\x03\0\0\0\x02ab\0\0\0\x03\x01\0\0\0");
        assert_eq!(said, expected);
    }

    #[tokio::test]
    async fn what_comes_is_told_piece_by_piece_and_the_rest_is_passed_over() {
        let large = vec![7; PIECE + 1];
        let mut said = b"\x80\x03\0\x04\0\0\0\x04\0\0\0\0".to_vec();
        said.extend(b"\x80\x03\0\x02\0\0\0\x06\0\0\0\x01zz\x80\x03\0\x06\0\0\0\x04\0\0\0\x02");
        said.extend(b"\0\0\0\x05\x01\0\x80\x01");
        said.extend(&large);
        said.extend(b"\0\0\0\x03\x01\0\0\0\x80\x03\0\x03\0\0\0\x08\0\0\0\x01\0\0\0\x05");
        let mut reader = Reader::new(said.as_slice());
        let mut events = Vec::new();
        while let Some(event) = reader.next().await.unwrap() {
            events.push(event);
        }
        let expected = [
            Event::Accepted(1),
            Event::Ping(2),
            Event::Data(5, large[..PIECE].to_vec().into(), false),
            Event::Data(5, vec![7].into(), true),
            Event::Data(3, Bytes::new(), true),
            Event::Reset(1),
        ];
        assert_eq!(events, expected);
        assert!(Reader::new(&b"\0\0\0\x05\0\0\0\x04ab"[..]).next().await.is_ok());
        let mut cut = Reader::new(&b"\0\0\0\x05\0\0\0\x04ab"[..]);
        cut.next().await.unwrap();
        assert!(cut.next().await.is_err(), "a frame that is cut off is no end");
    }
}
