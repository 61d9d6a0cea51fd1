//! A server of its own for each test: certificates, etcd, ports, all gone afterwards.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Parser;
use component_base::serving::Listener;
use jiff::Timestamp;
use kube_apiserver::config::{Args, Config};
use pki::{CertificateAuthority, KeyPair, LeafRequest, SubjectAltName, Usage};
use reqwest::{Certificate, Client, Identity, Method, RequestBuilder};
use serde_json::Value;
use storage::testing::EtcdServer;
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

const DAY: Duration = Duration::from_hours(24);
/// How long to wait for what comes at once on an idle machine.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);

/// What the servers of one cluster share.
pub(crate) struct Site {
    authority: CertificateAuthority,
    files: TempDir,
}

/// A running server.
pub(crate) struct Server {
    address: SocketAddr,
    site: Arc<Site>,
    stop: CancellationToken,
    running: Option<JoinHandle<anyhow::Result<()>>>,
    /// Stays empty for a server that uses the etcd of another one.
    etcd: Option<EtcdServer>,
}

/// Somebody who talks to the server.
#[derive(Clone)]
pub(crate) struct Caller {
    client: Client,
    base: String,
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) code: u16,
    pub(crate) headers: reqwest::header::HeaderMap,
    pub(crate) body: Value,
}

impl Server {
    /// Starts etcd and the server with RBAC, and waits until it is ready.
    pub(crate) async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// [`Server::start`] with more flags.
    pub(crate) async fn start_with(flags: &[&str]) -> Self {
        let etcd = EtcdServer::start().await;
        // History older than the server, for tests that ask for what is gone.
        let client = etcd.connect().await;
        for key in ["/before/1", "/before/2"] {
            client.create(key, "x".into(), None).await.unwrap();
        }
        let mut server = Self::start_on(&[etcd.endpoint()], Site::new(), flags).await;
        server.etcd = Some(etcd);
        server.wait_ready().await;
        server
    }

    /// A server with an etcd of somebody else; it may not be ready yet.
    pub(crate) async fn start_on(etcd: &[String], site: Arc<Site>, flags: &[&str]) -> Self {
        let listener = Listener::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let address = listener.address();
        let config = config(site.files.path(), &etcd.join(","), flags);
        let stop = CancellationToken::new();
        let running = tokio::spawn(kube_apiserver::app::serve(config, listener, stop.clone()));
        Self { address, site, stop, running: Some(running), etcd: None }
    }

    /// Another server of the same cluster, ready.
    pub(crate) async fn beside(&self, flags: &[&str]) -> Self {
        let server = Self::start_on(&[self.etcd().endpoint()], Arc::clone(&self.site), flags).await;
        server.wait_ready().await;
        server
    }

    /// The etcd that was started for this server.
    pub(crate) fn etcd(&self) -> &EtcdServer {
        self.etcd.as_ref().unwrap()
    }

    pub(crate) async fn wait_ready(&self) {
        self.wait_until_ready(true).await;
    }

    /// Returns when `/readyz` says so, or no longer says so.
    pub(crate) async fn wait_until_ready(&self, ready: bool) {
        let admin = self.admin();
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            if let Ok(response) = admin.request(Method::GET, "/readyz").send().await
                && response.status().is_success() == ready
            {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("/readyz does not become {ready}");
    }

    /// A member of system:masters.
    pub(crate) fn admin(&self) -> Caller {
        self.user("kubernetes-admin", &["system:masters"])
    }

    /// Somebody with a client certificate.
    pub(crate) fn user(&self, name: &str, groups: &[&str]) -> Caller {
        let request = LeafRequest {
            common_name: name.to_owned(),
            organizations: groups.iter().map(|group| (*group).to_owned()).collect(),
            sans: Vec::new(),
            usages: vec![Usage::ClientAuth],
            lifetime: DAY,
        };
        let pair = self.site.authority.issue(&request, Timestamp::now()).unwrap();
        let identity = Identity::from_pem(format!("{}{}", pair.cert_pem, pair.key_pem).as_bytes()).unwrap();
        self.caller(Client::builder().identity(identity))
    }

    /// Somebody without any credentials.
    pub(crate) fn anonymous(&self) -> Caller {
        self.caller(Client::builder())
    }

    fn caller(&self, builder: reqwest::ClientBuilder) -> Caller {
        let root = Certificate::from_pem(self.site.authority.cert_pem().as_bytes()).unwrap();
        let client = builder.tls_certs_only([root]).build().unwrap();
        Caller { client, base: format!("https://{}", self.address) }
    }

    /// A request for a certificate, as its kind takes it.
    pub(crate) fn request_for_certificate(name: &str) -> String {
        let pem = pki::csr::create(name, &[], &[], &KeyPair::generate().unwrap()).unwrap();
        base64::Engine::encode(&base64::engine::general_purpose::STANDARD, pem)
    }

    /// Asks the server to end, as SIGTERM does.
    pub(crate) fn ask_to_stop(&self) {
        self.stop.cancel();
    }

    /// Ends the server as SIGTERM does, and waits for it.
    pub(crate) async fn stop(&mut self) {
        self.stop.cancel();
        if let Some(running) = self.running.take() {
            tokio::time::timeout(Duration::from_secs(30), running).await.unwrap().unwrap().unwrap();
        }
    }

    /// A file of the server's PKI.
    pub(crate) fn file(&self, name: &str) -> String {
        std::fs::read_to_string(self.site.files.path().join(name)).unwrap()
    }
}

impl Site {
    pub(crate) fn new() -> Arc<Self> {
        // Another test of this process may have been first.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let files = tempfile::tempdir().unwrap();
        let authority = CertificateAuthority::generate("kubernetes", Timestamp::now(), DAY).unwrap();
        write_pki(files.path(), &authority);
        Arc::new(Self { authority, files })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

fn write_pki(folder: &Path, authority: &CertificateAuthority) {
    let request = LeafRequest {
        common_name: "kube-apiserver".to_owned(),
        organizations: Vec::new(),
        sans: vec![SubjectAltName::parse("127.0.0.1")],
        usages: vec![Usage::ServerAuth],
        lifetime: DAY,
    };
    let server = authority.issue(&request, Timestamp::now()).unwrap();
    let signer = KeyPair::generate().unwrap();
    for (name, text) in [
        ("ca.crt", authority.cert_pem().to_owned()),
        ("server.crt", server.cert_pem),
        ("server.key", server.key_pem),
        ("sa.key", signer.to_pem()),
        ("sa.pub", signer.public_key_pem()),
    ] {
        std::fs::write(folder.join(name), text).unwrap();
    }
}

fn config(folder: &Path, etcd: &str, more: &[&str]) -> Config {
    let file = |name: &str| folder.join(name).display().to_string();
    let mut flags = vec![
        "kube-apiserver".to_owned(),
        "--advertise-address=192.0.2.10".to_owned(),
        "--authorization-mode=Node,RBAC".to_owned(),
        "--allow-privileged=true".to_owned(),
        "--enable-admission-plugins=NodeRestriction".to_owned(),
        format!("--etcd-servers={etcd}"),
        format!("--client-ca-file={}", file("ca.crt")),
        format!("--tls-cert-file={}", file("server.crt")),
        format!("--tls-private-key-file={}", file("server.key")),
        "--service-account-issuer=https://kubernetes.default.svc".to_owned(),
        format!("--service-account-key-file={}", file("sa.pub")),
        format!("--service-account-signing-key-file={}", file("sa.key")),
        "--service-cluster-ip-range=10.96.0.0/24".to_owned(),
        "--service-node-port-range=30000-30009".to_owned(),
    ];
    // A flag of the test takes the place of the same one here.
    let name = |flag: &str| flag.split('=').next().unwrap_or_default().to_owned();
    flags.retain(|flag| !more.iter().any(|other| name(other) == name(flag)));
    flags.extend(more.iter().map(|flag| (*flag).to_owned()));
    Config::try_from(Args::try_parse_from(flags).unwrap()).unwrap()
}

impl Caller {
    /// A request to be added to.
    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("{}{path}", self.base))
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        answer(self.request(Method::GET, path)).await
    }

    /// [`Caller::get`] until it succeeds, for what the server learns a moment after it said yes.
    pub(crate) async fn get_soon(&self, path: &str) -> Value {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let answer = self.get(path).await;
            if answer.code == 200 || Instant::now() > deadline {
                return answer.ok();
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    pub(crate) async fn create(&self, path: &str, body: Value) -> Answer {
        answer(json(self.request(Method::POST, path), &body)).await
    }

    pub(crate) async fn update(&self, path: &str, body: &Value) -> Answer {
        answer(json(self.request(Method::PUT, path), body)).await
    }

    /// A patch; the kind is `json`, `merge` or `strategic-merge`.
    pub(crate) async fn patch(&self, path: &str, kind: &str, body: &Value) -> Answer {
        let request = self.request(Method::PATCH, path);
        let request = request.header("content-type", format!("application/{kind}-patch+json"));
        answer(request.body(body.to_string())).await
    }

    pub(crate) async fn delete(&self, path: &str) -> Answer {
        answer(self.request(Method::DELETE, path)).await
    }

    pub(crate) async fn delete_with(&self, path: &str, body: &Value) -> Answer {
        answer(json(self.request(Method::DELETE, path), body)).await
    }
}

fn json(request: RequestBuilder, body: &Value) -> RequestBuilder {
    request.header("content-type", "application/json").body(body.to_string())
}

/// Sends a request and takes in its answer.
pub(crate) async fn answer(request: RequestBuilder) -> Answer {
    let response = request.send().await.unwrap();
    let (code, headers) = (response.status().as_u16(), response.headers().clone());
    let bytes = response.bytes().await.unwrap();
    let body =
        serde_json::from_slice(&bytes).unwrap_or_else(|_| Value::String(String::from_utf8_lossy(&bytes).into_owned()));
    Answer { code, headers, body }
}

impl Answer {
    /// The body of a success.
    pub(crate) fn ok(self) -> Value {
        assert!((200..300).contains(&self.code), "{} {}", self.code, self.body);
        self.body
    }

    /// The message of a failure with this code.
    pub(crate) fn failed(self, code: u16) -> String {
        assert_eq!(self.code, code, "{}", self.body);
        assert_eq!(self.body["kind"], "Status", "{}", self.body);
        self.body["message"].as_str().unwrap_or_default().to_owned()
    }
}

/// The path of a namespaced core resource in `default`.
pub(crate) fn core(rest: &str) -> String {
    format!("/api/v1/namespaces/default/{rest}")
}
