//! Every kind through every verb and every encoding.

use api::{Action, ResourceDescriptor};
use apimachinery::json::Validation;
use apimachinery::{Object, json as codec, protobuf, yaml};
use harness::{Answer, Caller, EventStream, answer};
use reqwest::Method;
use serde_json::{Value, json};

use crate::examples::{self, Example, collection};
use crate::server;

pub(crate) const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";
const TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";

/// Kinds whose objects take part in the server's own work, or end in their own time.
const OWN_WAY: &[&str] = &["Namespace", "Pod", "ServiceCIDR", "IPAddress"];

/// The object as a tree of the machinery.
pub(crate) fn tree(object: &Value) -> Object {
    codec::decode(object.to_string().as_bytes(), api::schema(), None, Validation::Ignore).unwrap().object
}

/// The protobuf of an object.
pub(crate) fn to_protobuf(object: &Value) -> Vec<u8> {
    let object = tree(object);
    let of = api::schema().type_of(object.api_version(), object.kind()).unwrap();
    protobuf::encode(&object, api::schema(), of).unwrap()
}

/// The JSON of what came as protobuf.
pub(crate) fn from_protobuf(bytes: &[u8]) -> Value {
    let object = protobuf::decode(bytes, api::schema(), None).unwrap();
    serde_json::from_slice(&codec::encode_object(&object)).unwrap()
}

/// The JSON of what came as YAML.
pub(crate) fn from_yaml(bytes: &[u8]) -> Value {
    let decoded = yaml::decode(bytes, api::schema(), None, Validation::Ignore).unwrap();
    serde_json::from_slice(&codec::encode_object(&decoded.object)).unwrap()
}

#[tokio::test]
async fn every_kind_lives_its_life() {
    let server = server().await;
    let admin = server.admin();
    for example in examples::all() {
        let kind = example.row.kind;
        let created = admin.create(&example.collection(), &example.object).await;
        assert_eq!(created.code, 201, "{kind}: {}", created.body);
        let created = created.body;
        assert_eq!((&created["kind"], &created["apiVersion"]), (&kind.into(), &example.object["apiVersion"]), "{kind}");
        let metadata = &created["metadata"];
        for field in ["uid", "resourceVersion", "creationTimestamp"] {
            assert!(metadata[field].as_str().is_some_and(|text| !text.is_empty()), "{kind} has no {field}");
        }
        let again = admin.create(&example.collection(), &example.object).await;
        assert_eq!(again.body["reason"], "AlreadyExists", "{kind}");
        read(&admin, &example, &created).await;
        change(&admin, &example).await;
        end(&admin, &example).await;
    }
}

async fn read(admin: &Caller, example: &Example, created: &Value) {
    let kind = example.row.kind;
    assert_eq!(&admin.get(&example.path()).await.ok(), created, "{kind}");
    let list = admin.get(&example.collection()).await;
    assert_eq!(list.body["kind"], format!("{kind}List"));
    assert!(list.names().contains(&example.name()), "{kind}");
    assert!(list.body["metadata"]["resourceVersion"].as_str().is_some_and(|version| version != "0"), "{kind}");
    let selector = format!("{}?fieldSelector=metadata.name%3D{}", example.collection(), example.name());
    assert_eq!(admin.get(&selector).await.names(), [example.name()], "{kind}");
    let table = admin.get_as(&example.path(), TABLE).await.ok();
    assert_eq!(table["kind"], "Table", "{kind}");
    if kind != "Event" {
        assert_eq!(table["rows"][0]["cells"][0], example.name(), "{kind}");
    }
    let columns = table["columnDefinitions"].as_array().unwrap();
    assert_eq!(columns.len(), table["rows"][0]["cells"].as_array().unwrap().len(), "{kind}");
    let partial = "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io";
    let partial = admin.get_as(&example.path(), partial).await.ok();
    assert_eq!(partial["kind"], "PartialObjectMetadata", "{kind}");
    assert_eq!((&partial["metadata"], &partial["spec"]), (&created["metadata"], &Value::Null), "{kind}");
    for (accept, decode) in [(PROTOBUF, from_protobuf as fn(&[u8]) -> Value), ("application/yaml", from_yaml)] {
        let answer = admin.get_as(&example.path(), accept).await;
        assert_eq!((answer.code, answer.header("content-type")), (200, accept), "{kind}");
        assert_eq!(&decode(&answer.bytes), created, "{kind} as {accept}");
    }
}

async fn change(admin: &Caller, example: &Example) {
    let (kind, path) = (example.row.kind, example.path());
    let merge = json!({"metadata": {"labels": {"one": "1"}}});
    let first = admin.patch(&path, "merge", &merge).await;
    assert_eq!(first.code, 200, "{kind}: {}", first.body);
    let operations = json!([
        {"op": "test", "path": "/metadata/labels/one", "value": "1"},
        {"op": "add", "path": "/metadata/annotations", "value": {"two": "2"}},
    ]);
    let second = admin.patch(&path, "json", &operations).await;
    assert_eq!(second.code, 200, "{kind}: {}", second.body);
    let strategic = json!({"metadata": {"labels": {"three": "3"}, "annotations": {"two": null}}});
    let third = admin.patch(&path, "strategic-merge", &strategic).await;
    assert_eq!(third.code, 200, "{kind}: {}", third.body);
    let applied = json!({
        "apiVersion": example.object["apiVersion"], "kind": kind,
        "metadata": {"name": example.name(), "labels": {"four": "4"}},
    });
    let fourth = admin.apply(&path, "contract", false, &applied).await;
    assert_eq!(fourth.code, 200, "{kind}: {}", fourth.body);
    assert_eq!(fourth.body["metadata"]["labels"]["four"], "4", "{kind}");
    for label in ["one", "three"] {
        assert!(fourth.body["metadata"]["labels"][label].is_string(), "{kind} lost the label {label}");
    }
    let mut current = fourth.body;
    current["metadata"]["labels"]["five"] = "5".into();
    let fifth = admin.update(&path, &current).await;
    assert_eq!(fifth.code, 200, "{kind}: {}", fifth.body);
    current["metadata"]["labels"]["six"] = "6".into();
    let stale = admin.update(&path, &current).await;
    assert_eq!(stale.body["reason"], "Conflict", "{kind}: {}", stale.body);
    let same = admin.update(&path, &fifth.body).await.ok();
    let version = |object: &Value| object["metadata"]["resourceVersion"].clone();
    assert_eq!(version(&same), version(&fifth.body), "{kind}: a write that changes nothing");
}

async fn end(admin: &Caller, example: &Example) {
    let kind = example.row.kind;
    let dry = admin.delete(&format!("{}?dryRun=All", example.path())).await;
    assert!((200..300).contains(&dry.code), "{kind}: {}", dry.body);
    assert_eq!(admin.get(&example.path()).await.code, 200, "{kind} is there after a dry run");
    let wrong = json!({"preconditions": {"uid": "00000000-0000-4000-8000-000000000000"}});
    let refused = admin.delete_with(&example.path(), &wrong).await;
    assert_eq!(refused.body["reason"], "Conflict", "{kind}: {}", refused.body);
    let deleted = admin.delete(&format!("{}?gracePeriodSeconds=0", example.path())).await;
    assert!((200..300).contains(&deleted.code), "{kind}: {}", deleted.body);
    release(admin, example).await;
    assert_eq!(admin.get(&example.path()).await.body["reason"], "NotFound", "{kind}");
}

/// Takes away what holds an object that is to end; here no controllers run that would do it.
async fn release(admin: &Caller, example: &Example) {
    if admin.get(&example.path()).await.code == 404 {
        return;
    }
    if example.row.kind == "Namespace" {
        let mut namespace = admin.get(&example.path()).await.ok();
        namespace["spec"]["finalizers"] = json!([]);
        admin.update(&format!("{}/finalize", example.path()), &namespace).await.ok();
        return;
    }
    let none = json!({"metadata": {"finalizers": null}});
    let answer = admin.patch(&example.path(), "merge", &none).await;
    assert!((200..300).contains(&answer.code), "{}", answer.body);
}

#[tokio::test]
async fn every_kind_can_be_written_in_every_encoding() {
    let server = server().await;
    let admin = server.admin();
    for example in examples::all() {
        let kind = example.row.kind;
        let path = format!("{}?dryRun=All", example.collection());
        let json = example.object.to_string().into_bytes();
        let mut seen: Vec<Value> = Vec::new();
        for (media, body) in
            [("application/json", json.clone()), ("application/yaml", json), (PROTOBUF, to_protobuf(&example.object))]
        {
            let answer = admin.send(Method::POST, &path, media, body).await;
            assert_eq!(answer.code, 201, "{kind} as {media}: {}", answer.body);
            seen.push(timeless(&answer.body));
        }
        assert_eq!(seen[0], seen[1], "{kind} as YAML");
        assert_eq!(seen[0], seen[2], "{kind} as protobuf");
    }
}

/// The object without what differs from write to write.
fn timeless(object: &Value) -> Value {
    let uid = object["metadata"]["uid"].as_str().unwrap();
    let mut object: Value = serde_json::from_str(&object.to_string().replace(uid, "UID")).unwrap();
    let metadata = object["metadata"].as_object_mut().unwrap();
    for field in ["uid", "creationTimestamp", "managedFields", "resourceVersion"] {
        metadata.remove(field);
    }
    // A service gets another address each time, a pod another name of its volume.
    if object["kind"] == "Pod" {
        object["spec"]["volumes"] = Value::Null;
        object["spec"]["containers"][0]["volumeMounts"] = Value::Null;
    }
    if object["kind"] == "Service" {
        object["spec"].as_object_mut().unwrap().retain(|key, _| !key.starts_with("clusterIP"));
    }
    object
}

#[tokio::test]
async fn every_kind_takes_dry_runs_generated_names_watches_and_collective_deletes() {
    let server = server().await;
    let admin = server.admin();
    for example in examples::all() {
        let (row, kind) = (example.row, example.row.kind);
        let answer = admin.create(&format!("{}?dryRun=All", example.collection()), &example.object).await;
        assert_eq!(answer.code, 201, "{kind}: {}", answer.body);
        assert_eq!(admin.get(&example.path()).await.code, 404, "{kind} is not there after a dry run");
        let version = admin.get(&example.collection()).await.ok()["metadata"]["resourceVersion"].clone();
        let version = version.as_str().unwrap();
        let watch = format!("{}?watch=1&resourceVersion={version}&timeoutSeconds=60", example.collection());
        let mut watch = EventStream::open(&admin, &watch).await;
        let mut labelled = example.object.clone();
        labelled["metadata"]["labels"] = json!({"contract": "yes"});
        admin.create(&example.collection(), &labelled).await.ok();
        let told = watch.expect("ADDED", example.name()).await;
        assert_eq!((&told["kind"], &told["apiVersion"]), (&kind.into(), &labelled["apiVersion"]));
        if OWN_WAY.contains(&kind) {
            continue;
        }
        let all = format!("{}?labelSelector=contract%3Dyes&gracePeriodSeconds=0", example.collection());
        let deleted = admin.delete(&all).await;
        assert_eq!(deleted.code, 200, "{kind}: {}", deleted.body);
        release(&admin, &example).await;
        assert_eq!(admin.get(&example.path()).await.code, 404, "{kind} is deleted with its collection");
        generated(&admin, row, &example).await;
    }
}

/// Names are made for kinds that have no rule of their own for names.
async fn generated(admin: &Caller, row: &ResourceDescriptor, example: &Example) {
    if matches!(row.kind, "CustomResourceDefinition" | "APIService") {
        return;
    }
    let mut object = example.object.clone();
    object["metadata"] = json!({"generateName": "made-"});
    if row.kind == "Event" {
        object["metadata"]["namespace"] = "default".into();
    }
    let created = admin.create(&example.collection(), &object).await;
    assert_eq!(created.code, 201, "{}: {}", row.kind, created.body);
    let name = created.body["metadata"]["name"].as_str().unwrap();
    assert!(name.starts_with("made-") && name.len() == 10, "{}: {name}", row.kind);
}

#[tokio::test]
async fn verbs_a_kind_does_not_have_are_refused() {
    let server = server().await;
    let admin = server.admin();
    for row in api::resources() {
        let collection = collection(row, "default");
        let object = format!("{collection}/x");
        for (verb, method, path) in [
            ("list", Method::GET, &collection),
            ("create", Method::POST, &collection),
            ("deletecollection", Method::DELETE, &collection),
            ("get", Method::GET, &object),
            ("update", Method::PUT, &object),
            ("patch", Method::PATCH, &object),
            ("delete", Method::DELETE, &object),
        ] {
            if row.verbs.contains(&verb) {
                continue;
            }
            let answer = answer(admin.request(method, path)).await;
            assert_eq!(answer.body["reason"], "MethodNotAllowed", "{verb} of {}: {}", row.plural, answer.body);
            answer.failed(405);
        }
        let post = admin.create(&object, &json!({})).await;
        assert_eq!(post.code, 405, "POST of {object}: {}", post.body);
    }
}

#[tokio::test]
async fn every_status_is_written_apart_from_its_object() {
    let server = server().await;
    let admin = server.admin();
    for example in examples::all() {
        let kind = example.row.kind;
        let Some(sub) = example.row.subresources.iter().find(|sub| sub.action == Action::Status) else { continue };
        admin.create(&example.collection(), &example.object).await.ok();
        let path = format!("{}/{}", example.path(), sub.name);
        let read = admin.get(&path).await.ok();
        assert_eq!(read["kind"], kind);
        let mut status = read.clone();
        status["metadata"]["labels"] = json!({"by": "status"});
        let replaced = admin.update(&path, &status).await;
        assert_eq!(replaced.code, 200, "{kind}: {}", replaced.body);
        let note = json!({"metadata": {"annotations": {"by": "status"}}});
        for form in ["merge", "strategic-merge"] {
            let answer = admin.patch(&path, form, &note).await;
            assert_eq!(answer.code, 200, "{kind}: {}", answer.body);
        }
        let missing = admin.get(&format!("{}/missing/{}", example.collection(), sub.name)).await;
        assert_eq!(missing.body["reason"], "NotFound", "{kind}");
    }
}

#[tokio::test]
async fn scales_are_read_and_written_for_every_workload() {
    let server = server().await;
    let admin = server.admin();
    let mut seen = 0;
    for example in examples::all() {
        let Some(sub) = example.row.subresources.iter().find(|sub| sub.action == Action::Scale) else { continue };
        let kind = example.row.kind;
        seen += 1;
        admin.create(&example.collection(), &example.object).await.ok();
        let path = format!("{}/{}", example.path(), sub.name);
        let mut scale = admin.get(&path).await.ok();
        assert_eq!((&scale["kind"], &scale["apiVersion"]), (&"Scale".into(), &"autoscaling/v1".into()), "{kind}");
        assert_eq!(scale["spec"]["replicas"], 1, "{kind}");
        assert_eq!(scale["status"]["selector"], "app=example", "{kind}");
        scale["spec"]["replicas"] = 3.into();
        let put = admin.update(&path, &scale).await.ok();
        assert_eq!(put["spec"]["replicas"], 3, "{kind}");
        let refused = admin.update(&path, &scale).await;
        assert_eq!(refused.body["reason"], "Conflict", "{kind}");
        admin.patch(&path, "merge", &json!({"spec": {"replicas": 0}})).await.ok();
        assert_eq!(admin.get(&example.path()).await.ok()["spec"]["replicas"], 0, "{kind}: zero is kept");
        let protobuf = admin.get_as(&path, PROTOBUF).await;
        assert_eq!(from_protobuf(&protobuf.bytes)["kind"], "Scale", "{kind}");
        admin.patch(&path, "merge", &json!({"spec": {"replicas": -1}})).await.failed(422);
    }
    assert_eq!(seen, 4, "replication controllers, deployments, replica sets, stateful sets");
}

#[tokio::test]
async fn questions_are_answered_in_every_encoding() {
    let server = server().await;
    let admin = server.admin();
    let access = json!({"resourceAttributes": {"verb": "get", "resource": "pods", "namespace": "default"}});
    let user = json!({"resourceAttributes": access["resourceAttributes"], "user": "somebody"});
    let namespaced = "/apis/authorization.k8s.io/v1/namespaces/default/localsubjectaccessreviews";
    for (path, kind, spec) in [
        ("/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", "SelfSubjectAccessReview", access),
        ("/apis/authorization.k8s.io/v1/subjectaccessreviews", "SubjectAccessReview", user.clone()),
        (namespaced, "LocalSubjectAccessReview", user),
        (
            "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews",
            "SelfSubjectRulesReview",
            json!({"namespace": "default"}),
        ),
        ("/apis/authentication.k8s.io/v1/selfsubjectreviews", "SelfSubjectReview", Value::Null),
        ("/apis/authentication.k8s.io/v1/tokenreviews", "TokenReview", json!({"token": "no token"})),
    ] {
        let group = path.split('/').nth(2).unwrap();
        let mut question = json!({"apiVersion": format!("{group}/v1"), "kind": kind, "spec": spec});
        if spec_is_absent(&question) {
            question.as_object_mut().unwrap().remove("spec");
        }
        if kind.starts_with("Local") {
            question["metadata"] = json!({"namespace": "default"});
        }
        let told = admin.create(path, &question).await;
        assert_eq!(told.code, 201, "{kind}: {}", told.body);
        assert!(told.body["status"].is_object(), "{kind}: {}", told.body);
        let request = admin.request(Method::POST, path).header("content-type", PROTOBUF).header("accept", PROTOBUF);
        let coded: Answer = answer(request.body(to_protobuf(&question))).await;
        assert_eq!(coded.code, 201, "{kind}: {}", coded.body);
        assert_eq!(from_protobuf(&coded.bytes)["status"], told.body["status"], "{kind}");
    }
}

fn spec_is_absent(question: &Value) -> bool {
    question["spec"].is_null()
}
