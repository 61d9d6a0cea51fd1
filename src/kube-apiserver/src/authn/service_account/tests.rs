use pki::KeyPair;
use pki::jwt::TokenSigner;
use serde_json::json;

use super::*;
use crate::authn::lookup::fake::FakeLookup;

const ISSUER: &str = "https://kubernetes.default.svc.cluster.local";

struct World {
    signer: TokenSigner,
    tokens: ServiceAccountTokens,
    lookup: FakeLookup,
}

fn object(kind: &str, namespace: &str, name: &str, uid: &str) -> Object {
    let value = json!({"kind": kind, "metadata": {"name": name, "namespace": namespace, "uid": uid}});
    serde_json::from_value(value).unwrap()
}

fn world() -> World {
    let signer = TokenSigner::new(KeyPair::generate().unwrap()).unwrap();
    let key = signer.verification_key().unwrap();
    let lookup = FakeLookup::default()
        .with("serviceaccounts", object("ServiceAccount", "blue", "robot", "sa-1"))
        .with("pods", object("Pod", "blue", "web", "pod-1"));
    World { signer, tokens: ServiceAccountTokens::new(vec![ISSUER.into()], Vec::new(), vec![key]), lookup }
}

fn claims() -> Claims {
    let now = Timestamp::now().as_second();
    Claims {
        aud: vec![ISSUER.into()],
        exp: now + 600,
        iat: now,
        nbf: now,
        iss: ISSUER.into(),
        jti: "id-1".into(),
        sub: "system:serviceaccount:blue:robot".into(),
        kubernetes: Some(KubernetesClaims {
            namespace: "blue".into(),
            serviceaccount: Bound { name: "robot".into(), uid: "sa-1".into() },
            pod: Some(Bound { name: "web".into(), uid: "pod-1".into() }),
            node: Some(Bound { name: "n1".into(), uid: "node-1".into() }),
            ..KubernetesClaims::default()
        }),
    }
}

impl World {
    fn sign(&self, claims: &Claims) -> String {
        self.signer.sign(&serde_json::to_vec(claims).unwrap()).unwrap()
    }

    async fn ask(&self, token: &str) -> Option<TokenOwner> {
        self.tokens.authenticate(token, self.tokens.audiences(), &self.lookup).await
    }
}

#[tokio::test]
async fn bound_token_names_account_pod_and_node() {
    let world = world();
    let owner = world.ask(&world.sign(&claims())).await.unwrap();
    assert_eq!(owner.user.name, "system:serviceaccount:blue:robot");
    assert_eq!(owner.user.uid, "sa-1");
    assert_eq!(owner.user.groups, ["system:serviceaccounts", "system:serviceaccounts:blue"]);
    let extra = |key: &str| owner.user.extra[&format!("authentication.kubernetes.io/{key}")].join(",");
    assert_eq!(
        (extra("pod-name"), extra("node-uid"), extra("credential-id")),
        ("web".into(), "node-1".into(), "JTI=id-1".into())
    );
    assert_eq!(owner.audiences, [ISSUER]);
}

#[tokio::test]
async fn claims_that_do_not_hold_are_refused() {
    let world = world();
    let now = Timestamp::now().as_second();
    let wrong = [
        ("expired", Claims { exp: now - 1, ..claims() }),
        ("without an end", Claims { exp: 0, ..claims() }),
        ("not yet begun", Claims { nbf: now + 120, ..claims() }),
        ("from the future", Claims { iat: now + 120, ..claims() }),
        ("for others", Claims { aud: vec!["vault".into()], ..claims() }),
        ("for nobody", Claims { aud: vec![], ..claims() }),
        ("from others", Claims { iss: "https://elsewhere".into(), ..claims() }),
        ("of another subject", Claims { sub: "system:serviceaccount:blue:root".into(), ..claims() }),
    ];
    for (what, claims) in wrong {
        assert!(world.ask(&world.sign(&claims)).await.is_none(), "{what}");
    }
}

#[tokio::test]
async fn objects_that_are_not_the_same_any_more_are_refused() {
    let world = world();
    let facts = |change: fn(&mut KubernetesClaims)| {
        let mut claims = claims();
        change(claims.kubernetes.as_mut().unwrap());
        claims
    };
    let wrong = [
        ("without facts", Claims { kubernetes: None, ..claims() }),
        ("of a new account", facts(|facts| facts.serviceaccount.uid = "sa-2".into())),
        ("without the account's uid", facts(|facts| facts.serviceaccount.uid = String::new())),
        ("of a new pod", facts(|facts| facts.pod.as_mut().unwrap().uid = "pod-2".into())),
        ("of a gone pod", facts(|facts| facts.pod.as_mut().unwrap().name = "gone".into())),
        (
            "of a gone secret",
            facts(|facts| {
                facts.secret = Some(Bound { name: "s".into(), uid: "s-1".into() });
            }),
        ),
        ("of a gone node", facts(|facts| facts.pod = None)),
        ("of another namespace", facts(|facts| facts.namespace = "red".into())),
    ];
    for (what, claims) in wrong {
        assert!(world.ask(&world.sign(&claims)).await.is_none(), "{what}");
    }
}

#[tokio::test]
async fn forged_claims_under_a_known_signature_are_refused() {
    let world = world();
    let token = world.sign(&claims());
    assert!(world.ask(&token).await.is_some(), "and now it is remembered");
    let other = world.sign(&Claims { sub: "system:serviceaccount:kube-system:admin".into(), ..claims() });
    let parts: Vec<&str> = token.split('.').collect();
    let forged_claims = other.split('.').nth(1).unwrap();
    assert!(world.ask(&format!("{}.{forged_claims}.{}", parts[0], parts[2])).await.is_none());
    let none = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(r#"{"alg":"none"}"#);
    assert!(world.ask(&format!("{none}.{}.", parts[1])).await.is_none());
    assert!(world.ask(&format!("{none}.{}.{}", parts[1], parts[2])).await.is_none());
    let stranger = self::world();
    assert!(world.ask(&stranger.sign(&claims())).await.is_none());
}

#[tokio::test]
async fn remembered_token_is_still_refused_for_other_audiences() {
    let world = world();
    let token = world.sign(&claims());
    assert!(world.ask(&token).await.is_some());
    assert!(world.tokens.authenticate(&token, &["vault".into()], &world.lookup).await.is_none());
}

#[tokio::test]
async fn token_of_a_secret_must_still_stand_there() {
    let world = world();
    let claims = json!({
        "iss": LEGACY_ISSUER, "sub": "system:serviceaccount:blue:robot",
        "kubernetes.io/serviceaccount/namespace": "blue", "kubernetes.io/serviceaccount/secret.name": "robot-token",
        "kubernetes.io/serviceaccount/service-account.name": "robot", "kubernetes.io/serviceaccount/service-account.uid": "sa-1",
    });
    let token = world.signer.sign(&serde_json::to_vec(&claims).unwrap()).unwrap();
    assert!(world.ask(&token).await.is_none(), "no secret");
    let mut secret = object("Secret", "blue", "robot-token", "s-1");
    secret.set_at(&["data", "token"], STANDARD.encode(&token));
    let World { signer, tokens, lookup } = world;
    let world = World { signer, tokens, lookup: lookup.with("secrets", secret) };
    assert_eq!(world.ask(&token).await.unwrap().user.name, "system:serviceaccount:blue:robot");
}
