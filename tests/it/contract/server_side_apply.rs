//! Server-side apply: who owns which field, what a conflict says, and how lists are merged by their keys.

use harness::{Caller, core};
use reqwest::Method;
use serde_json::{Value, json};

use crate::examples;
use crate::server;

const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";

fn map(data: &Value) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m"}, "data": data})
}

/// The entry of a manager, by its operation and subresource.
fn entry<'o>(object: &'o Value, manager: &str, operation: &str) -> Option<&'o Value> {
    let entries = object["metadata"]["managedFields"].as_array()?;
    entries.iter().find(|entry| entry["manager"] == manager && entry["operation"] == operation)
}

async fn apply(admin: &Caller, manager: &str, data: &Value) -> harness::Answer {
    admin.apply(&core("configmaps/m"), manager, false, &map(data)).await
}

#[tokio::test]
async fn fields_are_owned_shared_taken_and_given_up() {
    let server = server().await;
    let admin = server.admin();
    let created = apply(&admin, "one", &json!({"a": "1", "b": "1"})).await;
    assert_eq!(created.code, 201, "{}", created.body);
    let owned = entry(&created.body, "one", "Apply").unwrap();
    assert_eq!(owned["fieldsV1"], json!({"f:data": {"f:a": {}, "f:b": {}}}));
    let version = &created.body["metadata"]["resourceVersion"];
    let same = apply(&admin, "one", &json!({"a": "1", "b": "1"})).await.ok();
    assert_eq!(&same["metadata"]["resourceVersion"], version, "nothing changed, nothing is written");

    apply(&admin, "two", &json!({"a": "1", "c": "2"})).await.ok();
    let conflict = apply(&admin, "two", &json!({"a": "2"})).await;
    assert_eq!(conflict.body["reason"], "Conflict");
    let cause = &conflict.body["details"]["causes"][0];
    assert_eq!((&cause["reason"], &cause["field"]), (&json!("FieldManagerConflict"), &json!(".data.a")), "{cause}");
    assert_eq!(cause["message"], "conflict with \"one\"");
    let message = conflict.failed(409);
    assert_eq!(message, "Apply failed with 1 conflict: conflict with \"one\": .data.a");

    let forced = admin.apply(&core("configmaps/m"), "two", true, &map(&json!({"a": "2"}))).await.ok();
    assert_eq!(forced["data"], json!({"a": "2", "b": "1"}), "what two no longer says is gone, what one says stays");
    assert_eq!(entry(&forced, "one", "Apply").unwrap()["fieldsV1"], json!({"f:data": {"f:b": {}}}));
    let nothing = json!({"apiVersion": "v1", "kind": "ConfigMap"});
    let given_up = admin.apply(&core("configmaps/m"), "one", false, &nothing).await.ok();
    assert_eq!(given_up["data"], json!({"a": "2"}));
    assert!(entry(&given_up, "one", "Apply").is_none(), "{given_up}");

    let patch = json!({"data": {"a": "3"}});
    let edited = admin.patch(&core("configmaps/m?fieldManager=editor"), "merge", &patch).await.ok();
    assert!(entry(&edited, "two", "Apply").is_none(), "an update takes the field without asking");
    assert_eq!(entry(&edited, "editor", "Update").unwrap()["fieldsV1"], json!({"f:data": {"f:a": {}}}));
    let conflict = apply(&admin, "two", &json!({"a": "2"})).await.failed(409);
    assert!(conflict.contains("conflict with \"editor\" using v1"), "{conflict}");
}

#[tokio::test]
async fn lists_are_merged_by_their_keys() {
    let server = server().await;
    let admin = server.admin();
    let mut deployment = examples::of("Deployment").object;
    deployment["spec"]["template"]["spec"]["containers"][0]["ports"] =
        json!([{"containerPort": 80}, {"containerPort": 80, "protocol": "UDP"}, {"containerPort": 443}]);
    let path = format!("{DEPLOYMENTS}/example");
    admin.apply(&path, "one", false, &deployment).await.ok();
    let other = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "example"},
        "spec": {"template": {"spec": {"containers": [
            {"name": "c", "env": [{"name": "A", "value": "a"}]}, {"name": "sidecar", "image": "s:1"},
        ]}}},
    });
    let merged = admin.apply(&path, "two", false, &other).await.ok();
    let containers = merged["spec"]["template"]["spec"]["containers"].as_array().unwrap();
    assert_eq!(
        (containers.len(), &containers[0]["image"], &containers[1]["name"]),
        (2, &json!("busybox:1"), &json!("sidecar"))
    );
    assert_eq!(containers[0]["ports"].as_array().unwrap().len(), 3);
    deployment["spec"]["template"]["spec"]["containers"][0]["ports"] = json!([{"containerPort": 443}]);
    let fewer = admin.apply(&path, "one", false, &deployment).await.ok();
    let containers = &fewer["spec"]["template"]["spec"]["containers"];
    assert_eq!(containers[0]["ports"], json!([{"containerPort": 443, "protocol": "TCP"}]));
    assert_eq!(containers[0]["env"], json!([{"name": "A", "value": "a"}]), "what the other owns stays");
    let key = "k:{\"containerPort\":443,\"protocol\":\"TCP\"}";
    let owned = &entry(&fewer, "one", "Apply").unwrap()["fieldsV1"]["f:spec"]["f:template"]["f:spec"]["f:containers"];
    assert!(owned["k:{\"name\":\"c\"}"]["f:ports"][key].is_object(), "{owned}");
    let mut clash = other.clone();
    clash["spec"]["template"]["spec"]["containers"][0]["image"] = "other:1".into();
    let refused = admin.apply(&path, "two", false, &clash).await.failed(409);
    assert!(refused.ends_with(".spec.template.spec.containers[name=\"c\"].image"), "{refused}");
    let twice = json!({"spec": {"template": {"spec": {"containers": [{"name": "c"}, {"name": "c"}]}}}});
    let mut wrong = other.clone();
    wrong["spec"] = twice["spec"].clone();
    let refused = admin.apply(&path, "three", false, &wrong).await;
    assert!(refused.code >= 400 && refused.code < 500, "{}", refused.body);
}

#[tokio::test]
async fn statuses_and_scales_have_managers_of_their_own() {
    let server = server().await;
    let admin = server.admin();
    let mut deployment = examples::of("Deployment").object;
    deployment["spec"]["replicas"] = 1.into();
    deployment["status"] = json!({"replicas": 9});
    let path = format!("{DEPLOYMENTS}/example");
    let created = admin.apply(&path, "one", false, &deployment).await.ok();
    assert!(created["status"]["replicas"].is_null(), "{created}");
    assert!(entry(&created, "one", "Apply").unwrap()["fieldsV1"]["f:status"].is_null());
    let status = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "example"}, "status": {"replicas": 1}});
    let told = admin.apply(&format!("{path}/status"), "controller", false, &status).await.ok();
    assert_eq!(told["status"]["replicas"], 1);
    assert_eq!(entry(&told, "controller", "Apply").unwrap()["subresource"], "status");
    let scale = json!({"spec": {"replicas": 5}});
    admin.patch(&format!("{path}/scale?fieldManager=scaler"), "merge", &scale).await.ok();
    let scaled = admin.get(&path).await.ok();
    assert_eq!((&scaled["spec"]["replicas"], &scaled["status"]["replicas"]), (&json!(5), &json!(1)));
    let owner = entry(&scaled, "scaler", "Update").unwrap();
    assert_eq!((&owner["subresource"], &owner["fieldsV1"]["f:spec"]["f:replicas"]), (&json!("scale"), &json!({})));
    let refused = admin.apply(&path, "one", false, &deployment).await.failed(409);
    assert!(refused.contains("scaler") && refused.contains(".spec.replicas"), "{refused}");
    deployment["spec"].as_object_mut().unwrap().remove("replicas");
    let left = admin.apply(&path, "one", false, &deployment).await.ok();
    assert_eq!(left["spec"]["replicas"], 5, "who gives a field up to another leaves its value");
}

#[tokio::test]
async fn an_apply_says_what_it_lacks() {
    let server = server().await;
    let admin = server.admin();
    let path = core("configmaps/m");
    let media = "application/apply-patch+yaml";
    let yaml = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: m}\ndata: {a: '1'}\n";
    let refused = admin.send(Method::PATCH, &path, media, yaml).await;
    assert!(refused.code == 422 || refused.code == 400, "a manager is needed: {}", refused.body);
    let ok = admin.send(Method::PATCH, &format!("{path}?fieldManager=y"), media, yaml).await;
    assert_eq!(ok.code, 201, "{}", ok.body);
    let dry = admin
        .send(Method::PATCH, &format!("{path}?fieldManager=y&dryRun=All"), media, yaml.replace("'1'", "'2'"))
        .await;
    assert_eq!((dry.code, &dry.body["data"]["a"]), (200, &json!("2")));
    assert_eq!(admin.get(&path).await.ok()["data"]["a"], "1");
    for (body, code) in [
        (yaml.replace("kind: ConfigMap", "kind: Secret"), 400),
        (yaml.replace("apiVersion: v1\n", ""), 400),
        (yaml.replace("name: m", "name: other"), 400),
        (yaml.replace("{name: m}", "{name: m, managedFields: [{manager: x}]}"), 400),
        (yaml.replace("{name: m}", "{name: m, resourceVersion: '1'}"), 409),
        (yaml.replace("{name: m}", "{name: m, uid: wrong}"), 409),
        ("a: [".to_owned(), 400),
        ("- 1".to_owned(), 400),
    ] {
        let refused = admin.send(Method::PATCH, &format!("{path}?fieldManager=y"), media, body.clone()).await;
        assert_eq!(refused.code, code, "{body}: {}", refused.body);
        refused.failed(code);
    }
    let unknown = yaml.replace("data:", "nonsense: 1\ndata:");
    let strict = format!("{path}?fieldManager=y&fieldValidation=Strict");
    let refused = admin.send(Method::PATCH, &strict, media, unknown).await;
    assert!(refused.code == 400 || refused.code == 500, "{}", refused.body);
    let forced = admin.patch(&format!("{path}?force=true"), "merge", &json!({})).await;
    assert_eq!(forced.code, 422, "force belongs to apply: {}", forced.body);
    let missing = core("configmaps/new");
    let uid = yaml.replace("{name: m}", "{name: new, uid: wrong}");
    let refused = admin.send(Method::PATCH, &format!("{missing}?fieldManager=y"), media, uid).await;
    assert_eq!(refused.code, 409, "an object of this uid is not there: {}", refused.body);
}

#[tokio::test]
async fn managed_fields_can_be_looked_at_and_dropped_but_not_spoilt() {
    let server = server().await;
    let admin = server.admin();
    apply(&admin, "one", &json!({"a": "1"})).await.ok();
    let path = core("configmaps/m");
    let mut object = admin.get(&path).await.ok();
    object["metadata"].as_object_mut().unwrap().remove("managedFields");
    object["data"]["b"] = "2".into();
    let kept = admin.update(&path, &object).await.ok();
    assert!(entry(&kept, "one", "Apply").is_some(), "who sends none does not wipe them");
    let mut broken = kept.clone();
    broken["metadata"]["managedFields"][0]["fieldsType"] = "FieldsV9".into();
    let answer = admin.update(&path, &broken).await;
    assert!(answer.code == 200 || answer.code == 422, "{}", answer.body);
    let mut wiped = admin.get(&path).await.ok();
    wiped["metadata"]["managedFields"] = json!([{}]);
    let wiped = admin.update(&path, &wiped).await.ok();
    assert!(entry(&wiped, "one", "Apply").is_none(), "an empty entry resets them: {wiped}");
    // Whatever nobody owns belongs to those before the first apply.
    let refused = apply(&admin, "two", &json!({"a": "7"})).await.failed(409);
    assert!(refused.contains("before-first-apply"), "{refused}");
}

/// What kubectl 1.20 applied on the client side can be applied on the server side by a newer one.
#[tokio::test]
async fn a_field_owned_by_an_update_of_the_same_value_is_shared() {
    let server = server().await;
    let admin = server.admin();
    let path = core("configmaps?fieldManager=kubectl-client-side-apply");
    let mut first = map(&json!({"a": "1"}));
    first["metadata"]["annotations"] =
        json!({"kubectl.kubernetes.io/last-applied-configuration": map(&json!({"a": "1"})).to_string()});
    admin.create(&path, &first).await.ok();
    let shared = apply(&admin, "kubectl", &json!({"a": "1"})).await.ok();
    assert!(entry(&shared, "kubectl", "Apply").is_some(), "{shared}");
    let conflict = apply(&admin, "other", &json!({"a": "2"})).await;
    assert_eq!(conflict.code, 409, "{}", conflict.body);
}
