//! How the server is run: flags, connections that end early, a start that takes its time.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use harness::{ApiServer, Caller, answer, core};
use jiff::Timestamp;
use pki::{CertificateAuthority, LeafRequest, SubjectAltName, Usage};
use reqwest::Method;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion, version};
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;

use crate::server;

/// A way to the server on which connections are counted.
async fn counting(port: u16) -> (u16, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let way = listener.local_addr().unwrap().port();
    let count = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&count);
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            counted.fetch_add(1, Ordering::Relaxed);
            tokio::spawn(async move {
                if let Ok(mut server) = TcpStream::connect(("127.0.0.1", port)).await {
                    let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
                }
            });
        }
    });
    (way, count)
}

/// The connections that many requests need, one after the other, all of which must succeed.
async fn connections(server: &ApiServer, requests: usize) -> usize {
    let (port, count) = counting(server.port()).await;
    let ca = std::fs::read_to_string(server.path("ca.crt")).unwrap();
    let pair = server.identity("kubernetes-admin", &["system:masters"]);
    let identity = format!("{}{}", pair.cert_pem, pair.key_pem);
    let caller = Caller::new(&format!("https://127.0.0.1:{port}"), &ca, Some(&identity));
    for _ in 0..requests {
        assert_eq!(caller.get("/api/v1/namespaces/default").await.code, 200);
    }
    count.load(Ordering::Relaxed)
}

#[tokio::test]
async fn clients_are_sent_elsewhere_now_and_then_and_lose_nothing_by_it() {
    let server = ApiServer::start_with(crate::PROGRAM, &["--goaway-chance=0.02"]).await;
    // That nobody of so many is sent away happens once in ten thousand million runs.
    let needed = connections(&server, 1200).await;
    assert!((2..200).contains(&needed), "{needed} connections");
    let settled = crate::server().await;
    assert_eq!(connections(&settled, 200).await, 1);
}

#[tokio::test]
async fn a_starting_server_holds_requests_instead_of_sending_them_away() {
    let mut server = server().await;
    let admin = server.admin();
    let rule = json!([{"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]}]);
    let rbac = "/apis/rbac.authorization.k8s.io/v1";
    admin.create(&format!("{rbac}/clusterroles"), &json!({"metadata": {"name": "early"}, "rules": rule})).await.ok();
    let binding = json!({
        "metadata": {"name": "early"},
        "subjects": [{"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": "early"}],
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "early"},
    });
    admin.create(&format!("{rbac}/clusterrolebindings"), &binding).await.ok();
    let early = server.user("early", &[]);
    early.get_until(&core("pods"), |answer| answer.code == 200).await;

    server.etcd.pause();
    server.respawn();
    // It answers, but its start cannot end.
    let nobody = server.anonymous();
    let alive = async {
        while nobody.request(Method::GET, "/livez").send().await.is_err() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(harness::PATIENCE, alive).await.expect("the server comes up");
    let asked = early.clone();
    let held = tokio::spawn(async move { answer(asked.request(Method::GET, &core("pods"))).await });
    // Nobody is told at once that it is too early; in the end one is, and when to come again.
    let told = held.await.unwrap();
    assert_eq!((told.code, told.header("retry-after")), (503, "1"), "{}", told.body);

    let asked = early.clone();
    let mut held = tokio::spawn(async move { answer(asked.request(Method::GET, &core("pods"))).await });
    let soon = tokio::time::timeout(Duration::from_millis(300), &mut held).await;
    assert!(soon.is_err(), "the request was not held: {soon:?}");
    server.etcd.resume();
    let told = held.await.unwrap();
    // On a slow machine the start may take longer than a request is held.
    assert!(matches!(told.code, 200 | 503), "{} {}", told.code, told.body);
    early.get_until(&core("pods"), |answer| answer.code == 200).await;
}

#[tokio::test]
async fn flags_of_upstream_start_the_server_and_do_what_they_say() {
    let server = ApiServer::start_with(
        crate::PROGRAM,
        &[
            "--strict-transport-security-directives=max-age=31536000,includeSubDomains,preload",
            "--tls-min-version=VersionTLS12",
            "--tls-cipher-suites=TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,TLS_AES_128_GCM_SHA256",
            "--disable-http2-serving",
            "--kubelet-timeout=10s",
            "--storage-backend=etcd3",
            "--storage-media-type=application/vnd.kubernetes.protobuf",
            "--watch-cache=true",
            "--watch-cache-sizes=pods#0",
            "--default-watch-cache-size=200",
            "--profiling=false",
            "--contention-profiling",
        ],
    )
    .await;
    for told in [server.admin().get("/version").await, server.anonymous().get(&core("secrets")).await] {
        let directives = told.header("strict-transport-security");
        assert_eq!(directives, "max-age=31536000; includeSubDomains; preload", "{}", told.code);
    }
    let version = server.admin().request(Method::GET, "/version").send().await.unwrap().version();
    assert_eq!(version, reqwest::Version::HTTP_11);
    let log = server.log();
    for flag in ["storage-media-type", "watch-cache-sizes", "default-watch-cache-size", "contention-profiling"] {
        assert_eq!(log.matches(&format!("--{flag} has no effect: ")).count(), 1, "{flag}: {log}");
    }
    for silent in ["--watch-cache has", "--profiling has", "--storage-backend has"] {
        assert!(!log.contains(silent), "{silent}: {log}");
    }
}

/// Whether a handshake for a name succeeds, with only one authority to be believed and one version to be spoken.
async fn shakes(port: u16, name: &'static str, ca: &str, speaks: &'static SupportedProtocolVersion) -> bool {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(ca.as_bytes()).unwrap()).unwrap();
    let builder = ClientConfig::builder_with_protocol_versions(&[speaks]).with_root_certificates(roots);
    let connector = TlsConnector::from(Arc::new(builder.with_no_client_auth()));
    let stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    connector.connect(name.try_into().unwrap(), stream).await.is_ok()
}

#[tokio::test]
async fn a_name_may_have_a_certificate_of_its_own_and_old_versions_of_tls_are_refused() {
    let day = Duration::from_hours(24);
    let authority = CertificateAuthority::generate("public", Timestamp::now(), day).unwrap();
    let request = LeafRequest {
        common_name: "public".to_owned(),
        organizations: Vec::new(),
        sans: vec![SubjectAltName::parse("*.example.test")],
        usages: vec![Usage::ServerAuth],
        lifetime: day,
    };
    let pair = authority.issue(&request, Timestamp::now()).unwrap();
    let files = tempfile::tempdir().unwrap();
    let path = |name: &str, text: &str| {
        let path = files.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let (cert, key) = (path("public.crt", &pair.cert_pem), path("public.key", &pair.key_pem));
    let flag = format!("--tls-sni-cert-key={cert},{key}:api.example.test");
    let server = ApiServer::start_with(crate::PROGRAM, &[&flag, "--tls-min-version=VersionTLS13"]).await;
    let own = std::fs::read_to_string(server.path("ca.crt")).unwrap();
    let port = server.port();
    assert!(shakes(port, "localhost", &own, &version::TLS13).await);
    assert!(shakes(port, "api.example.test", authority.cert_pem(), &version::TLS13).await);
    assert!(!shakes(port, "other.example.test", authority.cert_pem(), &version::TLS13).await);
    assert!(!shakes(port, "localhost", &own, &version::TLS12).await);
}
