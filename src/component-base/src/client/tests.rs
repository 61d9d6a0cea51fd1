//! Real sockets on loopback: servers that answer, refuse, hang and come back.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use http::StatusCode;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

mod hanging;
mod sharing;

use super::*;
use crate::serving::Listener;
use crate::tls::{TlsFiles, server_config};

/// A pretended API server; its answers carry its name.
struct Server {
    address: SocketAddr,
    token: CancellationToken,
    task: tokio::task::JoinHandle<()>,
    asked: Arc<AtomicUsize>,
}

impl Server {
    async fn start(address: &str, name: &'static str, status: StatusCode) -> Self {
        let listener = Listener::bind(address.parse().unwrap()).await.unwrap();
        let (address, token, asked) = (listener.address(), CancellationToken::new(), Arc::<AtomicUsize>::default());
        let count = Arc::clone(&asked);
        let service = service_fn(move |_: Request<Incoming>| {
            count.fetch_add(1, Ordering::Relaxed);
            let mut response = Response::new(Full::new(Bytes::from_static(name.as_bytes())));
            *response.status_mut() = status;
            async move { Ok::<_, Infallible>(response) }
        });
        let task = tokio::spawn(listener.serve_http(service, token.clone()));
        Self { address, token, task, asked }
    }

    async fn stop(self) -> SocketAddr {
        self.token.cancel();
        self.task.await.unwrap();
        self.address
    }
}

struct Home(tempfile::TempDir);

impl Home {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// A kubeconfig with a last resort and a list.
    fn write(&self, server: &str, listed: &[SocketAddr]) -> PathBuf {
        let user = serde_json::json!({});
        self.write_with(server, listed, &serde_json::json!({}), &user)
    }

    fn write_with(
        &self,
        server: &str,
        listed: &[SocketAddr],
        more: &serde_json::Value,
        user: &serde_json::Value,
    ) -> PathBuf {
        let mut cluster = serde_json::json!({"server": server,
            "extensions": [{"name": servers::EXTENSION, "extension": {"addresses": listed}}]});
        cluster.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let text = serde_json::json!({"apiVersion": "v1", "kind": "Config", "current-context": "c",
            "contexts": [{"name": "c", "context": {"cluster": "k", "user": "u"}}],
            "clusters": [{"name": "k", "cluster": cluster}], "users": [{"name": "u", "user": user}]});
        std::fs::write(self.path("kubeconfig"), text.to_string()).unwrap();
        self.path("kubeconfig")
    }
}

async fn ask(client: &Client) -> Result<String, kube::Error> {
    client.request_text(Request::get("/version").body(Vec::new()).unwrap()).await
}

/// An address nobody listens on.
async fn nobody() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    listener.local_addr().unwrap()
}

/// Which of two servers is the first choice, and the other one.
async fn two_servers() -> (Server, Server) {
    let one = Server::start("127.0.0.1:0", "one", StatusCode::OK).await;
    let two = Server::start("127.0.0.1:0", "two", StatusCode::OK).await;
    (one, two)
}

#[tokio::test]
async fn clients_move_to_the_next_server_and_come_back() {
    let home = Home::new();
    let (one, two) = two_servers().await;
    let kubeconfig = home.write("http://127.0.0.1:1", &[one.address, two.address]);
    let client = connect(&kubeconfig, "test").await.unwrap();
    let first = ask(&client).await.unwrap();
    let (first_server, second_server) = if first == "one" { (one, two) } else { (two, one) };
    let address = first_server.stop().await;
    let second = ask(&client).await.unwrap();
    assert_ne!(first, second, "the other server answers");

    // The first one returns, the other one goes.
    let again = Server::start(&address.to_string(), "again", StatusCode::OK).await;
    second_server.stop().await;
    assert_eq!(ask(&client).await.unwrap(), "again");
    again.stop().await;
    assert!(ask(&client).await.is_err(), "nobody is left");
}

#[tokio::test]
async fn the_address_of_the_cluster_is_the_last_resort() {
    let home = Home::new();
    let server = Server::start("127.0.0.1:0", "balancer", StatusCode::OK).await;
    let (dead, dead_too) = (nobody().await, nobody().await);
    let kubeconfig = home.write(&format!("http://{}", server.address), &[dead, dead_too]);
    let client = connect(&kubeconfig, "test").await.unwrap();
    assert_eq!(ask(&client).await.unwrap(), "balancer");
}

#[tokio::test]
async fn a_name_that_cannot_be_looked_up_does_not_matter_while_the_list_answers() {
    let home = Home::new();
    let server = Server::start("127.0.0.1:0", "listed", StatusCode::OK).await;
    let kubeconfig = home.write("http://api.invalid:6443", &[server.address]);
    let client = connect(&kubeconfig, "test").await.unwrap();
    assert_eq!(ask(&client).await.unwrap(), "listed");
}

#[tokio::test]
async fn a_longer_list_is_used_without_a_restart() {
    let home = Home::new();
    let one = Server::start("127.0.0.1:0", "one", StatusCode::OK).await;
    let kubeconfig = home.write("http://127.0.0.1:1", &[one.address]);
    let client = connect(&kubeconfig, "test").await.unwrap();
    assert_eq!(ask(&client).await.unwrap(), "one");
    let two = Server::start("127.0.0.1:0", "two", StatusCode::OK).await;
    home.write("http://127.0.0.1:1", &[one.address, two.address]);
    one.stop().await;
    assert_eq!(ask(&client).await.unwrap(), "two");
}

#[tokio::test]
async fn a_server_without_its_etcd_is_left_for_one_that_works() {
    let home = Home::new();
    let well = Server::start("127.0.0.1:0", "well", StatusCode::OK).await;
    let ailing = Server::start("127.0.0.1:0", "ailing", StatusCode::SERVICE_UNAVAILABLE).await;
    let kubeconfig = home.write("http://127.0.0.1:1", &[ailing.address, well.address]);
    // Whichever comes first by rank: no request fails.
    let client = connect(&kubeconfig, "test").await.unwrap();
    for _ in 0..5 {
        assert_eq!(ask(&client).await.unwrap(), "well");
    }
    let asked = ailing.asked.load(Ordering::Relaxed);
    assert!(asked <= 3, "while everybody starts it may have three tries, and no more: {asked}");
}

/// Files of an authority, a server and a client.
fn write_certificates(home: &Home, client: &str) -> TlsFiles {
    let authority = pki_authority();
    std::fs::write(home.path("ca.crt"), authority.pem()).unwrap();
    for (file, name) in [("server", "api.test"), ("client", client)] {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        let certificate = params.signed_by(&key, &authority).unwrap();
        std::fs::write(home.path(&format!("{file}.crt")), certificate.pem()).unwrap();
        std::fs::write(home.path(&format!("{file}.key")), key.serialize_pem()).unwrap();
    }
    TlsFiles { cert: home.path("server.crt"), key: home.path("server.key"), client_ca: Some(home.path("ca.crt")) }
}

fn pki_authority() -> rcgen::CertifiedIssuer<'static, rcgen::KeyPair> {
    let mut params = rcgen::CertificateParams::default();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    params.distinguished_name.push(rcgen::DnType::CommonName, "test authority");
    rcgen::CertifiedIssuer::self_signed(params, rcgen::KeyPair::generate().unwrap()).unwrap()
}

/// Answers with the name in the client's certificate.
async fn serve_tls(files: TlsFiles) -> (SocketAddr, CancellationToken) {
    let listener = Listener::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let (address, token) = (listener.address(), CancellationToken::new());
    let service = service_fn(|request: Request<Incoming>| {
        let peer = request.extensions().get::<crate::serving::PeerCertificates>();
        let name = peer.map(|peer| crate::tls::peer_identity(&peer.0[0]).unwrap().common_name).unwrap_or_default();
        async move { Ok::<_, Infallible>(Response::new(Full::new(Bytes::from(name)))) }
    });
    tokio::spawn(listener.serve_https(server_config(files).unwrap(), service, token.clone()));
    (address, token)
}

#[tokio::test]
async fn the_certificate_is_checked_for_the_clusters_name_and_the_clients_own_is_followed_on_disk() {
    let home = Home::new();
    let files = write_certificates(&home, "first");
    let (address, _token) = serve_tls(files.clone()).await;
    let cluster = serde_json::json!({"certificate-authority": home.path("ca.crt")});
    let user =
        serde_json::json!({"client-certificate": home.path("client.crt"), "client-key": home.path("client.key")});
    let kubeconfig = home.write_with("https://api.test:1", &[address], &cluster, &user);
    let client = connect(&kubeconfig, "test").await.unwrap();
    assert_eq!(ask(&client).await.unwrap(), "first");

    // A new pair of the same authority would be the usual case; here all of it changes.
    let other = Home::new();
    write_certificates(&other, "second");
    for name in ["client.crt", "client.key"] {
        std::fs::copy(other.path(name), home.path(name)).unwrap();
    }
    assert!(ask(&client).await.is_err(), "the new pair is used, and nobody knows its authority");

    let wrong = home.write_with("https://other.test:1", &[address], &cluster, &user);
    let client = connect(&wrong, "test").await.unwrap();
    assert!(ask(&client).await.is_err(), "a certificate for another name is refused");
}

#[tokio::test]
async fn a_server_that_accepts_and_says_nothing_is_passed_over() {
    let home = Home::new();
    let files = write_certificates(&home, "client");
    let (address, _token) = serve_tls(files).await;
    // The system accepts for it; nobody ever reads.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let cluster = serde_json::json!({"certificate-authority": home.path("ca.crt")});
    let listed = [silent.local_addr().unwrap(), address];
    let kubeconfig = home.write_with("https://api.test:1", &listed, &cluster, &serde_json::json!({}));
    let client = connect(&kubeconfig, "test").await.unwrap();
    assert_eq!(ask(&client).await.unwrap(), "");
}
