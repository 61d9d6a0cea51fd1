//! Ports of the host's loopback that lead to guests.
//!
//! The listening socket is made in the host's network namespace and the outgoing one in the guests', which is
//! the supervisor's own; the supervisor only copies bytes.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;

use super::control::Reply;
use super::netns;

/// The ports that are passed on now.
pub(super) struct Forwards {
    host: File,
    record: PathBuf,
    running: BTreeMap<SocketAddr, (SocketAddr, AbortHandle)>,
}

impl Forwards {
    /// No ports yet; `host` is the host's network namespace and `record` remembers them.
    pub(super) fn new(host: File, record: &Path) -> Self {
        Self { host, record: record.to_owned(), running: BTreeMap::new() }
    }

    /// Takes up what an earlier supervisor passed on.
    pub(super) async fn restore(&mut self) {
        let Ok(bytes) = std::fs::read(&self.record) else { return };
        let list: Vec<(SocketAddr, SocketAddr)> = serde_json::from_slice(&bytes).unwrap_or_default();
        for (listen, target) in list {
            if let Err(e) = self.add(listen, target).await {
                tracing::warn!(%listen, %target, error = %e, "a port is no longer passed on");
            }
        }
    }

    /// Answers a request.
    pub(super) async fn answer(&mut self, listen: SocketAddr, target: SocketAddr) -> Reply {
        match self.add(listen, target).await {
            Ok(address) => Reply::Listening { address },
            Err(e) => Reply::Failed { reason: e.to_string() },
        }
    }

    async fn add(&mut self, listen: SocketAddr, target: SocketAddr) -> io::Result<SocketAddr> {
        if !is_loopback(listen.ip()) {
            return Err(io::Error::other("only loopback addresses of the host are passed on"));
        }
        let same = self.running.iter().find(|(at, (to, _))| *to == target && (listen.port() == 0 || **at == listen));
        if let Some((address, _)) = same {
            return Ok(*address);
        }
        // Ours already, to another guest: the newer request counts.
        if let Some((_, old)) = self.running.remove(&listen) {
            old.abort();
            // The port is free when the task has been dropped.
            while !old.is_finished() {
                tokio::task::yield_now().await;
            }
        }
        let bind = netns::within(self.host.try_clone()?, move || {
            let listener = std::net::TcpListener::bind(listen)?;
            listener.set_nonblocking(true)?;
            Ok(listener)
        });
        let listener = TcpListener::from_std(bind.await?)?;
        let address = listener.local_addr()?;
        let task = tokio::spawn(pass_on(listener, target));
        self.running.insert(address, (target, task.abort_handle()));
        let list: Vec<_> = self.running.iter().map(|(at, (to, _))| (*at, *to)).collect();
        std::fs::write(&self.record, serde_json::to_vec(&list)?)?;
        Ok(address)
    }
}

fn is_loopback(address: IpAddr) -> bool {
    address.is_loopback()
}

/// Accepts until it is aborted.
async fn pass_on(listener: TcpListener, target: SocketAddr) {
    while let Ok((mut client, _)) = listener.accept().await {
        tokio::spawn(async move {
            // A guest that is not there yet is seen by the client as a closed connection.
            let Ok(mut guest) = TcpStream::connect(target).await else { return };
            let _ = client.set_nodelay(true);
            let _ = guest.set_nodelay(true);
            let _ = tokio::io::copy_bidirectional(&mut client, &mut guest).await;
        });
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    /// Entering a namespace, also one's own, needs root.
    fn host() -> Option<File> {
        nix::unistd::geteuid().is_root().then(|| File::open("/proc/self/ns/net").unwrap())
    }

    async fn greeter(word: &'static str) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                stream.write_all(word.as_bytes()).await.unwrap();
            }
        });
        address
    }

    async fn hear(address: SocketAddr) -> String {
        let mut said = String::new();
        TcpStream::connect(address).await.unwrap().read_to_string(&mut said).await.unwrap();
        said
    }

    #[tokio::test]
    async fn a_port_leads_to_its_last_target_and_is_taken_up_again() {
        let Some(host) = host() else { return eprintln!("skipped: needs root") };
        let dir = tempfile::tempdir().unwrap();
        let record = dir.path().join("forwards.json");
        let (one, two) = (greeter("one").await, greeter("two").await);
        let mut forwards = Forwards::new(host.try_clone().unwrap(), &record);
        let any = "127.0.0.1:0".parse().unwrap();
        let at = forwards.add(any, one).await.unwrap();
        assert_eq!(forwards.add(at, one).await.unwrap(), at);
        assert_eq!(forwards.add(any, one).await.unwrap(), at);
        assert_eq!(hear(at).await, "one");
        assert_eq!(forwards.add(at, two).await.unwrap(), at);
        assert_eq!(hear(at).await, "two");
        for (_, task) in std::mem::take(&mut forwards.running).into_values() {
            task.abort();
        }
        tokio::task::yield_now().await;
        let mut next = Forwards::new(host, &record);
        next.restore().await;
        assert_eq!(hear(at).await, "two");
    }

    #[tokio::test]
    async fn ports_of_others_and_open_addresses_are_refused() {
        let Some(host) = host() else { return eprintln!("skipped: needs root") };
        let dir = tempfile::tempdir().unwrap();
        let mut forwards = Forwards::new(host, &dir.path().join("f"));
        let taken = greeter("x").await;
        assert!(matches!(forwards.answer(taken, taken).await, Reply::Failed { reason } if reason.contains("in use")));
        let open = "0.0.0.0:0".parse().unwrap();
        assert!(matches!(forwards.answer(open, taken).await, Reply::Failed { reason } if reason.contains("loopback")));
    }
}
