//! The proxies of pods and Services, in a network of the test's own: the server goes to no pod on loopback.
//!
//! `10.244.1.7` is a pod that serves, `10.244.1.8` one where nothing does.

use std::sync::Arc;

use futures::{SinkExt as _, StreamExt as _};
use harness::{ApiServer, answer, core, in_private_network, serve_as_pod};
use reqwest::Method;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::tungstenite::{Error, Message};

use crate::server;

const ADDRESSES: &[&str] = &["10.244.1.7/32", "10.244.1.8/32"];
const SLICES: &str = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices";

/// A server, its node, the pod `web` that serves on two ports, and the pod `idle` that does not.
async fn world() -> ApiServer {
    let server = server().await;
    let admin = server.admin();
    let node = json!({"metadata": {"name": "n"}, "spec": {"podCIDR": "10.244.1.0/24", "podCIDRs": ["10.244.1.0/24"]},
        "status": {"addresses": [{"type": "InternalIP", "address": "192.0.2.20"}]}});
    admin.create("/api/v1/nodes", &node).await.ok();
    let ports = json!([{"name": "web", "containerPort": 8080}, {"name": "safe", "containerPort": 8443}]);
    for (name, ip) in [("web", "10.244.1.7"), ("idle", "10.244.1.8"), ("stray", "10.244.2.7")] {
        let pod = json!({"metadata": {"name": name},
            "spec": {"nodeName": "n", "containers": [{"name": "c", "image": "i", "ports": ports}]}});
        admin.create(&core("pods"), &pod).await.ok();
        let status = json!({"status": {"phase": "Running", "podIP": ip, "podIPs": [{"ip": ip}]}});
        admin.patch(&core(&format!("pods/{name}/status")), "merge", &status).await.ok();
    }
    serve_as_pod("10.244.1.7:8080".parse().unwrap(), "plain", None).await;
    serve_as_pod("10.244.1.7:8443".parse().unwrap(), "safe", Some(pod_tls(&server))).await;
    server
}

/// A certificate that nobody here believes in, as pods have them.
fn pod_tls(server: &ApiServer) -> ServerConfig {
    let (chain, key) = identity(server, "somebody");
    ServerConfig::builder().with_no_client_auth().with_single_cert(chain, key).unwrap()
}

fn identity(server: &ApiServer, name: &str) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
    let pair = server.identity(name, &["system:masters"]);
    let chain = vec![CertificateDer::from_pem_slice(pair.cert_pem.as_bytes()).unwrap()];
    (chain, PrivateKeyDer::from_pem_slice(pair.key_pem.as_bytes()).unwrap())
}

#[test]
fn a_pod_is_asked_what_the_client_asked_and_its_answer_comes_back() {
    in_private_network(ADDRESSES, || async {
        let server = world().await;
        let admin = server.admin();
        for (name, from) in [
            ("web", "plain"),
            ("web:8080", "plain"),
            ("web:web", "plain"),
            ("http:web:8080", "plain"),
            ("https:web:8443", "safe"),
            ("https:web:safe", "safe"),
        ] {
            let path = core(&format!("pods/{name}/proxy/a/b%2Fc/"));
            let request = admin.request(Method::POST, &format!("{path}?x=1&y=%20z")).body("hello");
            let got = answer(request.header("authorization", "Bearer secret").header("x-mine", "1")).await;
            let said = String::from_utf8_lossy(&got.bytes).into_owned();
            assert_eq!((got.code, got.header("x-from")), (202, from), "{name}: {said}");
            assert!(said.starts_with("POST /a/b%2Fc/?x=1&y=%20z HTTP/1.1\r\n"), "{name}: {said}");
            assert!(said.contains("x-mine: 1") && said.contains(&format!("x-forwarded-uri: {path}")), "{name}: {said}");
            assert!(said.ends_with("\r\n\r\nhello"), "{name}: {said}");
            assert!(!said.contains("secret"), "what proves the client to us is not for pods: {said}");
            assert_eq!(got.header("access-control-allow-origin"), "", "{name}");
        }
    });
}

#[test]
fn redirects_of_a_pod_lead_through_the_proxy() {
    in_private_network(ADDRESSES, || async {
        let server = world().await;
        let admin = server.admin();
        for (path, wanted) in [
            // Without the slash, links in the page would lead beside the pod.
            ("pods/web:8080/proxy?x=2", "GET /?x=2 HTTP/1.1\r\n"),
            ("pods/web:8080/proxy/elsewhere", "GET /landed?x=1 HTTP/1.1\r\n"),
        ] {
            let got = admin.get(&core(path)).await;
            let said = String::from_utf8_lossy(&got.bytes).into_owned();
            assert!(got.code == 202 && said.starts_with(wanted), "{path}: {said}");
        }
    });
}

#[test]
fn a_pod_that_does_not_answer_or_is_not_where_it_says_is_told() {
    in_private_network(ADDRESSES, || async {
        let server = world().await;
        let admin = server.admin();
        let told = admin.get(&core("pods/idle:8080/proxy/")).await.failed(503);
        assert_eq!(told, "error trying to reach service: dial tcp 10.244.1.8:8080: connect: connection refused",);
        assert_eq!(admin.get(&core("pods/stray:8080/proxy/")).await.failed(400), "address not allowed");
        admin.get(&core("pods/gone:8080/proxy/")).await.failed(404);
        // Reading pods is one thing, talking to them another.
        server.user("somebody", &[]).get(&core("pods/web/proxy/")).await.failed(403);
        // Who speaks TLS only has to be asked for it.
        admin.get(&core("pods/http:web:8443/proxy/")).await.failed(503);
    });
}

#[test]
fn a_service_is_reached_at_a_ready_pod_by_the_name_and_the_number_of_its_port() {
    in_private_network(ADDRESSES, || async {
        let server = world().await;
        let admin = server.admin();
        let ports = json!([{"name": "http", "port": 80}, {"name": "https", "port": 443}]);
        admin.create(&core("services"), &json!({"metadata": {"name": "s"}, "spec": {"ports": ports}})).await.ok();
        let told = admin.get(&core("services/s:80/proxy/")).await.failed(503);
        assert_eq!(told, "no endpoints available for service \"s\"");
        let endpoint = |pod: &str, ip: &str, ready: bool| {
            json!({"addresses": [ip], "conditions": {"ready": ready}, "nodeName": "n",
                "targetRef": {"kind": "Pod", "namespace": "default", "name": pod}})
        };
        let slice = json!({"metadata": {"name": "s-1", "labels": {"kubernetes.io/service-name": "s"}},
            "addressType": "IPv4", "ports": [{"name": "http", "port": 8080}, {"name": "https", "port": 8443}],
            "endpoints": [endpoint("idle", "10.244.1.8", false), endpoint("web", "10.244.1.7", true),
                endpoint("gone", "10.244.1.9", true)]});
        admin.create(SLICES, &slice).await.ok();
        let is_known = |answer: &harness::Answer| answer.code == 202;
        admin.get_until(&core("services/s:80/proxy/"), is_known).await;
        for (name, from) in [
            ("s:80", "plain"),
            ("s:http", "plain"),
            ("http:s:80", "plain"),
            ("https:s:443", "safe"),
            ("https:s:https", "safe"),
        ] {
            // Were it for luck alone, one of these would go to a pod that is not ready or not there.
            for _ in 0..8 {
                let got = admin.get(&core(&format!("services/{name}/proxy/healthz?deep"))).await;
                let said = String::from_utf8_lossy(&got.bytes).into_owned();
                assert_eq!((got.code, got.header("x-from")), (202, from), "{name}: {said}");
                assert!(said.starts_with("GET /healthz?deep HTTP/1.1\r\n"), "{name}: {said}");
            }
        }
        let told = admin.get(&core("services/s:81/proxy/")).await.failed(503);
        assert_eq!(told, "no service port 81 found for service \"s\"");
        admin.get(&core("services/s:nothing/proxy/")).await.failed(503);
        server.user("somebody", &[]).get(&core("services/s:80/proxy/")).await.failed(403);
    });
}

/// A connection as a browser makes it, with the certificate of an administrator.
async fn dial(server: &ApiServer) -> TlsStream<TcpStream> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(server.path("ca.crt")).unwrap()).unwrap();
    let (chain, key) = identity(server, "kubernetes-admin");
    let config = ClientConfig::builder().with_root_certificates(roots).with_client_auth_cert(chain, key).unwrap();
    let stream = TcpStream::connect(("127.0.0.1", server.port())).await.unwrap();
    let name = ServerName::try_from("127.0.0.1").unwrap();
    TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap()
}

#[test]
fn a_pod_and_a_client_talk_over_a_websocket() {
    in_private_network(ADDRESSES, || async {
        let server = world().await;
        for name in ["web:8080", "https:web:8443"] {
            let url = format!("ws://127.0.0.1{}", core(&format!("pods/{name}/proxy/shout?x=1")));
            let (mut socket, _) = tokio_tungstenite::client_async(url, dial(&server).await).await.unwrap();
            for text in ["one", "two"] {
                socket.send(Message::text(text)).await.unwrap();
                assert_eq!(socket.next().await.unwrap().unwrap().into_text().unwrap(), text.to_uppercase(), "{name}");
            }
            socket.close(None).await.unwrap();
        }
        // A pod that speaks no WebSocket says so itself.
        let url = format!("ws://127.0.0.1{}", core("pods/web:8080/proxy/page"));
        let refused = tokio_tungstenite::client_async(url, dial(&server).await).await.unwrap_err();
        let Error::Http(answer) = refused else { panic!("{refused}") };
        assert_eq!((answer.status().as_u16(), &answer.headers()["x-from"]), (202, &"plain".parse().unwrap()));
        // Where nothing listens, the answer is a Status.
        let url = format!("ws://127.0.0.1{}", core("pods/idle:8080/proxy/shout"));
        let refused = tokio_tungstenite::client_async(url, dial(&server).await).await.unwrap_err();
        let Error::Http(answer) = refused else { panic!("{refused}") };
        let status: Value = serde_json::from_slice(answer.body().as_deref().unwrap_or_default()).unwrap_or_default();
        assert_eq!(answer.status().as_u16(), 500, "{status}");
    });
}
