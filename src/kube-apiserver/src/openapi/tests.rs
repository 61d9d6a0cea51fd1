use std::collections::BTreeSet;

use super::*;

fn parse(bytes: &Bytes) -> Value {
    serde_json::from_slice(bytes).unwrap()
}

/// Every `$ref` in a tree.
fn references(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) => {
            for (key, value) in fields {
                match value.as_str() {
                    Some(reference) if key == "$ref" => drop(found.insert(reference.to_owned())),
                    _ => references(value, found),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| references(item, found)),
        _ => {}
    }
}

fn assert_closed(document: &Value, definitions: &Value, prefix: &str) {
    let mut found = BTreeSet::new();
    references(document, &mut found);
    assert!(!found.is_empty());
    for reference in found {
        let name = reference.strip_prefix(prefix).expect("one form of reference");
        assert!(definitions[name].is_object(), "{reference}");
    }
}

fn header(name: http::HeaderName, value: &'static str) -> HeaderMap {
    std::iter::once((name, HeaderValue::from_static(value))).collect()
}

#[test]
fn every_group_version_of_the_index_has_a_closed_document() {
    let index = parse(&v3_index());
    let paths = index["paths"].as_object().unwrap();
    assert!(paths.contains_key("api/v1") && paths.contains_key("apis/apps/v1"));
    for (path, entry) in paths {
        let url = entry["serverRelativeURL"].as_str().unwrap();
        assert!(url.starts_with(&format!("/openapi/v3/{path}?hash=")), "{url}");
        let document = parse(&v3_document(path).unwrap());
        assert_closed(&document, &document["components"]["schemas"], "#/components/schemas/");
    }
    assert!(v3_document("apis/nowhere/v1").is_none() && v3_document("").is_none());
}

#[test]
fn kubectl_finds_kinds_fields_and_parameters() {
    let document = parse(&v3_document("apis/apps/v1").unwrap());
    let patch = &document["paths"]["/apis/apps/v1/namespaces/{namespace}/deployments/{name}"]["patch"];
    assert_eq!(
        patch["x-kubernetes-group-version-kind"],
        json!({"group": "apps", "version": "v1", "kind": "Deployment"})
    );
    let names: Vec<&str> =
        patch["parameters"].as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["dryRun", "fieldManager", "fieldValidation", "force"]);
    let schemas = &document["components"]["schemas"];
    let deployment = &schemas["io.k8s.api.apps.v1.Deployment"];
    assert_eq!(deployment["x-kubernetes-group-version-kind"][0]["kind"], "Deployment");
    let spec = &deployment["properties"]["spec"];
    assert_eq!(spec["allOf"][0]["$ref"], "#/components/schemas/io.k8s.api.apps.v1.DeploymentSpec");
    assert!(!spec["description"].as_str().unwrap().is_empty());
    let required = &schemas["io.k8s.api.apps.v1.DeploymentSpec"]["required"];
    assert_eq!(required, &json!(["selector", "template"]));
    let ports = &schemas["io.k8s.api.core.v1.Container"]["properties"]["ports"];
    assert_eq!(ports["x-kubernetes-list-map-keys"], json!(["containerPort", "protocol"]));
    assert_eq!(ports["x-kubernetes-patch-merge-key"], "containerPort");
    assert!(document["paths"]["/apis/apps/v1/namespaces/{namespace}/deployments/{name}/scale"]["get"].is_object());
}

#[test]
fn the_second_version_is_closed_too_and_names_each_operation_once() {
    let document = parse(&v2_document());
    assert_closed(&document, &document["definitions"], "#/definitions/");
    let mut ids = BTreeSet::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for method in ["get", "put", "post", "delete", "patch"].iter().filter(|method| item[**method].is_object()) {
            let id = item[*method]["operationId"].as_str().unwrap();
            assert!(ids.insert(id.to_owned()), "{path} {method} {id}");
        }
    }
    assert!(ids.contains("listCoreV1NamespacedPod") && ids.contains("patchRbacAuthorizationV1ClusterRole"));
}

#[test]
fn clients_get_the_form_they_ask_for() {
    let ask = |path: &str, accept| respond(path, &Query::default(), &header(ACCEPT, accept)).unwrap();
    let media_type = |response: &Response| response.headers()[CONTENT_TYPE].to_str().unwrap().to_owned();
    for old in PROTOBUF {
        assert_eq!(media_type(&ask("/openapi/v2", old)), PROTOBUF[0]);
    }
    assert_eq!(media_type(&ask("/openapi/v2", "application/json")), JSON);
    assert_eq!(media_type(&ask("/openapi/v3", "*/*")), JSON);
    assert_eq!(ask("/openapi/v3/api/v1", "text/html").status(), StatusCode::NOT_ACCEPTABLE);
    assert_eq!(ask("/openapi/v2", "application/json;q=0").status(), StatusCode::NOT_ACCEPTABLE);
    assert!(respond("/openapi/v4", &Query::default(), &HeaderMap::new()).is_none());
}

#[test]
fn documents_are_kept_by_clients() {
    let tag = respond("/openapi/v2", &Query::default(), &HeaderMap::new()).unwrap().headers()[ETAG].clone();
    let headers: HeaderMap = std::iter::once((IF_NONE_MATCH, tag)).collect();
    let again = respond("/openapi/v2", &Query::default(), &headers).unwrap();
    assert_eq!(again.status(), StatusCode::NOT_MODIFIED);
    let hashed = Query::parse(&format!("hash={}", *HASH));
    let response = respond("/openapi/v3/api/v1", &hashed, &HeaderMap::new()).unwrap();
    assert_eq!(response.headers()[CACHE_CONTROL], "public, immutable");
    let stale = respond("/openapi/v3/api/v1", &Query::parse("hash=OLD"), &HeaderMap::new()).unwrap();
    assert_eq!(stale.status(), StatusCode::MOVED_PERMANENTLY);
}

#[test]
fn protobuf_holds_every_definition() {
    let tree = v2_tree();
    let bytes = gnostic::encode(&tree);
    let names = top_level_definitions(&bytes);
    assert_eq!(names, tree["definitions"].as_object().unwrap().len());
}

/// Counts the entries of field 9 (definitions), reading lengths as any protobuf reader does.
fn top_level_definitions(bytes: &[u8]) -> usize {
    let fields = |bytes: &[u8]| -> Vec<(u64, Vec<u8>)> {
        let (mut at, mut found) = (0, Vec::new());
        let varint = |at: &mut usize| {
            let (mut value, mut shift) = (0_u64, 0);
            loop {
                let byte = bytes[*at];
                *at += 1;
                value |= u64::from(byte & 0x7f) << shift;
                shift += 7;
                if byte < 0x80 {
                    return value;
                }
            }
        };
        while at < bytes.len() {
            let key = varint(&mut at);
            assert_eq!(key & 7, 2, "all fields of these messages have a length");
            let length = usize::try_from(varint(&mut at)).unwrap();
            found.push((key >> 3, bytes[at..at + length].to_vec()));
            at += length;
        }
        found
    };
    let definitions = fields(bytes).into_iter().find(|(number, _)| *number == 9).unwrap().1;
    fields(&definitions).len()
}
