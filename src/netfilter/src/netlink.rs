//! The kernel's netlink protocol, as much of it as routes and notifications need: sockets, messages, attributes.
//!
//! Numbers and layouts are those of `linux/netlink.h`; everything is in the byte order of the host.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, send, setsockopt, socket,
    sockopt,
};

/// Request flag: the message asks for something.
pub const REQUEST: u16 = 0x1;
/// Request flag: an answer is wanted even if nothing went wrong.
pub const ACKNOWLEDGE: u16 = 0x4;
/// Request flag: replace what is there.
pub const REPLACE: u16 = 0x100;
/// Request flag: create what is not there.
pub const CREATE: u16 = 0x400;
/// Request flag: tell all.
pub const DUMP: u16 = 0x300;

/// The kind of a message that ends an exchange: an error number, 0 for none.
const ERROR: u16 = 2;
/// The kind of a message that ends a dump.
const DONE: u16 = 3;
const HEADER: usize = 16;
/// The largest piece the kernel hands out at once.
const BUFFER: usize = 64 * 1024;
/// Room for notifications that nobody has read yet.
const ROOM: usize = 4 * 1024 * 1024;

/// Which part of the kernel a socket talks to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subsystem {
    /// Links, addresses and routes.
    Route,
    /// nftables and its relatives.
    Netfilter,
}

/// A message as it was received.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Message<'a> {
    /// What it is about.
    pub kind: u16,
    /// What follows the header.
    pub payload: &'a [u8],
}

/// A netlink socket of the network namespace of the thread that opened it.
#[derive(Debug)]
pub struct Socket(OwnedFd);

// AsyncFd asks for both.
impl AsRawFd for Socket {
    fn as_raw_fd(&self) -> std::os::fd::RawFd {
        self.0.as_raw_fd()
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Socket {
    /// A socket for requests.
    pub fn open(subsystem: Subsystem) -> io::Result<Self> {
        Self::new(subsystem, 0, SockFlag::SOCK_CLOEXEC)
    }

    /// A socket that never blocks and hears of the groups of a bit mask.
    pub fn subscribe(subsystem: Subsystem, groups: u32) -> io::Result<Self> {
        let socket = Self::new(subsystem, groups, SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK)?;
        // Without the privilege the default room has to do.
        let _ = setsockopt(&socket.0, sockopt::RcvBufForce, &ROOM);
        Ok(socket)
    }

    fn new(subsystem: Subsystem, groups: u32, flags: SockFlag) -> io::Result<Self> {
        let protocol = match subsystem {
            Subsystem::Route => SockProtocol::NetlinkRoute,
            Subsystem::Netfilter => SockProtocol::NetlinkNetFilter,
        };
        let fd = socket(AddressFamily::Netlink, SockType::Raw, flags, protocol)?;
        bind(fd.as_raw_fd(), &NetlinkAddr::new(0, groups))?;
        Ok(Self(fd))
    }

    /// Receives one piece, which holds whole messages.
    pub fn receive(&self) -> io::Result<Vec<u8>> {
        let mut buffer = vec![0; BUFFER];
        let length = recv(self.0.as_raw_fd(), &mut buffer, MsgFlags::empty())?;
        buffer.truncate(length);
        Ok(buffer)
    }

    /// Sends a request and calls `each` for every message of the answer; the kernel's error is the error.
    pub fn ask(&self, request: &Request, mut each: impl FnMut(Message<'_>)) -> io::Result<()> {
        send(self.0.as_raw_fd(), &request.finished(), MsgFlags::empty())?;
        loop {
            let piece = self.receive()?;
            for message in messages(&piece) {
                match message.kind {
                    DONE => return Ok(()),
                    ERROR => {
                        return match message.payload.first_chunk().map_or(0, |code| i32::from_ne_bytes(*code)) {
                            0 => Ok(()),
                            code => Err(io::Error::from_raw_os_error(-code)),
                        };
                    }
                    _ => each(message),
                }
            }
        }
    }
}

/// A request under construction.
#[derive(Debug, Clone)]
pub struct Request {
    kind: u16,
    flags: u16,
    body: Vec<u8>,
}

impl Request {
    /// A request whose fixed part is `fixed`, a multiple of four bytes.
    pub fn new(kind: u16, flags: u16, fixed: &[u8]) -> Self {
        Self { kind, flags: flags | REQUEST, body: fixed.to_vec() }
    }

    /// The same with one more attribute.
    #[must_use]
    pub fn with(mut self, kind: u16, value: &[u8]) -> Self {
        let length = u16::try_from(value.len() + 4).unwrap_or(u16::MAX);
        self.body.extend(length.to_ne_bytes());
        self.body.extend(kind.to_ne_bytes());
        self.body.extend(value);
        self.body.resize(self.body.len().next_multiple_of(4), 0);
        self
    }

    fn finished(&self) -> Vec<u8> {
        let length = u32::try_from(HEADER + self.body.len()).unwrap_or(u32::MAX);
        let mut bytes = length.to_ne_bytes().to_vec();
        bytes.extend(self.kind.to_ne_bytes());
        bytes.extend(self.flags.to_ne_bytes());
        // One exchange a socket at a time: no number is needed to tell answers apart; the kernel fills in the sender.
        bytes.extend([0; 8]);
        bytes.extend(&self.body);
        bytes
    }
}

/// The messages of a piece.
pub fn messages(mut piece: &[u8]) -> impl Iterator<Item = Message<'_>> {
    std::iter::from_fn(move || {
        let length = usize::try_from(u32::from_ne_bytes(*piece.first_chunk()?)).ok()?;
        let kind = u16::from_ne_bytes(*piece.get(4..)?.first_chunk()?);
        let payload = piece.get(HEADER..length)?;
        piece = piece.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(Message { kind, payload })
    })
}

/// The attributes that follow the fixed part of a payload: kind (without flags) and value.
pub fn attributes(mut rest: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let length = usize::from(u16::from_ne_bytes(*rest.first_chunk()?));
        let kind = u16::from_ne_bytes(*rest.get(2..)?.first_chunk()?) & 0x3fff;
        let value = rest.get(4..length)?;
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        let request = Request::new(24, ACKNOWLEDGE, &[2, 0, 0, 0]).with(1, &[10, 0, 0, 1]).with(3, b"odd");
        let bytes = request.finished();
        let read: Vec<_> = messages(&bytes).collect();
        assert_eq!(read.len(), 1);
        assert_eq!(read[0].kind, 24);
        let attributes: Vec<_> = attributes(&read[0].payload[4..]).collect();
        assert_eq!(attributes, [(1, &[10, 0, 0, 1][..]), (3, b"odd")]);
    }

    #[test]
    fn a_cut_piece_ends_instead_of_failing() {
        let bytes = Request::new(24, 0, &[0; 12]).with(1, &[1; 16]).finished();
        for length in 0..bytes.len() {
            assert_eq!(messages(&bytes[..length]).count(), 0, "{length}");
        }
        assert_eq!(attributes(&[3, 0, 1, 0]).count(), 0, "shorter than its own header");
    }
}
