//! A real etcd for tests: one process on loopback with a directory of its own, gone when dropped.

use crate::{Etcd, EtcdConfig, StorageError};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A running etcd of one member.
#[derive(Debug)]
pub struct EtcdServer {
    child: Child,
    ports: (u16, u16),
    data: tempfile::TempDir,
}

impl EtcdServer {
    /// Starts etcd from the search path and waits until it answers.
    ///
    /// # Panics
    /// When etcd is not installed or does not come up.
    pub async fn start() -> Self {
        let data = tempfile::tempdir().expect("a temporary directory can be made");
        let ports = (free_port(), free_port());
        let child = spawn(data.path(), ports);
        let mut server = Self { child, ports, data };
        server.wait().await;
        server
    }

    /// The URL clients connect to.
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.ports.0)
    }

    /// A new client.
    pub async fn connect(&self) -> Etcd {
        Etcd::connect(EtcdConfig::new([self.endpoint()]))
            .await
            .expect("etcd answers")
    }

    /// Ends the process as a crash would: no warning, no flush.
    pub fn kill(&mut self) {
        // Failing means that it is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Starts the process again on the same data and ports, and waits until it answers.
    pub async fn restart(&mut self) {
        self.kill();
        self.child = spawn(self.data.path(), self.ports);
        self.wait().await;
    }

    async fn wait(&mut self) {
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            if let Ok(Some(status)) = self.child.try_wait() {
                panic!("etcd ended with {status}");
            }
            match self.probe().await {
                Ok(()) => return,
                Err(error) => assert!(
                    Instant::now() < deadline,
                    "etcd does not come up: {error:?}"
                ),
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn probe(&self) -> Result<(), StorageError> {
        let mut config = EtcdConfig::new([self.endpoint()]);
        config.request_timeout = Duration::from_secs(2);
        Etcd::connect(config).await?.is_healthy().await
    }
}

impl Drop for EtcdServer {
    fn drop(&mut self) {
        self.kill();
    }
}

fn spawn(data: &Path, (client, peer): (u16, u16)) -> Child {
    let client = format!("http://127.0.0.1:{client}");
    let peer = format!("http://127.0.0.1:{peer}");
    Command::new("etcd")
        .args(["--name", "test", "--data-dir"])
        .arg(data)
        .args([
            "--listen-client-urls",
            &client,
            "--advertise-client-urls",
            &client,
        ])
        .args([
            "--listen-peer-urls",
            &peer,
            "--initial-advertise-peer-urls",
            &peer,
        ])
        .args(["--initial-cluster", &format!("test={peer}")])
        .args(["--unsafe-no-fsync"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("etcd is installed")
}

/// A port that was free a moment ago.
fn free_port() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("loopback has a free port");
    listener
        .local_addr()
        .expect("a bound socket has an address")
        .port()
}
