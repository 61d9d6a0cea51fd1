//! Notifications of the kernel: somebody changed routes, or a table of nftables.

use std::io;

use tokio::io::unix::{AsyncFd, AsyncFdRegisterError};

use crate::netlink::{Socket, Subsystem, attributes, messages};

/// Links, addresses and routes of both families: a link that goes down takes its routes along without a word.
const LINK_ADDRESS_ROUTE: u32 = 0x1 | 0x10 | 0x40 | 0x100 | 0x400;
/// The seventh group of netfilter.
const NFTABLES: u32 = 1 << 6;
/// The number of nftables in the upper byte of a message's kind.
const NFTABLES_SUBSYSTEM: u16 = 10;
/// The message that ends every transaction.
const NEW_GENERATION: u16 = 15;
/// The fixed part of netfilter's messages: family, version, resource.
const FIXED: usize = 4;
/// The attribute with the table's name, the same in the messages of tables, chains, rules, sets and elements.
const TABLE: u16 = 1;

/// Hears of changed links, addresses and routes.
#[derive(Debug)]
pub struct RouteMonitor(AsyncFd<Socket>);

impl RouteMonitor {
    /// Listens in the network namespace of this thread.
    pub fn start() -> io::Result<Self> {
        Ok(Self(follow(Socket::subscribe(Subsystem::Route, LINK_ADDRESS_ROUTE)?)?))
    }

    /// Waits for the next change; many at once count as one.
    pub async fn changed(&mut self) -> io::Result<()> {
        drain(&self.0, |_| ()).await.map(drop)
    }
}

/// Hears of transactions that touch one table of nftables, whoever made them.
#[derive(Debug)]
pub struct TableMonitor {
    socket: AsyncFd<Socket>,
    table: String,
    /// Whether the transaction whose messages are being read touches the table.
    touched: bool,
}

impl TableMonitor {
    /// Listens in the network namespace of this thread for the tables of a name, of any family.
    pub fn start(table: &str) -> io::Result<Self> {
        let socket = follow(Socket::subscribe(Subsystem::Netfilter, NFTABLES)?)?;
        Ok(Self { socket, table: table.to_owned(), touched: false })
    }

    /// Waits until at least one transaction has touched the table; tells how many.
    pub async fn changed(&mut self) -> io::Result<usize> {
        loop {
            let mut count = 0;
            let (touched, table) = (&mut self.touched, self.table.as_bytes());
            let lost = drain(&self.socket, |piece| count += transactions(piece, table, touched)).await?;
            if lost || count > 0 {
                return Ok(count.max(1));
            }
        }
    }

    /// How many transactions have touched the table since the last look. The kernel tells of a transaction before it
    /// answers the one who made it, so one's own are always among them.
    pub fn seen(&mut self) -> usize {
        let mut count = 0;
        loop {
            match self.socket.get_ref().receive() {
                Ok(piece) => count += transactions(&piece, self.table.as_bytes(), &mut self.touched),
                // A large transaction of one's own overruns the room.
                Err(error) if is_overrun(&error) => {}
                Err(_) => return count,
            }
        }
    }
}

#[expect(unsafe_code, reason = "tokio has no safe way to follow a socket of an unknown family")]
fn follow(socket: Socket) -> io::Result<AsyncFd<Socket>> {
    // SAFETY: the socket owns its descriptor, shows nobody another one, and closes it only when it is dropped.
    let followed = unsafe { AsyncFd::register(socket) };
    followed.map_err(|error: AsyncFdRegisterError<Socket>| error.into_parts().1)
}

fn is_overrun(error: &io::Error) -> bool {
    error.raw_os_error() == Some(nix::libc::ENOBUFS)
}

/// Waits for something to read and reads until nothing is left; tells whether notifications were lost.
async fn drain(socket: &AsyncFd<Socket>, mut each: impl FnMut(&[u8])) -> io::Result<bool> {
    let mut guard = socket.readable().await?;
    let mut lost = false;
    loop {
        match guard.try_io(|socket| socket.get_ref().receive()) {
            Ok(Ok(piece)) => each(&piece),
            Ok(Err(error)) if is_overrun(&error) => lost = true,
            Ok(Err(error)) => return Err(error),
            Err(_would_block) => return Ok(lost),
        }
    }
}

fn transactions(piece: &[u8], table: &[u8], touched: &mut bool) -> usize {
    let mut count = 0;
    for message in messages(piece) {
        let (subsystem, kind) = (message.kind >> 8, message.kind & 0xff);
        if subsystem != NFTABLES_SUBSYSTEM {
            continue;
        }
        if kind == NEW_GENERATION {
            count += usize::from(std::mem::take(touched));
            continue;
        }
        let mut attributes = attributes(message.payload.get(FIXED..).unwrap_or_default());
        *touched |= attributes.any(|(kind, value)| kind == TABLE && value.strip_suffix(&[0]) == Some(table));
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: u16, table: &str) -> Vec<u8> {
        let value = [table.as_bytes(), &[0]].concat();
        let mut attribute = u16::try_from(value.len() + 4).unwrap().to_ne_bytes().to_vec();
        attribute.extend(TABLE.to_ne_bytes());
        attribute.extend(&value);
        attribute.resize(attribute.len().next_multiple_of(4), 0);
        let mut bytes = u32::try_from(16 + FIXED + attribute.len()).unwrap().to_ne_bytes().to_vec();
        bytes.extend((NFTABLES_SUBSYSTEM << 8 | kind).to_ne_bytes());
        bytes.extend([0; 10]);
        bytes.extend([2, 0, 0, 0]);
        bytes.extend(attribute);
        bytes
    }

    #[test]
    fn a_transaction_counts_once_and_only_for_its_table() {
        let mut touched = false;
        let ours = [message(0, "kube-proxy"), message(6, "kube-proxy"), message(NEW_GENERATION, "")].concat();
        let theirs = [message(0, "filter"), message(NEW_GENERATION, "")].concat();
        let all = [ours.clone(), theirs, ours].concat();
        assert_eq!(transactions(&all, b"kube-proxy", &mut touched), 2);
        assert!(!touched);
    }

    #[test]
    fn a_transaction_may_be_told_in_pieces() {
        let mut touched = false;
        assert_eq!(transactions(&message(0, "kube-proxy"), b"kube-proxy", &mut touched), 0);
        assert_eq!(transactions(&message(NEW_GENERATION, ""), b"kube-proxy", &mut touched), 1);
    }
}
