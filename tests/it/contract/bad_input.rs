//! Input that makes no sense, or too much of it: a Status as upstream gives it, no panic, no memory that stays.

use apimachinery::protobuf;
use harness::{ApiServer, core, try_answer};
use reqwest::Method;
use serde_json::{Value, json};

use crate::every_kind::{PROTOBUF, to_protobuf};
use crate::server;

const JSON: &str = "application/json";
const YAML: &str = "application/yaml";

/// The server still works, and no handler panicked.
pub(crate) async fn is_well(server: &ApiServer) {
    assert_eq!(server.admin().get("/livez").await.code, 200);
    let log = server.log();
    assert!(!log.contains("panicked"), "{log}");
}

/// A refusal is a whole Status: kind, code, reason and message.
#[track_caller]
fn refused(answer: &harness::Answer, codes: &[u16], what: &str) {
    assert!(codes.contains(&answer.code), "{what}: {} {}", answer.code, answer.body);
    let body = &answer.body;
    assert_eq!((&body["kind"], &body["code"]), (&json!("Status"), &json!(answer.code)), "{what}: {body}");
    assert!(body["message"].as_str().is_some_and(|text| !text.is_empty()), "{what}: {body}");
    assert!(body["reason"].as_str().is_some_and(|text| !text.is_empty()), "{what}: {body}");
}

const BAD_JSON: &[&str] = &[
    "",
    "{",
    "}",
    "[",
    "[]",
    "null",
    "true",
    "5",
    "\"text\"",
    "{\"a\"}",
    "{\"a\":}",
    "{\"a\":1,}",
    "{'a':1}",
    "{\"a\":01}",
    "{\"a\":1}{\"b\":2}",
    "\u{0}",
    "\u{feff}{}",
    "{\"metadata\":[]}",
    "{\"metadata\":{\"name\":5}}",
    "{\"metadata\":{\"labels\":[\"a\"]}}",
    "{\"data\":{\"a\":1}}",
    "{\"metadata\":\"text\"}",
    "{\"kind\":5}",
    "{\"kind\":\"Pod\",\"apiVersion\":\"v1\"}",
    "{\"kind\":\"ConfigMap\",\"apiVersion\":\"apps/v1\"}",
    "{\"immutable\":\"yes\"}",
    "{\"binaryData\":{\"a\":\"!\"}}",
    "{\"metadata\":{\"creationTimestamp\":\"yesterday\"}}",
    "{\"metadata\":{\"generation\":1e400}}",
];

const BAD_YAML: &[&str] =
    &["a: [", "\t", "- 1", "a: b: c", "%", "&", "*x", "!!binary x", "{a: 1", "metadata: {name: [1]}"];

/// Nine times nine times nine: a few lines that stand for gigabytes.
fn bomb() -> String {
    let mut text = "a0: &a0 [x,x,x,x,x,x,x,x,x]".to_owned();
    for level in 1..12 {
        let below = vec![format!("*a{}", level - 1); 9].join(",");
        text = format!("{text}\na{level}: &a{level} [{below}]");
    }
    text
}

#[tokio::test]
async fn bodies_that_are_not_well_formed_are_bad_requests() {
    let server = server().await;
    let admin = server.admin();
    let deep_map = format!("{{\"metadata\":{}1{}}}", "{\"a\":".repeat(20_000), "}".repeat(20_000));
    let deep_list = format!("{{\"data\":{}{}}}", "[".repeat(100_000), "]".repeat(100_000));
    let (flow, bomb) = (format!("a: {}", "[".repeat(50_000)), bomb());
    let json = BAD_JSON.iter().copied().chain([&*deep_map, &*deep_list]).map(|body| (JSON, body));
    let yaml = BAD_YAML.iter().copied().chain([&*flow, &*bomb]).map(|body| (YAML, body));
    for (media, body) in json.chain(yaml) {
        let answer = admin.send(Method::POST, &core("configmaps"), media, body.to_owned()).await;
        refused(&answer, &[400], &body.chars().take(60).collect::<String>());
    }
    let invalid = [b"{\"metadata\":{\"name\":\"".as_slice(), &[0xff, 0xfe], b"\"}}"].concat();
    let answer = admin.send(Method::POST, &core("configmaps"), JSON, invalid).await;
    refused(&answer, &[400, 422], "bytes that are no text");
    is_well(&server).await;
}

#[tokio::test]
async fn protobuf_that_is_cut_or_spoilt_is_refused() {
    let server = server().await;
    let admin = server.admin();
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m", "labels": {"a": "b"}}, "data": {"c": "d"}});
    let whole = to_protobuf(&map);
    let path = core("configmaps?dryRun=All");
    for end in 0..whole.len() {
        let answer = admin.send(Method::POST, &path, PROTOBUF, whole[..end].to_vec()).await;
        assert!(answer.code < 500, "{end} bytes: {} {}", answer.code, answer.body);
    }
    for at in 0..whole.len() {
        let mut spoilt = whole.clone();
        spoilt[at] ^= 0x55;
        let answer = admin.send(Method::POST, &path, PROTOBUF, spoilt).await;
        assert!(answer.code < 500, "byte {at}: {} {}", answer.code, answer.body);
    }
    // A length that promises more memory than there is, a group, a field number of zero, endless varints.
    for raw in [
        vec![0x0a, 0xff, 0xff, 0xff, 0xff, 0x0f],
        vec![0x0b],
        vec![0x02, 0x00],
        vec![0x08; 64],
        vec![0xff; 64],
        [0x0a, 0x02].repeat(50_000),
    ] {
        let body = protobuf::envelope("v1", "ConfigMap", &raw);
        let answer = admin.send(Method::POST, &path, PROTOBUF, body).await;
        refused(&answer, &[400, 422], "a message that makes no sense");
    }
    let other = protobuf::envelope("v9", "Nothing", &[]);
    refused(&admin.send(Method::POST, &path, PROTOBUF, other).await, &[400], "another kind");
    refused(&admin.send(Method::POST, &path, PROTOBUF, "{}").await, &[400], "JSON that says it is protobuf");
    is_well(&server).await;
}

#[tokio::test]
async fn fields_nobody_knows_or_that_come_twice_are_told_or_refused() {
    let server = server().await;
    let admin = server.admin();
    let body = r#"{"metadata":{"name":"m","nonsense":1},"data":{"a":"1"},"data":{"a":"2"},"more":{"x":[1]}}"#;
    let send = async |query: &str| {
        let path = core(&format!("configmaps?dryRun=All{query}"));
        admin.send(Method::POST, &path, JSON, body).await
    };
    let warned = send("").await;
    assert_eq!(warned.code, 201, "{}", warned.body);
    let warnings = warned.warnings().join("\n");
    for words in
        ["unknown field \\\"metadata.nonsense\\\"", "duplicate field \\\"data\\\"", "unknown field \\\"more\\\""]
    {
        assert!(warnings.contains(words), "{words} is not in {warnings}");
    }
    assert!(warned.body["more"].is_null() && warned.body["data"]["a"] == "2", "{}", warned.body);
    let silent = send("&fieldValidation=Ignore").await;
    assert_eq!((silent.code, silent.warnings().len()), (201, 0));
    let strict = send("&fieldValidation=Strict").await;
    let message = strict.failed(400);
    assert!(
        message.contains("strict decoding error: unknown field \"metadata.nonsense\", duplicate field \"data\""),
        "{message}"
    );
    refused(&send("&fieldValidation=Sometimes").await, &[400, 422], "a validation nobody knows");
    let yaml = "metadata: {name: m}\ndata: {a: '1'}\ndata: {a: '2'}\nmore: 1\n";
    let strict = core("configmaps?dryRun=All&fieldValidation=Strict");
    refused(&admin.send(Method::POST, &strict, YAML, yaml).await, &[400], "YAML with duplicates");
    let patch = json!({"nonsense": 1});
    admin.create(&core("configmaps"), &json!({"metadata": {"name": "m"}})).await.ok();
    let answer = admin.patch(&core("configmaps/m?fieldValidation=Strict"), "merge", &patch).await;
    refused(&answer, &[400, 422], "a patch with a field nobody knows");
    is_well(&server).await;
}

#[tokio::test]
async fn too_much_is_refused_before_it_costs() {
    let server = server().await;
    let admin = server.admin();
    let before = server.memory();
    for size in [4, 16, 64] {
        let body = format!("{{\"data\":{{\"a\":\"{}\"}}}}", "x".repeat(size * 1024 * 1024));
        let request = admin.request(Method::POST, &core("configmaps")).header("content-type", JSON).body(body);
        // The connection may be closed while the body is still being sent.
        if let Ok(answer) = try_answer(request).await {
            refused(&answer, &[413], "a huge body");
            assert_eq!(answer.body["reason"], "RequestEntityTooLarge");
        }
    }
    let map = json!({"metadata": {"name": "m"}, "data": {"a": "x".repeat(2 * 1024 * 1024)}});
    let answer = admin.create(&core("configmaps"), &map).await;
    refused(&answer, &[413, 422], "more than etcd takes");
    let annotations = json!({"metadata": {"name": "m", "annotations": {"a": "x".repeat(300 * 1024)}}});
    refused(&admin.create(&core("configmaps"), &annotations).await, &[422], "too long annotations");
    admin.create(&core("configmaps"), &json!({"metadata": {"name": "m"}})).await.ok();
    let operation = json!({"op": "add", "path": "/data", "value": {}});
    let many: Vec<&Value> = vec![&operation; 10_001];
    let answer = admin.patch(&core("configmaps/m"), "json", &json!(many)).await;
    refused(&answer, &[413], "too many operations");
    let copies: Vec<Value> = (0..60)
        .map(|index| json!({"op": "copy", "from": if index == 0 { "/metadata" } else { "/data" }, "path": "/data/x"}))
        .chain([json!({"op": "add", "path": "/data", "value": {}})])
        .rev()
        .collect();
    let answer = admin.patch(&core("configmaps/m"), "json", &json!(copies)).await;
    refused(&answer, &[400, 413, 422], "copies of copies");
    is_well(&server).await;
    let grown = server.memory().saturating_sub(before);
    assert!(grown < 120_000, "{grown} KiB stayed");
}

#[tokio::test]
async fn patches_that_do_not_fit_are_refused() {
    let server = server().await;
    let admin = server.admin();
    admin.create(&core("configmaps"), &json!({"metadata": {"name": "m"}, "data": {"a": "1"}})).await.ok();
    let path = core("configmaps/m");
    for patch in [
        json!([{"op": "replace", "path": "/data/none", "value": "1"}]),
        json!([{"op": "remove", "path": "/data/none"}]),
        json!([{"op": "test", "path": "/data/a", "value": "2"}]),
        json!([{"op": "add", "path": "data/a", "value": "2"}]),
        json!([{"op": "add", "path": "/none/deeper", "value": "2"}]),
        json!([{"op": "jump", "path": "/data/a"}]),
        json!([{"path": "/data/a"}]),
        json!([{"op": "add", "path": "/data/~2", "value": "2"}]),
        json!({"op": "add"}),
        json!([1]),
        json!("text"),
        json!([{"op": "move", "from": "/data", "path": "/data/a"}]),
        json!([{"op": "replace", "path": "", "value": 5}]),
        json!([{"op": "replace", "path": "/metadata", "value": null}]),
        json!([{"op": "replace", "path": "/data/a", "value": 5}]),
    ] {
        refused(&admin.patch(&path, "json", &patch).await, &[400, 422], &patch.to_string());
    }
    for form in ["merge", "strategic-merge"] {
        for patch in [
            json!([]),
            json!(5),
            json!({"data": {"a": 5}}),
            json!({"data": "text"}),
            json!({"metadata": {"name": "other"}}),
        ] {
            refused(&admin.patch(&path, form, &patch).await, &[400, 422], &format!("{form}: {patch}"));
        }
    }
    let strategic = json!({"metadata": {"$patch": "nonsense"}});
    refused(&admin.patch(&path, "strategic-merge", &strategic).await, &[400, 422, 500], "an unknown directive");
    for media in ["application/json", "text/plain", "application/merge-patch", "application/apply-patch+cbor"] {
        let answer = admin.send(Method::PATCH, &path, media, "{}").await;
        refused(&answer, &[415], media);
        assert_eq!(answer.body["reason"], "UnsupportedMediaType");
    }
    for (media, body) in [
        ("application/json-patch+json", "["),
        ("application/merge-patch+json", "{"),
        ("application/strategic-merge-patch+json", "{]"),
    ] {
        refused(&admin.send(Method::PATCH, &path, media, body).await, &[400], media);
    }
    refused(&admin.send(Method::POST, &core("configmaps"), "text/plain", "{}").await, &[415], "a body of text");
    refused(&admin.send(Method::PUT, &path, "application/xml", "<a/>").await, &[415], "a body of XML");
    assert_eq!(admin.get(&path).await.ok()["data"], json!({"a": "1"}), "nothing of it happened");
    is_well(&server).await;
}

#[tokio::test]
async fn queries_that_mean_nothing_are_bad_requests() {
    let server = server().await;
    let admin = server.admin();
    for query in [
        "labelSelector=a%3D%3D%3Db",
        "labelSelector=in+in",
        "labelSelector=a+in+(",
        "labelSelector=%2Fa",
        "labelSelector=a%3D-",
        "labelSelector=,",
        "labelSelector=a!",
        "labelSelector=a+in+b",
        "labelSelector=a>b",
        "fieldSelector=a",
        "fieldSelector=%3D",
        "fieldSelector=data.a%3D1",
        "fieldSelector=metadata.name%3Da%3Db",
        "limit=x",
        "continue=x",
        "continue=!!!!",
        "continue=e30",
        "continue=eyJ2IjoibWV0YS5rOHMuaW8vdjEiLCJydiI6MSwic3RhcnQiOiIuLi9zZWNyZXRzL3gifQ",
        "resourceVersion=x",
        "resourceVersion=-5",
        "resourceVersion=99999999999999999999999999",
        "timeoutSeconds=x&watch=1",
        "resourceVersion=5&continue=e30",
    ] {
        let answer = admin.get(&core(&format!("configmaps?{query}"))).await;
        refused(&answer, &[400, 422], query);
    }
    // What upstream lets pass.
    for query in [
        "labelSelector=",
        "fieldSelector=",
        "limit=",
        "continue=",
        "nonsense=1",
        "pretty=true",
        "timeout=5s",
        "labelSelector=a,!b,c+notin+(d),e>1",
    ] {
        assert_eq!(admin.get(&core(&format!("configmaps?{query}"))).await.code, 200, "{query}");
    }
    for query in ["dryRun=some", "dryRun=All&dryRun=x"] {
        let map = json!({"metadata": {"name": "m"}});
        refused(&admin.create(&core(&format!("configmaps?{query}")), &map).await, &[400, 422], query);
        refused(&admin.delete(&core(&format!("configmaps/m?{query}"))).await, &[400, 422], query);
    }
    for options in [
        json!({"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": "Later"}),
        json!({"kind": "DeleteOptions", "apiVersion": "v1", "gracePeriodSeconds": "soon"}),
        json!({"kind": "Pod", "apiVersion": "v1"}),
        json!([1]),
    ] {
        refused(&admin.delete_with(&core("configmaps/m"), &options).await, &[400, 422], &options.to_string());
    }
    is_well(&server).await;
}

#[tokio::test]
async fn paths_that_lead_nowhere_are_not_found_and_none_leads_out() {
    let server = server().await;
    let admin = server.admin();
    for path in [
        "/api/v1/namespaces/default/configmaps/a/b/c/d",
        "/api/v1/namespaces/default/nothing/x",
        "/api/v1/configmaps/x",
        "/api/v1/nodes/x/nothing",
        "/api/v1/namespaces/default/nodes",
        "/apis/apps/v1/deployments/x",
        "/apis//v1/x",
        "/api/v1/namespaces/default/configmaps/..%2f..%2fsecrets%2fdefault%2fx",
        "/api/v1/namespaces/..%2fdefault/configmaps/x",
        "/api/v1/namespaces/default/configmaps/%00",
        "/api/v1/namespaces/default/configmaps/%ff%fe",
    ] {
        let answer = admin.get(path).await;
        assert!(matches!(answer.code, 400 | 404 | 405), "{path}: {} {}", answer.code, answer.body);
    }
    for name in ["..", ".", "a/b", "a%2fb", "UPPER", "a_b", "-a", &"a".repeat(254), ""] {
        let map = json!({"metadata": {"name": name}});
        let answer = admin.create(&core("configmaps"), &map).await;
        refused(&answer, &[422], name);
    }
    let elsewhere = json!({"metadata": {"name": "m", "namespace": "kube-system"}});
    refused(&admin.create(&core("configmaps"), &elsewhere).await, &[400], "another namespace");
    let missing = admin.create("/api/v1/namespaces/missing/configmaps", &json!({"metadata": {"name": "m"}})).await;
    refused(&missing, &[404, 403], "a namespace that is not there");
    is_well(&server).await;
}
