//! What the server says of itself: discovery, OpenAPI, versions, health, metrics.

use harness::answer;
use reqwest::Method;
use serde_json::{Value, json};

use crate::server;

const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";

#[tokio::test]
async fn both_kinds_of_discovery_tell_the_same() {
    let server = server().await;
    let admin = server.admin();
    let mut legacy = Vec::new();
    let groups = admin.get("/apis").await.ok();
    let versions = groups["groups"].as_array().unwrap().iter().flat_map(|group| group["versions"].as_array().unwrap());
    let mut paths: Vec<String> =
        versions.map(|version| format!("/apis/{}", version["groupVersion"].as_str().unwrap())).collect();
    paths.push("/api/v1".to_owned());
    for path in &paths {
        let list = admin.get(path).await.ok();
        let version = list["groupVersion"].as_str().unwrap().to_owned();
        for resource in list["resources"].as_array().unwrap() {
            let verbs = resource["verbs"].clone();
            legacy.push((
                version.clone(),
                resource["name"].as_str().unwrap().to_owned(),
                resource["kind"].clone(),
                verbs,
            ));
        }
    }
    let mut aggregated = Vec::new();
    for path in ["/api", "/apis"] {
        let all = admin.get_as(path, AGGREGATED).await;
        assert!(all.header("content-type").starts_with("application/json;"), "{}", all.header("content-type"));
        for group in all.ok()["items"].as_array().unwrap() {
            let name = group["metadata"]["name"].as_str().unwrap_or_default().to_owned();
            for version in group["versions"].as_array().unwrap() {
                let full = api::resource::join_group_version(&name, version["version"].as_str().unwrap());
                resources_of(&full, version, &mut aggregated);
            }
        }
    }
    legacy.sort_by_key(|row| (row.0.clone(), row.1.clone()));
    aggregated.sort_by_key(|row: &(String, String, Value, Value)| (row.0.clone(), row.1.clone()));
    assert_eq!(legacy, aggregated);
    for row in api::resources() {
        let found = legacy.iter().find(|(version, name, ..)| *version == row.api_version() && name == row.plural);
        let (.., verbs) = found.unwrap_or_else(|| panic!("{} is not told", row.plural));
        assert_eq!(verbs.as_array().unwrap().len(), row.verbs.len(), "{}", row.plural);
        for sub in row.subresources {
            let name = format!("{}/{}", row.plural, sub.name);
            assert!(legacy.iter().any(|(_, told, ..)| *told == name), "{name}");
        }
    }
}

fn resources_of(version: &str, of: &Value, found: &mut Vec<(String, String, Value, Value)>) {
    for resource in of["resources"].as_array().unwrap() {
        let name = resource["resource"].as_str().unwrap();
        found.push((
            version.to_owned(),
            name.to_owned(),
            resource["responseKind"]["kind"].clone(),
            resource["verbs"].clone(),
        ));
        for sub in resource["subresources"].as_array().into_iter().flatten() {
            let full = format!("{name}/{}", sub["subresource"].as_str().unwrap());
            found.push((version.to_owned(), full, sub["responseKind"]["kind"].clone(), sub["verbs"].clone()));
        }
    }
}

#[tokio::test]
async fn openapi_describes_every_kind_in_both_versions() {
    let server = server().await;
    let admin = server.admin();
    let second = admin.get("/openapi/v2").await;
    let tag = second.header("etag").to_owned();
    let second = second.ok();
    assert_eq!(second["swagger"], "2.0");
    let again = admin.request(Method::GET, "/openapi/v2").header("if-none-match", tag);
    assert_eq!(answer(again).await.code, 304);
    let old = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf";
    let coded = admin.get_as("/openapi/v2", old).await;
    assert!(coded.code == 200 && coded.bytes.len() > 100_000, "{} {}", coded.code, coded.bytes.len());
    let definitions = second["definitions"].as_object().unwrap();
    let kinds: Vec<&Value> = definitions
        .values()
        .filter_map(|definition| definition["x-kubernetes-group-version-kind"].as_array())
        .flatten()
        .collect();
    let index = admin.get("/openapi/v3").await.ok();
    for row in api::resources() {
        let wanted = json!({"group": row.group, "version": row.version, "kind": row.kind});
        assert!(kinds.contains(&&wanted), "{wanted} is not in OpenAPI v2");
        let path =
            if row.group.is_empty() { "api/v1".to_owned() } else { format!("apis/{}/{}", row.group, row.version) };
        let url = index["paths"][&path]["serverRelativeURL"].as_str().unwrap_or_else(|| panic!("no {path}"));
        assert!(url.contains("?hash="), "{url}");
    }
    for (path, entry) in index["paths"].as_object().unwrap() {
        let url = entry["serverRelativeURL"].as_str().unwrap();
        let document = admin.get(url).await;
        assert!(document.header("cache-control").contains("immutable"), "{path}");
        references_lead_somewhere(path, &document.ok());
    }
}

/// Every `$ref` of a document is in it.
fn references_lead_somewhere(path: &str, document: &Value) {
    let text = document.to_string();
    let schemas = document["components"]["schemas"].as_object().unwrap_or_else(|| panic!("{path} has no schemas"));
    for reference in text.split("\"$ref\":\"#/components/schemas/").skip(1) {
        let name = reference.split('"').next().unwrap();
        assert!(schemas.contains_key(name), "{path}: {name} is missing");
    }
    assert!(!document["paths"].as_object().unwrap().is_empty(), "{path} has no paths");
}

/// The parts of a start that upstream names and this server has, too.
const HOOKS: &[&str] = &[
    "generic-apiserver-start-informers",
    "priority-and-fairness-config-consumer",
    "priority-and-fairness-config-producer",
    "priority-and-fairness-filter",
    "rbac/bootstrap-roles",
    "scheduling/bootstrap-system-priority-classes",
    "start-apiserver-admission-initializer",
    "start-cluster-authentication-info-controller",
    "start-kubernetes-service-cidr-controller",
    "start-service-ip-repair-controllers",
    "start-system-namespaces-controller",
    "storage-object-count-tracker-hook",
    "bootstrap-controller",
];

#[tokio::test]
async fn health_checks_have_upstreams_names() {
    let server = server().await;
    let admin = server.admin();
    for (endpoint, more) in [
        ("livez", &["ping", "log"][..]),
        ("healthz", &["ping", "log", "etcd"]),
        ("readyz", &["ping", "log", "etcd", "etcd-readiness", "informer-sync", "shutdown"]),
    ] {
        let told = admin.get(&format!("/{endpoint}?verbose")).await;
        let told = told.body.as_str().unwrap().to_owned();
        let mut wanted: Vec<String> = HOOKS.iter().map(|hook| format!("poststarthook/{hook}")).collect();
        wanted.extend(more.iter().map(|name| (*name).to_owned()));
        for name in &wanted {
            assert!(told.contains(&format!("[+]{name} ok\n")), "{endpoint}: {name}: {told}");
            assert_eq!(admin.get(&format!("/{endpoint}/{name}")).await.body, "ok", "{endpoint}/{name}");
        }
        assert_eq!(told.lines().count(), wanted.len() + 1, "{endpoint}: {told}");
    }
}

#[tokio::test]
async fn health_version_and_metrics_have_upstreams_words() {
    let server = server().await;
    let (admin, nobody) = (server.admin(), server.anonymous());
    for path in ["/livez", "/readyz", "/healthz"] {
        let answer = nobody.get(path).await;
        assert_eq!((answer.code, answer.body.as_str()), (200, Some("ok")), "{path}");
        let verbose = admin.get(&format!("{path}?verbose")).await;
        let text = verbose.body.as_str().unwrap().to_owned();
        assert!(text.contains("[+]ping ok") && text.ends_with("check passed\n"), "{path}: {text}");
    }
    let ready = admin.get("/readyz?verbose&exclude=etcd").await;
    assert!(ready.body.as_str().unwrap().contains("[+]etcd excluded: ok"), "{}", ready.body);
    assert_eq!(admin.get("/readyz/etcd").await.code, 200);
    assert_eq!(admin.get("/readyz/nothing").await.code, 404);
    let odd = admin.get("/readyz?verbose&exclude=nothing").await;
    assert!(odd.body.as_str().unwrap().contains("cannot be excluded: no matches for \"nothing\"\n"), "{}", odd.body);
    let version = nobody.get("/version").await.ok();
    for field in ["major", "minor", "gitVersion", "gitCommit", "platform"] {
        assert!(version[field].is_string(), "{version}");
    }
    admin.get(&harness::core("pods")).await.ok();
    let _watch = harness::EventStream::open(&admin, "/api/v1/pods?watch=1").await;
    let metrics = admin.get("/metrics").await;
    let metrics = metrics.body.as_str().unwrap();
    for name in [
        "apiserver_request_total{component=\"apiserver\",group=\"\",resource=\"pods\",scope=\"namespace\",subresource=\"\",verb=\"LIST\",version=\"v1\",code=\"200\",dry_run=\"\"} 1",
        "apiserver_request_duration_seconds_bucket{",
        "apiserver_request_sli_duration_seconds_bucket{",
        "apiserver_response_sizes_bucket{",
        "apiserver_longrunning_requests{",
        "apiserver_watch_events_total{",
        "apiserver_current_inflight_requests{",
        "apiserver_flowcontrol_dispatched_requests_total{",
        "apiserver_resource_objects{group=\"\",resource=\"namespaces\"} 4",
        "apiserver_storage_objects{resource=\"clusterroles.rbac.authorization.k8s.io\"}",
        "authentication_attempts_total{result=\"success\"}",
        "authorization_attempts_total{result=\"allowed\"}",
        "kubernetes_build_info{",
        "process_cpu_seconds_total ",
        "process_resident_memory_bytes ",
        "process_start_time_seconds ",
    ] {
        assert!(metrics.contains(name), "{name} is not told in {metrics}");
    }
    nobody.get("/metrics").await.failed(403);
    let paths = admin.get("/").await.ok();
    assert!(paths["paths"].as_array().unwrap().contains(&json!("/apis/apps/v1")), "{paths}");
    for path in ["/nothing", "/apis/nothing", "/apis/apps/v9", "/api/v2", "/apis/apps/v1/nothing"] {
        let missing = admin.get(path).await;
        assert_eq!(missing.code, 404, "{path}: {}", missing.body);
    }
    let head = answer(admin.request(Method::HEAD, "/api/v1/namespaces/default")).await;
    assert_eq!((head.code, head.bytes.len()), (200, 0));
}
