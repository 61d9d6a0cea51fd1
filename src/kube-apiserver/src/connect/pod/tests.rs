use http::Method;
use serde_json::json;

use super::*;

fn pod() -> Object {
    serde_json::from_value(json!({
        "metadata": {"name": "web", "namespace": "blue"},
        "spec": {"containers": [{"name": "a"}, {"name": "b"}], "initContainers": [{"name": "i"}], "ephemeralContainers": [{"name": "e"}]},
    }))
    .unwrap()
}

fn ask(subresource: &str, query: &str) -> Result<String, Status> {
    let url = format!("/api/v1/namespaces/blue/pods/web/{subresource}");
    path(&RequestInfo::parse(&Method::POST, &url, query), &pod()).map(|path| path.to_string())
}

#[test]
fn parameters_get_the_names_kubelets_know() {
    let asked = "container=b&stdin=true&stdout=1&stderr=false&tty=true&command=sh&command=-c&command=echo+a%26b";
    assert_eq!(
        ask("exec", asked).unwrap(),
        "/exec/blue/web/b?input=1&output=1&tty=1&command=sh&command=-c&command=echo%20a%26b"
    );
    assert_eq!(ask("attach", "container=a&stdout=true&command=x").unwrap(), "/attach/blue/web/a?output=1");
    assert_eq!(
        ask("portforward", "ports=80&ports=443,8080").unwrap(),
        "/portForward/blue/web?port=80&port=443&port=8080"
    );
    assert_eq!(ask("portforward", "").unwrap(), "/portForward/blue/web");
}

#[test]
fn nothing_a_client_writes_can_leave_its_place() {
    for query in [
        "container=a%0d%0aX-Evil:%201",
        "container=../../run",
        "container=a/../../exec",
        "container=zz",
        "container=a%20HTTP/1.1",
    ] {
        assert_eq!(ask("exec", query).unwrap_err().code(), 400, "{query}");
    }
    for ports in ["80%0d%0aX:1", "0", "65536", "-1", "80/../x", "x"] {
        assert_eq!(ask("portforward", &format!("ports={ports}")).unwrap_err().code(), 400, "{ports}");
    }
    let command = ask("exec", "container=a&command=%0d%0aHost:%20evil%0d%0a%0d%0a").unwrap();
    assert_eq!(command, "/exec/blue/web/a?command=%0D%0AHost%3A%20evil%0D%0A%0D%0A");
}

#[test]
fn one_of_several_containers_must_be_named() {
    let message = ask("exec", "command=x").unwrap_err().message().to_owned();
    assert_eq!(
        message,
        "a container name must be specified for pod web, choose one of: [a b] or one of the init containers: [i]"
    );
    for name in ["a", "i", "e"] {
        assert!(ask("exec", &format!("container={name}")).is_ok(), "{name}");
    }
}
