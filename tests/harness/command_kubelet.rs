//! A kubelet as far as exec, attach, port-forward, logs and the proxy go: it speaks SPDY, as kubelets and runtimes do, and
//! runs commands on this machine. What it is attached to and ports echo in upper case.
//!
//! It tells streams by the order in which all clients open them, so that it has no need to inflate their headers.

mod plain;
mod spdy;

use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, PoisonError};

use reqwest::Url;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::sync::Notify;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::ApiServer;

/// The only node, and the name of the container that never runs.
const NODE: &str = "here";
const ABSENT: &str = "absent";

/// A running kubelet with a node and one pod: `pod`, with the containers `c` and `absent`.
pub struct CommandKubelet {
    runtime: Option<Runtime>,
    asked: Arc<Mutex<Vec<String>>>,
    go_on: Arc<Notify>,
}

impl CommandKubelet {
    /// Starts it and makes its node and the pod.
    pub async fn start(server: &ApiServer) -> Self {
        let identity = server.identity("system:node:here", &["system:nodes"]);
        let chain = vec![CertificateDer::from_pem_slice(identity.cert_pem.as_bytes()).expect("a certificate")];
        let key = PrivateKeyDer::from_pem_slice(identity.key_pem.as_bytes()).expect("a key");
        let tls = ServerConfig::builder().with_no_client_auth().with_single_cert(chain, key).expect("they fit");
        let acceptor = TlsAcceptor::from(Arc::new(tls));
        // Tests wait for client programs on their own thread.
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.expect("a thread can be started");
        let asked = Arc::new(Mutex::new(Vec::new()));
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("there are free ports");
        let port = listener.local_addr().expect("it is bound").port();
        listener.set_nonblocking(true).expect("sockets can be set up");
        let (seen, go_on) = (Arc::clone(&asked), Arc::new(Notify::new()));
        let gate = Arc::clone(&go_on);
        runtime.spawn(async move {
            let listener = TcpListener::from_std(listener).expect("the socket is set up");
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(connection(acceptor.clone(), stream, (Arc::clone(&seen), Arc::clone(&gate))));
            }
        });
        make_pod(server, port).await;
        Self { runtime: Some(runtime), asked, go_on }
    }

    /// Lets a log that is followed go on.
    pub fn go_on(&self) {
        self.go_on.notify_one();
    }

    /// What it was asked for so far: paths with queries.
    pub fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for CommandKubelet {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

async fn make_pod(server: &ApiServer, port: u16) {
    let admin = server.admin();
    let node = json!({"metadata": {"name": NODE}, "status": {
        "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
        "daemonEndpoints": {"kubeletEndpoint": {"Port": port}}}});
    admin.create("/api/v1/nodes", &node).await.ok();
    let container = |name: &str| json!({"name": name, "image": "i", "tty": false, "stdin": true});
    let pod = json!({"metadata": {"name": "pod"},
        "spec": {"nodeName": NODE, "containers": [container("c"), container(ABSENT)]}});
    admin.create(&crate::core("pods"), &pod).await.ok();
    admin.patch(&crate::core("pods/pod/status"), "merge", &json!({"status": {"phase": "Running"}})).await.ok();
}

async fn connection(acceptor: TlsAcceptor, stream: TcpStream, (asked, go_on): (Arc<Mutex<Vec<String>>>, Arc<Notify>)) {
    let Ok(mut stream) = acceptor.accept(stream).await else { return };
    let Some(head) = read_head(&mut stream).await else { return };
    let path = head.split(' ').nth(1).unwrap_or("/").to_owned();
    asked.lock().unwrap_or_else(PoisonError::into_inner).push(path.clone());
    let url = Url::parse(&format!("http://kubelet{path}")).expect("the API server sends good paths");
    let lower = head.to_ascii_lowercase();
    if url.path().starts_with("/containerLogs/") && !url.path().ends_with(ABSENT) {
        let _ = plain::log(stream, &url, &go_on).await;
        return;
    }
    if url.path().starts_with("/mirror") {
        let _ = plain::mirror(stream, &head).await;
        return;
    }
    let version = lower.lines().find_map(|line| line.strip_prefix("x-stream-protocol-version:"));
    let version = version.map(str::trim).unwrap_or_default();
    let protocols = ["v4.channel.k8s.io", "portforward.k8s.io"];
    let refusal = match protocols.into_iter().find(|known| version.split(", ").any(|name| name == *known)) {
        _ if !lower.contains("upgrade: spdy/3.1") => Err(("400 Bad Request", "this kubelet speaks SPDY only")),
        _ if url.path().ends_with(ABSENT) => Err(("404 Not Found", "container not found (\"absent\")")),
        None => Err(("403 Forbidden", "no protocol in common")),
        Some(protocol) => Ok(protocol),
    };
    let protocol = match refusal {
        Ok(protocol) => protocol,
        Err((status, text)) => {
            let answer = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n{text}", text.len());
            let _ = stream.write_all(answer.as_bytes()).await;
            let _ = stream.shutdown().await;
            return;
        }
    };
    let answer = format!(
        "HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: SPDY/3.1\r\n\
         x-stream-protocol-version: {protocol}\r\n\r\n"
    );
    if stream.write_all(answer.as_bytes()).await.is_ok() && stream.flush().await.is_ok() {
        let done =
            if protocol == "portforward.k8s.io" { spdy::echo(stream).await } else { spdy::run(stream, &url).await };
        // Clients close connections as they like.
        let _ = done;
    }
}

async fn read_head(stream: &mut TlsStream<TcpStream>) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    String::from_utf8(head).ok()
}
