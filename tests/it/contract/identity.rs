//! Who somebody is by a bearer token that the cluster has not signed: bootstrap tokens, the token file, `OpenID` Connect.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use harness::{Answer, ApiServer, Caller, PATIENCE, answer};
use jiff::Timestamp;
use pki::jwt::TokenSigner;
use pki::{CertificateAuthority, KeyPair, LeafRequest, SubjectAltName, Usage};
use reqwest::Method;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

const SECRETS: &str = "/api/v1/namespaces/kube-system/secrets";
const DAY: Duration = Duration::from_hours(24);

/// Asks the server whom it takes the bearer of a token for.
async fn who(nobody: &Caller, token: &str) -> Answer {
    let review = nobody.request(Method::POST, "/apis/authentication.k8s.io/v1/selfsubjectreviews");
    let review = review.header("authorization", format!("Bearer {token}")).header("content-type", "application/json");
    answer(review.body("{}")).await
}

/// The user a token is good for.
async fn user(nobody: &Caller, token: &str) -> Value {
    who(nobody, token).await.ok()["status"]["userInfo"].clone()
}

/// Asks until the answer has this code, for what the server learns a moment later.
async fn comes_to(nobody: &Caller, token: &str, code: u16, patience: Duration) {
    let deadline = Instant::now() + patience;
    loop {
        let told = who(nobody, token).await;
        if told.code == code {
            return;
        }
        assert!(Instant::now() < deadline, "still {} instead of {code}: {}", told.code, told.body);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn bootstrap_secret(id: &str, changes: &[(&str, &str)]) -> Value {
    let mut data = json!({
        "token-id": id, "token-secret": "0123456789abcdef", "usage-bootstrap-authentication": "true",
        "auth-extra-groups": "system:bootstrappers:kubeadm:default-node-token",
    });
    for (key, value) in changes {
        data[key] = json!(value);
    }
    json!({"metadata": {"name": format!("bootstrap-token-{id}")}, "type": "bootstrap.kubernetes.io/token", "stringData": data})
}

#[tokio::test]
async fn a_bootstrap_token_is_good_for_what_its_secret_says_and_while_it_is_there() {
    let server = crate::server().await;
    let (admin, nobody) = (server.admin(), server.anonymous());
    let later = (Timestamp::now() + Duration::from_hours(1)).to_string();
    let earlier = "2020-01-01T00:00:00Z";
    admin.create(SECRETS, &bootstrap_secret("aaaaaa", &[("expiration", &later)])).await.ok();
    comes_to(&nobody, "aaaaaa.0123456789abcdef", 201, PATIENCE).await;
    let told = user(&nobody, "aaaaaa.0123456789abcdef").await;
    assert_eq!(told["username"], "system:bootstrap:aaaaaa");
    let groups =
        json!(["system:bootstrappers", "system:bootstrappers:kubeadm:default-node-token", "system:authenticated"]);
    assert_eq!(told["groups"], groups);

    for (id, changes) in [
        ("bbbbbb", &[("expiration", earlier)][..]),
        ("cccccc", &[("usage-bootstrap-authentication", "false"), ("usage-bootstrap-signing", "true")]),
        ("dddddd", &[("auth-extra-groups", "system:masters")]),
        ("eeeeee", &[("token-id", "ffffff")]),
        ("gggggg", &[("expiration", "tomorrow")]),
    ] {
        admin.create(SECRETS, &bootstrap_secret(id, changes)).await.ok();
    }
    let mut opaque = bootstrap_secret("hhhhhh", &[]);
    opaque["type"] = json!("Opaque");
    admin.create(SECRETS, &opaque).await.ok();
    admin.create(&harness::core("secrets"), &bootstrap_secret("iiiiii", &[])).await.ok();
    // The last one made is known: so are those before it.
    admin.create(SECRETS, &bootstrap_secret("jjjjjj", &[])).await.ok();
    comes_to(&nobody, "jjjjjj.0123456789abcdef", 201, PATIENCE).await;
    for id in ["bbbbbb", "cccccc", "dddddd", "eeeeee", "ffffff", "gggggg", "hhhhhh", "iiiiii"] {
        who(&nobody, &format!("{id}.0123456789abcdef")).await.failed(401);
    }
    for wrong in ["aaaaaa.0123456789abcdee", "aaaaaa.", "aaaaaa.0123456789abcdef0", "AAAAAA.0123456789abcdef"] {
        who(&nobody, wrong).await.failed(401);
    }
    admin.delete(&format!("{SECRETS}/bootstrap-token-aaaaaa")).await.ok();
    comes_to(&nobody, "aaaaaa.0123456789abcdef", 401, PATIENCE).await;
}

#[tokio::test]
async fn bootstrap_tokens_are_nothing_where_they_are_switched_off() {
    let server = ApiServer::start_with(crate::PROGRAM, &["--enable-bootstrap-token-auth=false"]).await;
    server.admin().create(SECRETS, &bootstrap_secret("aaaaaa", &[])).await.ok();
    // The server knows the secret by now.
    server.admin().get(&format!("{SECRETS}/bootstrap-token-aaaaaa")).await.ok();
    who(&server.anonymous(), "aaaaaa.0123456789abcdef").await.failed(401);
}

#[tokio::test]
async fn a_token_of_the_file_is_its_user_with_uid_and_groups() {
    let files = tempfile::tempdir().unwrap();
    let tokens = files.path().join("tokens.csv");
    std::fs::write(&tokens, "one,ann,7,\"dev,ops\"\ntwo,bob,8\n").unwrap();
    let flag = format!("--token-auth-file={}", tokens.display());
    let server = ApiServer::start_with(crate::PROGRAM, &[&flag]).await;
    let nobody = server.anonymous();
    let ann = user(&nobody, "one").await;
    assert_eq!((&ann["username"], &ann["uid"]), (&json!("ann"), &json!("7")));
    assert_eq!(ann["groups"], json!(["dev", "ops", "system:authenticated"]));
    assert_eq!(user(&nobody, "two").await["groups"], json!(["system:authenticated"]));
    for wrong in ["on", "onee", "ann", "one,ann", "three"] {
        who(&nobody, wrong).await.failed(401);
    }
    // A known user may do what he may, and no more.
    let request = nobody.request(Method::GET, &harness::core("secrets")).header("authorization", "Bearer one");
    answer(request).await.failed(403);
}

/// An issuer of identity tokens on loopback, with discovery and keys over TLS.
struct Issuer {
    url: String,
    /// The keys it publishes.
    published: Arc<Mutex<Value>>,
    authority: CertificateAuthority,
    serving: JoinHandle<()>,
}

impl Issuer {
    async fn start(signer: &TokenSigner) -> Self {
        let authority = CertificateAuthority::generate("issuer", Timestamp::now(), DAY).unwrap();
        let request = LeafRequest {
            common_name: "issuer".to_owned(),
            organizations: Vec::new(),
            sans: vec![SubjectAltName::parse("127.0.0.1")],
            usages: vec![Usage::ServerAuth],
            lifetime: DAY,
        };
        let pair = authority.issue(&request, Timestamp::now()).unwrap();
        let chain = vec![CertificateDer::from_pem_slice(pair.cert_pem.as_bytes()).unwrap()];
        let key = PrivateKeyDer::from_pem_slice(pair.key_pem.as_bytes()).unwrap();
        let _ = rustls::crypto::ring::default_provider().install_default();
        let tls = ServerConfig::builder().with_no_client_auth().with_single_cert(chain, key).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://{}", listener.local_addr().unwrap());
        let published = Arc::new(Mutex::new(keys_of(signer)));
        let serving = tokio::spawn(serve(listener, TlsAcceptor::from(Arc::new(tls)), url.clone(), published.clone()));
        Self { url, published, authority, serving }
    }

    fn publish(&self, signer: &TokenSigner) {
        *self.published.lock().unwrap() = keys_of(signer);
    }
}

impl Drop for Issuer {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

fn keys_of(signer: &TokenSigner) -> Value {
    json!({"keys": [signer.verification_key().unwrap().to_jwk()]})
}

async fn serve(listener: TcpListener, acceptor: TlsAcceptor, url: String, published: Arc<Mutex<Value>>) {
    while let Ok((stream, _)) = listener.accept().await {
        let Ok(mut stream) = acceptor.accept(stream).await else { continue };
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            match stream.read_u8().await {
                Ok(byte) => head.push(byte),
                Err(_) => break,
            }
        }
        let head = String::from_utf8_lossy(&head);
        let (code, body) = match head.split_whitespace().nth(1).unwrap_or_default() {
            "/.well-known/openid-configuration" => (200, json!({"issuer": url, "jwks_uri": format!("{url}/keys")})),
            "/keys" => (200, published.lock().unwrap().clone()),
            _ => (404, json!({})),
        };
        let body = body.to_string();
        let head = format!("HTTP/1.1 {code} x\r\ncontent-type: application/json\r\nconnection: close");
        let whole = format!("{head}\r\ncontent-length: {}\r\n\r\n{body}", body.len());
        let _ = stream.write_all(whole.as_bytes()).await;
        let _ = stream.shutdown().await;
    }
}

fn signer() -> TokenSigner {
    TokenSigner::new(KeyPair::generate().unwrap()).unwrap()
}

/// A token that is good, but for what is changed.
fn token(signer: &TokenSigner, issuer: &Issuer, changes: &Value) -> String {
    let now = Timestamp::now().as_second();
    let mut claims = json!({
        "iss": issuer.url, "aud": "the-cluster", "sub": "1234", "exp": now + 600, "iat": now,
        "login": "ann", "teams": ["dev", "ops"], "tenant": "blue",
    });
    for (claim, value) in changes.as_object().unwrap() {
        claims[claim] = value.clone();
    }
    signer.sign(claims.to_string().as_bytes()).unwrap()
}

#[tokio::test]
async fn a_token_of_an_issuer_is_its_user_and_only_while_all_of_it_fits() {
    let (first, second) = (signer(), signer());
    let issuer = Issuer::start(&first).await;
    let files = tempfile::tempdir().unwrap();
    let ca = files.path().join("issuer.crt");
    std::fs::write(&ca, issuer.authority.cert_pem()).unwrap();
    let server = ApiServer::start_with(
        crate::PROGRAM,
        &[
            &format!("--oidc-issuer-url={}", issuer.url),
            "--oidc-client-id=the-cluster",
            &format!("--oidc-ca-file={}", ca.display()),
            "--oidc-signing-algs=ES256",
            "--oidc-username-claim=login",
            "--oidc-username-prefix=oidc:",
            "--oidc-groups-claim=teams",
            "--oidc-groups-prefix=team-",
            "--oidc-required-claim=tenant=blue",
        ],
    )
    .await;
    let nobody = server.anonymous();
    let good = token(&first, &issuer, &json!({}));
    let ann = user(&nobody, &good).await;
    assert_eq!(ann["username"], "oidc:ann");
    assert_eq!(ann["groups"], json!(["team-dev", "team-ops", "system:authenticated"]));
    let many = user(&nobody, &token(&first, &issuer, &json!({"aud": ["other", "the-cluster"], "teams": "dev"}))).await;
    assert_eq!(many["groups"], json!(["team-dev", "system:authenticated"]));
    for (what, wrong) in [
        ("for somebody else", token(&first, &issuer, &json!({"aud": "other"}))),
        ("for nobody", token(&first, &issuer, &json!({"aud": []}))),
        ("that has ended", token(&first, &issuer, &json!({"exp": 1_000_000_000}))),
        ("without an end", token(&first, &issuer, &json!({"exp": null}))),
        ("that begins later", token(&first, &issuer, &json!({"nbf": 9_000_000_000_i64}))),
        ("of another issuer", token(&first, &issuer, &json!({"iss": "https://127.0.0.1:1"}))),
        ("without a user", token(&first, &issuer, &json!({"login": null}))),
        ("of another tenant", token(&first, &issuer, &json!({"tenant": "green"}))),
        ("signed by somebody else", token(&second, &issuer, &json!({}))),
        ("with another signature", format!("{}x", &good[..good.len() - 1])),
    ] {
        let code = who(&nobody, &wrong).await.code;
        assert_eq!(code, 401, "a token {what}");
    }
    // The issuer takes a new key: its tokens are good once the server has asked anew, those of the old key no more.
    issuer.publish(&second);
    comes_to(&nobody, &token(&second, &issuer, &json!({})), 201, PATIENCE).await;
    who(&nobody, &good).await.failed(401);
}
