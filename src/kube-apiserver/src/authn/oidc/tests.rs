use std::convert::Infallible;
use std::sync::Arc;
use std::sync::Mutex;

use component_base::serving::Listener;
use component_base::tls::{self, TlsFiles};
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use pki::jwt::TokenSigner;
use pki::{CertificateAuthority, KeyPair, LeafRequest, SubjectAltName, Usage};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::authn::configuration::{ClaimRule, IssuerConfig, Mapping, Mappings};

const DAY: std::time::Duration = std::time::Duration::from_hours(24);

/// An issuer on loopback.
struct Issuer {
    url: String,
    authority: String,
    signer: TokenSigner,
    keys: Arc<Mutex<Value>>,
    asked: Arc<Mutex<u32>>,
    _stop: tokio_util::sync::DropGuard,
}

impl Issuer {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let authority = CertificateAuthority::generate("issuer", Timestamp::now(), DAY).unwrap();
        let request = LeafRequest {
            common_name: "issuer".to_owned(),
            organizations: Vec::new(),
            sans: vec![SubjectAltName::parse("127.0.0.1")],
            usages: vec![Usage::ServerAuth],
            lifetime: DAY,
        };
        let pair = authority.issue(&request, Timestamp::now()).unwrap();
        let (cert, key) = (folder.path().join("crt"), folder.path().join("key"));
        std::fs::write(&cert, pair.cert_pem).unwrap();
        std::fs::write(&key, pair.key_pem).unwrap();
        let config = tls::server_config(TlsFiles { cert, key, client_ca: None }).unwrap();
        let listener = Listener::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let url = format!("https://{}", listener.address());
        let signer = TokenSigner::new(KeyPair::generate().unwrap()).unwrap();
        let keys = Arc::new(Mutex::new(json!({"keys": [signer.verification_key().unwrap().to_jwk()]})));
        let asked = Arc::new(Mutex::new(0));
        let (own, published, count) = (url.clone(), Arc::clone(&keys), Arc::clone(&asked));
        let service = service_fn(move |request: Request<Incoming>| {
            let answer = if request.uri().path() == "/keys" {
                *count.lock().unwrap() += 1;
                published.lock().unwrap().clone()
            } else {
                json!({"issuer": own, "jwks_uri": format!("{own}/keys")})
            };
            async move { Ok::<_, Infallible>(Response::new(Full::new(bytes::Bytes::from(answer.to_string())))) }
        });
        let stop = CancellationToken::new();
        tokio::spawn(listener.serve_https(config, service, stop.clone()));
        let authority = authority.cert_pem().to_owned();
        Self { url, authority, signer, keys, asked, _stop: stop.drop_guard() }
    }

    fn config(&self) -> JwtConfig {
        JwtConfig {
            issuer: IssuerConfig {
                url: self.url.clone(),
                certificate_authority: Some(self.authority.clone()),
                audiences: vec!["cluster".to_owned()],
                discovery_url: None,
                audience_match_policy: None,
                algorithms: Vec::new(),
            },
            claim_validation_rules: vec![ClaimRule { claim: "hd".to_owned(), required_value: "example".to_owned() }],
            claim_mappings: Mappings {
                username: Mapping { claim: "email".to_owned(), prefix: "oidc:".to_owned() },
                groups: Some(Mapping { claim: "roles".to_owned(), prefix: "oidc:".to_owned() }),
                uid: None,
            },
        }
    }

    fn claims(&self) -> Value {
        let now = Timestamp::now().as_second();
        json!({
            "iss": self.url, "aud": ["other", "cluster"], "exp": now + 60, "nbf": now, "sub": "1",
            "email": "alice@example", "roles": ["dev", "ops"], "hd": "example",
        })
    }

    fn token(&self, change: impl FnOnce(&mut Value)) -> String {
        let mut claims = self.claims();
        change(&mut claims);
        self.signer.sign(claims.to_string().as_bytes()).unwrap()
    }
}

#[tokio::test]
async fn a_token_of_the_issuer_names_a_user_with_groups() {
    let issuer = Issuer::start().await;
    let oidc = Oidc::new(issuer.config()).unwrap();
    let token = issuer.token(|_| {});
    assert_eq!(issuer_of(&token), Some(issuer.url.clone()));
    let user = oidc.user(&token).await.unwrap();
    assert_eq!(
        (user.name.as_str(), &user.groups[..]),
        ("oidc:alice@example", &["oidc:dev".to_owned(), "oidc:ops".to_owned()][..])
    );
    for _ in 0..5 {
        assert!(oidc.user(&token).await.is_some());
    }
    assert_eq!(*issuer.asked.lock().unwrap(), 1, "keys are kept");
}

#[tokio::test]
async fn a_token_that_is_wrong_in_any_way_names_nobody() {
    let issuer = Issuer::start().await;
    let oidc = Oidc::new(issuer.config()).unwrap();
    let now = Timestamp::now().as_second();
    let wrong = [
        issuer.token(|claims| claims["aud"] = json!("elsewhere")),
        issuer.token(|claims| claims["iss"] = json!("https://other")),
        issuer.token(|claims| claims["exp"] = json!(now - 1)),
        issuer.token(|claims| drop(claims.as_object_mut().unwrap().remove("exp"))),
        issuer.token(|claims| claims["nbf"] = json!(now + 1000)),
        issuer.token(|claims| claims["hd"] = json!("elsewhere")),
        issuer.token(|claims| claims["email_verified"] = json!(false)),
        issuer.token(|claims| claims["email"] = json!("")),
    ];
    for (index, token) in wrong.iter().enumerate() {
        assert_eq!(oidc.user(token).await, None, "{index}");
    }
    let forged = TokenSigner::new(KeyPair::generate().unwrap()).unwrap();
    assert_eq!(oidc.user(&forged.sign(issuer.claims().to_string().as_bytes()).unwrap()).await, None);
    let whole = issuer.token(|_| {});
    let (head, signature) = whole.rsplit_once('.').unwrap();
    let other = issuer.token(|claims| claims["email"] = json!("eve@example"));
    let (other_head, _) = other.rsplit_once('.').unwrap();
    assert_eq!(oidc.user(&format!("{other_head}.{signature}")).await, None);
    assert_eq!(oidc.user(&format!("{head}.")).await, None);
    assert_eq!(*issuer.asked.lock().unwrap(), 1, "wrong tokens are no reason to ask again and again");
}

#[tokio::test]
async fn an_issuer_that_names_another_one_is_not_believed() {
    let issuer = Issuer::start().await;
    let mut config = issuer.config();
    let token = issuer.token(|_| {});
    config.issuer.url = format!("{}/tenant", issuer.url);
    assert_eq!(Oidc::new(config).unwrap().user(&token).await, None);
    // Nor one whose certificate is of another authority.
    let mut config = issuer.config();
    config.issuer.certificate_authority = Some(Issuer::start().await.authority);
    assert_eq!(Oidc::new(config).unwrap().user(&token).await, None);
    *issuer.keys.lock().unwrap() = json!({"keys": [{"kty": "oct", "k": "AAAA"}]});
    assert_eq!(Oidc::new(issuer.config()).unwrap().user(&token).await, None);
}

#[test]
fn anonymous_access_may_be_limited_to_paths() {
    let text = "{enabled: true, conditions: [{path: /livez}, {path: /readyz}]}";
    let anonymous: crate::authn::configuration::Anonymous = serde_saphyr::from_str(text).unwrap();
    assert!(anonymous.allows("/livez") && anonymous.allows("/readyz"));
    assert!(!anonymous.allows("/livez/etcd") && !anonymous.allows("/api"));
}
