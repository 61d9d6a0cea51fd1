use serde_json::json;

use super::*;

const PREFIX: &str = "/api/v1/namespaces/d/pods/p:80/proxy";

#[test]
fn redirects_to_the_backend_lead_through_this_server_and_others_where_they_say() {
    let way = Way { prefix: PREFIX.to_owned(), hosts: vec!["api:6443".to_owned(), "10.244.1.7:80".to_owned()] };
    let behind = |path: &str| format!("{PREFIX}{path}");
    for (place, expected) in [
        ("/", behind("/")),
        ("/next?x=http://10.244.1.7:80/y", behind("/next?x=http://10.244.1.7:80/y")),
        ("http://10.244.1.7:80/a/", behind("/a/")),
        ("//api:6443/a", behind("/a")),
        ("https://api:6443/a", behind("/a")),
        ("/api/v1/namespaces/d/pods/p:80/proxy/a", behind("/a")),
        ("/api/v1/namespaces/d/pods/p:80/proxyish", behind("/api/v1/namespaces/d/pods/p:80/proxyish")),
        ("https://example.com/a", "https://example.com/a".to_owned()),
        ("http://10.244.1.7:81/a", "http://10.244.1.7:81/a".to_owned()),
        ("next", "next".to_owned()),
        ("?page=2", "?page=2".to_owned()),
    ] {
        assert_eq!(way.place(place), expected, "{place}");
    }
}

#[test]
fn ports_of_services_have_numbers_and_names() {
    let service = |ports: serde_json::Value| -> Object {
        serde_json::from_value(json!({"metadata": {"name": "s"}, "spec": {"ports": ports}})).unwrap()
    };
    let two = service(json!([{"name": "web", "port": 80}, {"name": "api", "port": 8080}]));
    let one = service(json!([{"name": "web", "port": 80}]));
    for (service, wanted, expected) in [
        (&two, "80", Ok("web")),
        (&two, "api", Ok("api")),
        (&two, "", Ok("")),
        (&one, "", Ok("web")),
        (&two, "81", Err("no service port 81 found for service \"s\"")),
    ] {
        let got = port_name(service, wanted).map_err(|status| status.message().to_owned());
        assert_eq!(got, expected.map_err(str::to_owned), "{wanted:?}");
    }
}
