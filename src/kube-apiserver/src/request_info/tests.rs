use super::*;

/// Checks the verb and `group/version namespace resource/sub name` of a request.
fn check(method: &str, target: &str, verb: &str, expected: &str) {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let method = Method::from_bytes(method.as_bytes()).unwrap();
    let info = RequestInfo::parse(&method, path, query);
    let seen = format!("{} {} {} {}", info.api_version(), info.namespace, info.full_resource(), info.name);
    assert_eq!((info.verb.as_str(), seen.as_str()), (verb, expected), "{method} {target}");
}

#[test]
fn reads_collections_and_objects() {
    check("GET", "/api/v1/namespaces", "list", "v1  namespaces ");
    check("GET", "/api/v1/namespaces/a", "get", "v1 a namespaces a");
    check("PUT", "/api/v1/namespaces/a/finalize", "update", "v1 a namespaces/finalize a");
    check("GET", "/api/v1/namespaces/a/pods", "list", "v1 a pods ");
    check("GET", "/api/v1/namespaces/a/pods?watch=true", "watch", "v1 a pods ");
    check("GET", "/api/v1/watch/namespaces/a/pods", "watch", "v1 a pods ");
    check("DELETE", "/api/v1/namespaces/a/pods", "deletecollection", "v1 a pods ");
    check("POST", "/api/v1/namespaces/a/pods/p/binding", "create", "v1 a pods/binding p");
    check("PATCH", "/apis/apps/v1/namespaces/a/deployments/d/scale", "patch", "apps/v1 a deployments/scale d");
    check("HEAD", "/api/v1/nodes/n", "get", "v1  nodes n");
}

#[test]
fn decodes_escaped_names() {
    check(
        "GET",
        "/apis/rbac.authorization.k8s.io/v1/clusterroles/system%3Anode",
        "get",
        "rbac.authorization.k8s.io/v1  clusterroles system:node",
    );
}

#[test]
fn a_field_selector_on_the_name_is_seen_by_authorization() {
    check("GET", "/api/v1/namespaces/a/pods?fieldSelector=metadata.name%3Dp", "list", "v1 a pods p");
    check("GET", "/api/v1/pods?watch=1&fieldSelector=metadata.name%3D%3Dp", "watch", "v1  pods p");
}

#[test]
fn what_is_no_resource_keeps_its_method() {
    for path in ["/healthz", "/api", "/api/v1", "/apis/apps", "/apis/apps/v1", "/version"] {
        let info = RequestInfo::parse(&Method::GET, path, "");
        assert!(!info.is_resource, "{path}");
        assert_eq!(info.verb, "get");
    }
}

#[test]
fn a_proxy_keeps_the_rest_of_its_path() {
    let info = RequestInfo::parse(&Method::GET, "/api/v1/namespaces/a/services/https:s:443/proxy/x/y%20z/", "");
    assert_eq!(info.name, "https:s:443");
    assert_eq!(info.rest, ["x", "y%20z"]);
    assert!(info.trailing_slash);
    assert!(info.is_long_running());
}
