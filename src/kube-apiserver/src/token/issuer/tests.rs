use apimachinery::Object;
use pki::KeyPair;
use serde_json::json;

use super::*;
use crate::authn::lookup::fake::FakeLookup;
use crate::authn::service_account::{Bound, ServiceAccountTokens};

const NAME: &str = "https://k";

fn issuer() -> Issuer {
    let signer = TokenSigner::new(KeyPair::generate().unwrap()).unwrap();
    Issuer::new(signer, NAME.into(), &[NAME.into()])
}

fn facts() -> KubernetesClaims {
    let serviceaccount = Bound { name: "robot".into(), uid: "sa-1".into() };
    KubernetesClaims { namespace: "blue".into(), serviceaccount, ..KubernetesClaims::default() }
}

fn end(token: &str) -> i64 {
    let claims: Claims = serde_json::from_slice(&pki::jwt::unverified_claims(token).unwrap()).unwrap();
    claims.exp
}

#[tokio::test]
async fn issued_token_authenticates() {
    let issuer = issuer();
    let lifetime = Lifetime { seconds: 600, pod: false };
    let made = issuer.issue(facts(), issuer.audiences(), lifetime, Timestamp::now()).unwrap();
    let account: Object =
        serde_json::from_value(json!({"metadata": {"name": "robot", "namespace": "blue", "uid": "sa-1"}})).unwrap();
    let lookup = FakeLookup::default().with("serviceaccounts", account);
    let key = issuer.signer.get().verification_key().unwrap();
    let tokens = ServiceAccountTokens::new(vec![NAME.into()], Vec::new(), vec![key]);
    let owner = tokens.authenticate(&made.token, issuer.audiences(), &lookup).await.unwrap();
    assert_eq!(owner.user.name, "system:serviceaccount:blue:robot");
}

#[test]
fn lifetime_is_cut_and_extended_as_configured() {
    let now: Timestamp = "2026-11-22T00:00:00Z".parse().unwrap();
    let mut issuer = issuer();
    let issue = |issuer: &Issuer, seconds, pod, audience: &str| {
        let made = issuer.issue(facts(), &[audience.into()], Lifetime { seconds, pod }, now).unwrap();
        (made.seconds, end(&made.token) - now.as_second())
    };
    issuer.longest = Some(7200);
    assert_eq!(issue(&issuer, 100_000, false, NAME), (7200, 7200));
    issuer.extend = true;
    assert_eq!(issue(&issuer, POD_SECONDS, true, NAME), (POD_SECONDS, EXTENDED_SECONDS));
    assert_eq!(issue(&issuer, POD_SECONDS, false, NAME), (POD_SECONDS, POD_SECONDS));
    assert_eq!(issue(&issuer, POD_SECONDS, true, "vault"), (POD_SECONDS, POD_SECONDS));
}
