//! kube-apiserver under test: a process with certificates, an etcd and a port of its own, all gone afterwards.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use pki::kubeconfig::{self, KubeconfigSpec};
use pki::{CertificateAuthority, KeyPair, KeyPairPem, LeafRequest, SubjectAltName, Usage};
use storage::testing::{EtcdServer, free_port};
use tempfile::TempDir;

use crate::Caller;

const DAY: Duration = Duration::from_hours(24);
/// How long to wait for what comes at once on an idle machine.
pub const PATIENCE: Duration = Duration::from_mins(1);
/// Tells the program's process id; ends it when the input ends, which it does even when a test is killed.
const KEEPER: &str =
    r#"log=$1; shift; "$@" >>"$log" 2>&1 & pid=$!; echo $pid; read -r _; kill -9 $pid 2>/dev/null; wait $pid"#;

/// A running API server with RBAC and the Node authorizer, as a cluster has it.
pub struct ApiServer {
    process: Process,
    program: PathBuf,
    flags: Vec<String>,
    port: u16,
    authority: CertificateAuthority,
    files: TempDir,
    /// The data store behind it.
    pub etcd: EtcdServer,
}

impl ApiServer {
    /// Starts etcd and `program`, and waits until the server is ready.
    pub async fn start(program: &str) -> Self {
        Self::start_with(program, &[]).await
    }

    /// [`ApiServer::start`] with more flags.
    pub async fn start_with(program: &str, flags: &[&str]) -> Self {
        // Another test of this process may have been first.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let etcd = EtcdServer::start().await;
        let files = tempfile::tempdir().expect("a temporary directory can be made");
        let authority = CertificateAuthority::generate("kubernetes", Timestamp::now(), DAY).expect("keys can be made");
        write_pki(files.path(), &authority);
        let flags: Vec<String> = flags.iter().map(|flag| (*flag).to_owned()).collect();
        let (program, port) = (PathBuf::from(program), free_port());
        let process =
            Process::spawn(&program, &arguments(files.path(), &etcd, port, &flags), &files.path().join("log"));
        let mut server = Self { process, program, flags, port, authority, files, etcd };
        for _ in 0..2 {
            if server.becomes_ready().await {
                break;
            }
            // Somebody else may have taken the port in between.
            server.port = free_port();
            server.respawn();
        }
        assert!(server.becomes_ready().await, "the server does not come up:\n{}", server.log());
        // Pods need it, and the controller that makes it is not here.
        let account = serde_json::json!({"metadata": {"name": "default"}});
        server.admin().create(&crate::core("serviceaccounts"), &account).await.ok();
        server
    }

    /// True once `/readyz` says so; false if the process ended or nothing happens for long.
    async fn becomes_ready(&self) -> bool {
        let admin = self.admin();
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline && self.process.is_running() {
            let answer = admin.request(reqwest::Method::GET, "/readyz").send().await;
            if answer.is_ok_and(|answer| answer.status().is_success()) {
                return true;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        false
    }

    /// Ends the server as a crash would, and starts it again on the same port and data.
    pub async fn restart(&mut self) {
        self.respawn();
        assert!(self.becomes_ready().await, "the server does not come up again:\n{}", self.log());
    }

    /// Ends the server as a crash would and starts it again, without waiting for it.
    pub fn respawn(&mut self) {
        self.process.end();
        let all = arguments(self.files.path(), &self.etcd, self.port, &self.flags);
        self.process = Process::spawn(&self.program, &all, &self.files.path().join("log"));
    }

    /// Tells the server to end in order.
    pub fn terminate(&self) {
        let _ = kill(self.process.pid, Signal::SIGTERM);
    }

    /// Where it listens.
    pub fn url(&self) -> String {
        format!("https://127.0.0.1:{}", self.port)
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Whether the process lives.
    pub fn is_running(&self) -> bool {
        self.process.is_running()
    }

    /// What it wrote.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.files.path().join("log")).unwrap_or_default()
    }

    /// The most memory it ever had, in KiB.
    pub fn peak_memory(&self) -> u64 {
        self.process.status("VmHWM:")
    }

    /// The memory it has now, in KiB.
    pub fn memory(&self) -> u64 {
        self.process.status("VmRSS:")
    }

    /// A file beside its certificates.
    pub fn path(&self, name: &str) -> PathBuf {
        self.files.path().join(name)
    }

    /// Writes a file beside its certificates.
    pub fn write(&self, name: &str, content: &str) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, content).expect("a temporary directory can be written to");
        path
    }

    /// A member of system:masters.
    pub fn admin(&self) -> Caller {
        self.user("kubernetes-admin", &["system:masters"])
    }

    /// Somebody with a client certificate.
    pub fn user(&self, name: &str, groups: &[&str]) -> Caller {
        let pair = self.identity(name, groups);
        Caller::new(&self.url(), self.authority.cert_pem(), Some(&format!("{}{}", pair.cert_pem, pair.key_pem)))
    }

    /// Somebody without any credentials.
    pub fn anonymous(&self) -> Caller {
        Caller::new(&self.url(), self.authority.cert_pem(), None)
    }

    /// The certificate and key of a user.
    pub fn identity(&self, name: &str, groups: &[&str]) -> KeyPairPem {
        let request = LeafRequest {
            common_name: name.to_owned(),
            organizations: groups.iter().map(|group| (*group).to_owned()).collect(),
            sans: Vec::new(),
            usages: vec![Usage::ClientAuth],
            lifetime: DAY,
        };
        self.authority.issue(&request, Timestamp::now()).expect("a certificate can be made")
    }

    /// The kubeconfig of a user, as text.
    pub fn kubeconfig_of(&self, name: &str, groups: &[&str]) -> String {
        let pair = self.identity(name, groups);
        kubeconfig::render(&KubeconfigSpec {
            cluster: "contract".to_owned(),
            server: self.url(),
            api_servers: Vec::new(),
            ca_pem: self.authority.cert_pem().to_owned(),
            user: name.to_owned(),
            client_cert_pem: pair.cert_pem,
            client_key_pem: pair.key_pem,
        })
    }

    /// The path of an administrator's kubeconfig.
    pub fn kubeconfig(&self) -> PathBuf {
        let path = self.path("admin.conf");
        if !path.exists() {
            self.write("admin.conf", &self.kubeconfig_of("kubernetes-admin", &["system:masters"]));
        }
        path
    }
}

impl Drop for ApiServer {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = self.log();
            let tail: Vec<&str> = log.lines().rev().take(20).collect();
            eprintln!("the server said last:");
            tail.iter().rev().for_each(|line| eprintln!("  {line}"));
        }
    }
}

/// A child that ends when its owner does.
struct Process {
    keeper: Child,
    pid: Pid,
}

impl Process {
    fn spawn(program: &Path, arguments: &[String], log: &Path) -> Self {
        let mut keeper = Command::new("sh")
            .args(["-c", KEEPER, "keeper"])
            .arg(log)
            .arg(program)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("a shell is installed");
        let mut line = String::new();
        let output = keeper.stdout.take().expect("the output is a pipe");
        BufReader::new(output).read_line(&mut line).expect("the shell tells the process id");
        let pid = Pid::from_raw(line.trim().parse().expect("a process id is a number"));
        Self { keeper, pid }
    }

    /// The shell that waits for the program ends with it only after its input ends, so the program itself is asked for.
    fn is_running(&self) -> bool {
        let state = std::fs::read_to_string(format!("/proc/{}/stat", self.pid)).unwrap_or_default();
        let letter = state.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next());
        letter.is_some_and(|letter| letter != 'Z')
    }

    fn status(&self, key: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid)).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix(key));
        line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok()).unwrap_or(0)
    }

    fn end(&mut self) {
        drop(self.keeper.stdin.take());
        // Failing means that it is gone already.
        let _ = self.keeper.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.end();
    }
}

fn write_pki(folder: &Path, authority: &CertificateAuthority) {
    let request = LeafRequest {
        common_name: "kube-apiserver".to_owned(),
        organizations: Vec::new(),
        sans: vec![SubjectAltName::parse("127.0.0.1"), SubjectAltName::parse("localhost")],
        usages: vec![Usage::ServerAuth],
        lifetime: DAY,
    };
    let server = authority.issue(&request, Timestamp::now()).expect("a certificate can be made");
    let signer = KeyPair::generate().expect("a key can be made");
    for (name, text) in [
        ("ca.crt", authority.cert_pem().to_owned()),
        ("ca.key", authority.key_pem()),
        ("server.crt", server.cert_pem),
        ("server.key", server.key_pem),
        ("sa.key", signer.to_pem()),
        ("sa.pub", signer.public_key_pem()),
    ] {
        std::fs::write(folder.join(name), text).expect("a temporary directory can be written to");
    }
}

fn arguments(folder: &Path, etcd: &EtcdServer, port: u16, more: &[String]) -> Vec<String> {
    let file = |name: &str| folder.join(name).display().to_string();
    let mut flags = vec![
        "--bind-address=127.0.0.1".to_owned(),
        format!("--secure-port={port}"),
        "--advertise-address=192.0.2.10".to_owned(),
        "--authorization-mode=Node,RBAC".to_owned(),
        "--allow-privileged=true".to_owned(),
        "--enable-admission-plugins=NodeRestriction".to_owned(),
        "--enable-bootstrap-token-auth=true".to_owned(),
        format!("--etcd-servers={}", etcd.endpoint()),
        format!("--client-ca-file={}", file("ca.crt")),
        format!("--tls-cert-file={}", file("server.crt")),
        format!("--tls-private-key-file={}", file("server.key")),
        "--service-account-issuer=https://kubernetes.default.svc".to_owned(),
        format!("--service-account-key-file={}", file("sa.pub")),
        format!("--service-account-signing-key-file={}", file("sa.key")),
        "--service-cluster-ip-range=10.96.0.0/24".to_owned(),
        "--service-node-port-range=30000-30099".to_owned(),
    ];
    flags.extend(more.iter().cloned());
    flags
}
