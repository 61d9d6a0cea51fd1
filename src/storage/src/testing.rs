//! A real etcd for tests: a process on loopback with a directory of its own, gone when its owner is.

use crate::{Etcd, EtcdConfig, StorageError};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// The shell waits for the end of its input, which comes even when a test is killed, and then kills etcd.
const KEEPER: &str = r#"etcd "$@" & pid=$!; read -r _; kill -9 $pid; wait $pid 2>/dev/null"#;

/// A running etcd of one member.
#[derive(Debug)]
pub struct EtcdServer {
    keeper: Child,
    ports: (u16, u16),
    data: tempfile::TempDir,
}

impl EtcdServer {
    /// Starts etcd from the search path and waits until it answers.
    ///
    /// # Panics
    /// When etcd is not installed or does not come up.
    pub async fn start() -> Self {
        let mut attempts = 0;
        loop {
            let data = tempfile::tempdir().expect("a temporary directory can be made");
            let ports = (free_port(), free_port());
            let keeper = spawn(data.path(), ports);
            let server = Self { keeper, ports, data };
            attempts += 1;
            match server.wait().await {
                Ok(()) => return server,
                // Somebody else may have taken a port in between.
                Err(error) => assert!(attempts < 3, "etcd does not come up: {error:?}"),
            }
        }
    }

    /// The URL clients connect to.
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.ports.0)
    }

    /// A new client.
    ///
    /// # Panics
    /// When etcd does not answer.
    pub async fn connect(&self) -> Etcd {
        let config = EtcdConfig::new([self.endpoint()]);
        Etcd::connect(config).await.expect("etcd answers")
    }

    /// Ends the process as a crash would: no warning, no flush.
    pub fn kill(&mut self) {
        drop(self.keeper.stdin.take());
        // Failing means that it is gone already.
        let _ = self.keeper.wait();
    }

    /// Starts the process again on the same data and ports, and waits until it answers.
    ///
    /// # Panics
    /// When etcd does not come up.
    pub async fn restart(&mut self) {
        self.kill();
        self.keeper = spawn(self.data.path(), self.ports);
        self.wait().await.expect("etcd comes up again");
    }

    /// Starts the process again on the same ports without its data, as after a lost disk.
    ///
    /// # Panics
    /// When etcd does not come up.
    pub async fn restart_empty(&mut self) {
        self.kill();
        self.data = tempfile::tempdir().expect("a temporary directory can be made");
        self.restart().await;
    }

    async fn wait(&self) -> Result<(), StorageError> {
        let deadline = Instant::now() + Duration::from_mins(1);
        loop {
            match self.probe().await {
                Err(_) if Instant::now() < deadline => {}
                answer => return answer,
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

/// A prefix that no other test of this process uses.
pub fn fresh_prefix() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    format!("/test-{}/", NEXT.fetch_add(1, Ordering::Relaxed))
}

fn spawn(data: &Path, (client, peer): (u16, u16)) -> Child {
    let client = format!("http://127.0.0.1:{client}");
    let peer = format!("http://127.0.0.1:{peer}");
    Command::new("sh")
        .args(["-c", KEEPER, "etcd", "--name", "test", "--data-dir"])
        .arg(data)
        .args(["--listen-client-urls", &client])
        .args(["--advertise-client-urls", &client])
        .args(["--listen-peer-urls", &peer])
        .args(["--initial-advertise-peer-urls", &peer])
        .args(["--initial-cluster", &format!("test={peer}")])
        .args(["--heartbeat-interval", "20", "--election-timeout", "200"])
        .arg("--unsafe-no-fsync")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("a shell is installed")
}

/// A port that was free a moment ago.
fn free_port() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("loopback has a free port");
    let address = listener.local_addr();
    address.expect("a bound socket has an address").port()
}
