//! A server under test with its own etcd, certificates and folder in memory.

use std::ffi::OsString;
use std::fmt;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use http::Method;
use jiff::Timestamp;
use pki::{CertificateAuthority, KeyPair, LeafRequest, SubjectAltName, Usage};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tempfile::TempDir;

use crate::client::{Door, Line, Question};
use crate::config::Config;
use crate::objects::{self, Encoding};
use crate::process::Process;

/// The first argument that makes this program our server.
pub const SELF: &str = "kube-apiserver";
const DAY: Duration = Duration::from_hours(24);
/// How long a server may take to start before it counts as broken.
const PATIENCE: Duration = Duration::from_mins(1);
/// How often a port that nobody listens on yet is tried.
const RETRY: Duration = Duration::from_millis(1);
/// Files in memory, so that no disk is measured.
const MEMORY: &str = "/dev/shm";

/// Whose server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Side {
    /// Ours.
    Ours,
    /// Upstream's.
    Peer,
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ours => "ours",
            Self::Peer => "peer",
        })
    }
}

/// Certificates and keys that all servers of a run share.
#[derive(Debug)]
pub struct Credentials {
    folder: TempDir,
    tls: Arc<ClientConfig>,
}

impl Credentials {
    /// Makes them.
    ///
    /// # Errors
    /// If they cannot be made or written.
    pub fn make() -> anyhow::Result<Self> {
        let now = Timestamp::now();
        let authority = CertificateAuthority::generate("kubernetes", now, DAY)?;
        let server = LeafRequest {
            common_name: "kube-apiserver".to_owned(),
            organizations: Vec::new(),
            sans: vec![SubjectAltName::parse("127.0.0.1")],
            usages: vec![Usage::ServerAuth],
            lifetime: DAY,
        };
        let server = authority.issue(&server, now)?;
        let client = LeafRequest {
            common_name: "bench".to_owned(),
            organizations: vec!["system:masters".to_owned()],
            sans: Vec::new(),
            usages: vec![Usage::ClientAuth],
            lifetime: DAY,
        };
        let client = authority.issue(&client, now)?;
        let signer = KeyPair::generate()?;
        let folder = folder()?;
        for (name, text) in [
            ("ca.crt", authority.cert_pem().to_owned()),
            ("server.crt", server.cert_pem),
            ("server.key", server.key_pem),
            ("sa.key", signer.to_pem()),
            ("sa.pub", signer.public_key_pem()),
        ] {
            std::fs::write(folder.path().join(name), text)?;
        }
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(authority.cert_pem().as_bytes())?)?;
        let chain = CertificateDer::pem_slice_iter(client.cert_pem.as_bytes()).collect::<Result<_, _>>()?;
        let key = PrivateKeyDer::from_pem_slice(client.key_pem.as_bytes())?;
        let mut tls = ClientConfig::builder().with_root_certificates(roots).with_client_auth_cert(chain, key)?;
        tls.alpn_protocols = vec![b"h2".to_vec()];
        Ok(Self { folder, tls: Arc::new(tls) })
    }

    fn file(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }
}

/// A running server.
pub struct Subject {
    /// Whose it is.
    pub side: Side,
    /// Its program.
    pub program: PathBuf,
    /// From its start to the first success of `/readyz`.
    pub ready: Duration,
    /// The server.
    pub server: Process,
    /// Its etcd.
    pub etcd: Process,
    /// How it is reached.
    pub door: Door,
    _data: TempDir,
}

impl Subject {
    /// Starts an etcd, then the server, and waits until it is ready.
    ///
    /// # Errors
    /// If one of them does not come up.
    pub async fn start(
        side: Side,
        program: &[OsString],
        config: &Config,
        credentials: &Credentials,
    ) -> anyhow::Result<Self> {
        let data = folder()?;
        let log = |name: &str| config.logs.as_ref().map(|folder| folder.join(format!("{side}-{name}.log")));
        let (mut etcd, endpoint) = start_etcd(&config.etcd, data.path(), log("etcd").as_deref())?;
        wait_for_port(endpoint, &mut etcd).await.context("etcd does not come up")?;
        let door = Door { address: free_address()?, tls: Arc::clone(&credentials.tls) };
        let (first, rest) = program.split_first().context("no program")?;
        let mut command = Command::new(first);
        command.args(rest).args(flags(credentials, endpoint, door.address));
        if side == Side::Peer {
            command.arg("--insecure-port=0");
        }
        let begun = Instant::now();
        let mut server = Process::start(command, log("server").as_deref())?;
        wait_ready(&door, &mut server).await?;
        let ready = begun.elapsed();
        let subject = Self { side, program: first.into(), ready, server, etcd, door, _data: data };
        let line = subject.door.connect().await?;
        let body = objects::namespace();
        let path = "/api/v1/namespaces".to_owned();
        line.whole(&Question { method: Method::POST, path, body, encoding: Encoding::Json }).await?;
        Ok(subject)
    }

    /// A new connection to it.
    ///
    /// # Errors
    /// If it does not answer.
    pub async fn connect(&self) -> anyhow::Result<Line> {
        self.door.connect().await
    }

    /// Ends server and etcd.
    ///
    /// # Errors
    /// If one of them had ended before.
    pub fn stop(mut self) -> anyhow::Result<()> {
        self.server.check().context("the server did not live to the end")?;
        self.server.kill()?;
        self.etcd.kill()
    }
}

fn flags(credentials: &Credentials, etcd: SocketAddr, address: SocketAddr) -> Vec<String> {
    let file = |name| credentials.file(name);
    vec![
        format!("--etcd-servers=http://{etcd}"),
        format!("--bind-address={}", address.ip()),
        format!("--secure-port={}", address.port()),
        // Documentation addresses: nothing is ever sent there.
        "--advertise-address=192.0.2.10".to_owned(),
        "--service-cluster-ip-range=10.96.0.0/24".to_owned(),
        "--authorization-mode=Node,RBAC".to_owned(),
        format!("--client-ca-file={}", file("ca.crt")),
        format!("--tls-cert-file={}", file("server.crt")),
        format!("--tls-private-key-file={}", file("server.key")),
        "--service-account-issuer=https://kubernetes.default.svc".to_owned(),
        format!("--service-account-key-file={}", file("sa.pub")),
        format!("--service-account-signing-key-file={}", file("sa.key")),
    ]
}

fn start_etcd(program: &Path, data: &Path, log: Option<&Path>) -> anyhow::Result<(Process, SocketAddr)> {
    let (client, peer) = (free_address()?, free_address()?);
    let mut command = Command::new(program);
    command
        .args(["--name", "bench", "--data-dir"])
        .arg(data.join("etcd"))
        .args(["--listen-client-urls", &format!("http://{client}")])
        .args(["--advertise-client-urls", &format!("http://{client}")])
        .args(["--listen-peer-urls", &format!("http://{peer}")])
        .args(["--initial-advertise-peer-urls", &format!("http://{peer}")])
        .args(["--initial-cluster", &format!("bench=http://{peer}")])
        .arg("--unsafe-no-fsync");
    Ok((Process::start(command, log)?, client))
}

/// Waits until etcd has a leader: its health page says so.
async fn wait_for_port(address: SocketAddr, process: &mut Process) -> anyhow::Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while !is_healthy(address).await.unwrap_or(false) {
        process.check()?;
        if Instant::now() > deadline {
            bail!("not healthy within {PATIENCE:?}");
        }
        tokio::time::sleep(RETRY).await;
    }
    Ok(())
}

async fn is_healthy(address: SocketAddr) -> anyhow::Result<bool> {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut stream = tokio::net::TcpStream::connect(address).await?;
    stream.write_all(b"GET /health HTTP/1.0\r\n\r\n").await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer.contains(" 200 "))
}

async fn wait_ready(door: &Door, server: &mut Process) -> anyhow::Result<()> {
    let deadline = Instant::now() + PATIENCE;
    let question = Question::get("/readyz", Encoding::Json);
    loop {
        let answer = async { door.connect().await?.whole(&question).await };
        match answer.await {
            Ok(_) => return Ok(()),
            Err(_) if Instant::now() < deadline => server.check()?,
            Err(error) => return Err(error.context(format!("not ready within {PATIENCE:?}"))),
        }
        tokio::time::sleep(RETRY).await;
    }
}

/// A folder in memory if there is such a file system.
fn folder() -> anyhow::Result<TempDir> {
    let memory = Path::new(MEMORY);
    let made = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
    made.context("cannot make a temporary folder")
}

/// A loopback address that was free a moment ago.
fn free_address() -> anyhow::Result<SocketAddr> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).context("loopback has no free port")?;
    Ok(listener.local_addr()?)
}
