//! A real etcd for tests: a process on loopback with a directory of its own, gone when its owner is.

use crate::{Etcd, EtcdConfig, StorageError};
use std::io::Write;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// The shell passes on the signals it is told; the end of its input comes even when a test is killed, and kills etcd.
const KEEPER: &str = r#"etcd "$@" & pid=$!; while read -r signal; do kill -"$signal" $pid; done
kill -9 $pid; wait $pid 2>/dev/null"#;

/// One running member of etcd; most often the only one.
#[derive(Debug)]
pub struct EtcdServer {
    keeper: Child,
    plan: Plan,
    data: tempfile::TempDir,
}

/// Who a member is and whom it knows.
#[derive(Clone, Debug)]
struct Plan {
    name: String,
    /// For clients and for members.
    ports: (u16, u16),
    initial_cluster: String,
}

impl Plan {
    fn alone() -> Self {
        let ports = (free_port(), free_port());
        Self { name: "test".to_owned(), ports, initial_cluster: format!("test=http://127.0.0.1:{}", ports.1) }
    }
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
            let plan = Plan::alone();
            let keeper = spawn(data.path(), &plan);
            let server = Self { keeper, plan, data };
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
        format!("http://127.0.0.1:{}", self.plan.ports.0)
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

    /// Stops the process as a machine that hangs: its connections stay, nothing answers.
    pub fn pause(&mut self) {
        self.signal("STOP");
    }

    /// Lets a paused process go on.
    pub fn resume(&mut self) {
        self.signal("CONT");
    }

    fn signal(&mut self, signal: &str) {
        if let Some(keeper) = &mut self.keeper.stdin {
            // Failing means that the keeper is gone, and etcd with it.
            let _ = writeln!(keeper, "{signal}");
        }
    }

    /// Whether this member leads the cluster.
    ///
    /// # Panics
    /// When it does not answer.
    pub async fn is_leader(&self) -> bool {
        let client = etcd_client::Client::connect([self.endpoint()], None).await;
        let status = client.expect("the endpoint is a URL").status().await.expect("etcd answers");
        status.header().is_some_and(|header| header.member_id() == status.leader())
    }

    /// Starts the process again on the same data and ports, and waits until it answers.
    ///
    /// # Panics
    /// When etcd does not come up.
    pub async fn restart(&mut self) {
        self.kill();
        self.keeper = spawn(self.data.path(), &self.plan);
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

/// Three members of one cluster.
#[derive(Debug)]
pub struct EtcdCluster {
    /// The members.
    pub members: Vec<EtcdServer>,
}

impl EtcdCluster {
    /// Starts three members and waits until they answer.
    ///
    /// # Panics
    /// When etcd is not installed or does not come up.
    pub async fn start() -> Self {
        let mut plans: Vec<Plan> = (0..3).map(|n| Plan { name: format!("test{n}"), ..Plan::alone() }).collect();
        let known: Vec<String> =
            plans.iter().map(|plan| format!("{}=http://127.0.0.1:{}", plan.name, plan.ports.1)).collect();
        let known = known.join(",");
        let mut members = Vec::new();
        for plan in &mut plans {
            plan.initial_cluster.clone_from(&known);
            let data = tempfile::tempdir().expect("a temporary directory can be made");
            members.push(EtcdServer { keeper: spawn(data.path(), plan), plan: plan.clone(), data });
        }
        for member in &members {
            member.wait().await.expect("etcd comes up");
        }
        Self { members }
    }

    /// The URLs of all members.
    pub fn endpoints(&self) -> Vec<String> {
        self.members.iter().map(EtcdServer::endpoint).collect()
    }

    /// A new client that knows all members.
    ///
    /// # Panics
    /// When etcd does not answer.
    pub async fn connect(&self) -> Etcd {
        Etcd::connect(EtcdConfig::new(self.endpoints())).await.expect("etcd answers")
    }

    /// The index of the leader.
    ///
    /// # Panics
    /// When a member does not answer, or none leads.
    pub async fn leader(&self) -> usize {
        for (index, member) in self.members.iter().enumerate() {
            if member.is_leader().await {
                return index;
            }
        }
        panic!("no member leads");
    }
}

fn spawn(data: &Path, plan: &Plan) -> Child {
    let client = format!("http://127.0.0.1:{}", plan.ports.0);
    let peer = format!("http://127.0.0.1:{}", plan.ports.1);
    Command::new("sh")
        .args(["-c", KEEPER, "etcd", "--name", &plan.name, "--data-dir"])
        .arg(data)
        .args(["--listen-client-urls", &client])
        .args(["--advertise-client-urls", &client])
        .args(["--listen-peer-urls", &peer])
        .args(["--initial-advertise-peer-urls", &peer])
        .args(["--initial-cluster", &plan.initial_cluster])
        .args(["--heartbeat-interval", "20", "--election-timeout", "200"])
        .arg("--unsafe-no-fsync")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("a shell is installed")
}

/// A port that was free a moment ago.
///
/// # Panics
/// When loopback has none.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("loopback has a free port");
    let address = listener.local_addr();
    address.expect("a bound socket has an address").port()
}
