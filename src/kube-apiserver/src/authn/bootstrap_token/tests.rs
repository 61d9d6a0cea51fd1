use serde_json::json;

use super::*;
use crate::authn::lookup::fake::FakeLookup;

const TOKEN: &str = "abcdef.0123456789abcdef";

fn secret(change: impl FnOnce(&mut serde_json::Map<String, serde_json::Value>)) -> FakeLookup {
    let mut data = json!({
        "token-id": "abcdef", "token-secret": "0123456789abcdef", "usage-bootstrap-authentication": "true",
        "expiration": "2026-12-01T00:00:00Z", "auth-extra-groups": "system:bootstrappers:kubeadm:default-node-token",
    });
    change(data.as_object_mut().unwrap());
    for (_, value) in data.as_object_mut().unwrap() {
        *value = json!(STANDARD.encode(value.as_str().unwrap()));
    }
    let object = json!({
        "kind": "Secret", "metadata": {"name": "bootstrap-token-abcdef", "namespace": NAMESPACE},
        "type": TYPE, "data": data,
    });
    FakeLookup::default().with("secrets", serde_json::from_value(object).unwrap())
}

async fn ask(token: &str, lookup: &FakeLookup) -> Option<User> {
    user(token, "2026-11-22T00:00:00Z".parse().unwrap(), lookup).await
}

#[tokio::test]
async fn good_token_is_a_bootstrapper() {
    let user = ask(TOKEN, &secret(|_| {})).await.unwrap();
    assert_eq!(user.name, "system:bootstrap:abcdef");
    assert_eq!(user.groups, [GROUP, "system:bootstrappers:kubeadm:default-node-token"]);
}

#[tokio::test]
async fn wrong_tokens_are_nobody() {
    let lookup = secret(|_| {});
    for token in
        ["", "abcdef", "abcdef.", "abcdef.0123456789abcdee", "ABCDEF.0123456789abcdef", "ghijkl.0123456789abcdef"]
    {
        assert!(ask(token, &lookup).await.is_none(), "{token}");
    }
    for (key, value) in [
        ("expiration", "2026-11-01T00:00:00Z"),
        ("expiration", "soon"),
        ("usage-bootstrap-authentication", "false"),
        ("token-secret", ""),
        ("token-id", "other0"),
        ("auth-extra-groups", "system:masters"),
        ("auth-extra-groups", "system:bootstrappers:x,system:masters"),
    ] {
        let lookup = secret(|data| {
            data.insert(key.into(), json!(value));
        });
        assert!(ask(TOKEN, &lookup).await.is_none(), "{key}={value}");
    }
}
