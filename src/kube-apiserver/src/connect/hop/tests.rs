use super::*;

#[test]
fn credentials_and_hop_by_hop_headers_stay_here() {
    let mut from = HeaderMap::new();
    for (name, value) in [
        ("authorization", "Bearer secret"),
        ("cookie", "secret"),
        ("impersonate-user", "root"),
        ("x-remote-user", "root"),
        ("connection", "Upgrade, X-Private"),
        ("x-private", "secret"),
        ("upgrade", "SPDY/3.1"),
        ("transfer-encoding", "chunked"),
        ("host", "api"),
        ("accept", "text/plain"),
        ("x-stream-protocol-version", "v4.channel.k8s.io"),
        ("sec-websocket-protocol", "base64url.bearer.authorization.k8s.io.c2VjcmV0, v4.channel.k8s.io"),
    ] {
        from.append(name, HeaderValue::from_static(value));
    }
    let mut to = HeaderMap::new();
    pass_on(&from, &mut to);
    let mut left: Vec<String> = to.iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect();
    left.sort();
    assert_eq!(
        left,
        [
            "accept: text/plain",
            "sec-websocket-protocol: v4.channel.k8s.io",
            "x-stream-protocol-version: v4.channel.k8s.io"
        ]
    );
}
