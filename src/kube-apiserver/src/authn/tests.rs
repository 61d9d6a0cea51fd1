use http::Request;

use super::*;
use lookup::fake::FakeLookup;

fn authenticator(anonymous: bool) -> Authenticator {
    Authenticator {
        anonymous: Anonymous::always(anonymous),
        issuers: Vec::new(),
        certificates: None,
        proxies: None,
        tokens: None,
        bootstrap_tokens: false,
        service_accounts: ServiceAccountTokens::new(vec!["https://k".into()], Vec::new(), Vec::new()),
        lookup: Box::new(FakeLookup::default()),
    }
}

fn request(headers: &[&str]) -> Parts {
    let mut request = Request::builder().uri("/api");
    for header in headers {
        request = request.header(AUTHORIZATION, *header);
    }
    request.body(()).unwrap().into_parts().0
}

#[tokio::test]
async fn nobody_is_anonymous_only_if_allowed() {
    let user = authenticator(true).authenticate(&request(&[])).await.unwrap();
    assert_eq!(
        (user.name.as_str(), user.groups.as_slice()),
        ("system:anonymous", &["system:unauthenticated".to_owned()][..])
    );
    assert_eq!(authenticator(false).authenticate(&request(&[])).await.unwrap_err().code(), 401);
}

#[tokio::test]
async fn wrong_credentials_never_fall_back_to_anonymous() {
    for headers in [
        &["Bearer"][..],
        &["Bearer "],
        &["Bearer    "],
        &["bearer x"],
        &["Bearer a b"],
        &["Bearer a.b.c"],
        &["Bearer a.b."],
        &["Bearer x", "Bearer y"],
    ] {
        let refused = authenticator(true).authenticate(&request(headers)).await;
        assert_eq!(refused.unwrap_err().code(), 401, "{headers:?}");
    }
}
