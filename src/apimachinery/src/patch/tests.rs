use super::*;
use crate::{
    json::decode_value,
    schema::tests::{schema, type_of},
    value,
};
use proptest::prelude::*;

fn object(value: Value) -> Object {
    Object::try_from(value).unwrap()
}

fn deployment() -> Object {
    object(value!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "labels": {"app": "web", "old": "x"}, "finalizers": ["a/x", "b/y"]},
        "spec": {"replicas": 2, "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}}, "template": {"spec": {
            "containers": [
                {"name": "web", "image": "nginx:1", "ports": [{"containerPort": 80, "protocol": "TCP"}], "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}]},
                {"name": "sidecar", "image": "envoy:1", "args": ["-v"]},
            ],
            "tolerations": [{"key": "a"}],
            "volumes": [{"name": "v", "emptyDir": {}}],
        }}},
    }))
}

fn strategic(patch: &str) -> Result<Object, PatchError> {
    let patch = decode_value(patch.as_bytes()).unwrap();
    strategic_merge_patch(&deployment(), &patch, schema(), type_of("apps/v1", "Deployment"))
}

/// Applies the patch and compares one place of the result.
fn check(patch: &str, place: &[&str], expected: &Value) {
    assert_eq!(strategic(patch).unwrap().at(place), Some(expected), "{patch}");
}

const CONTAINERS: &[&str] = &["spec", "template", "spec", "containers"];

fn in_pod(patch: &str) -> String {
    format!(r#"{{"spec":{{"template":{{"spec":{patch}}}}}}}"#)
}

#[test]
fn kubectl_set_image_changes_one_container() {
    let patched = strategic(&in_pod(r#"{"$setElementOrder/containers":[{"name":"web"},{"name":"sidecar"}],"containers":[{"name":"sidecar","image":"envoy:2"}]}"#)).unwrap();
    let mut expected = deployment();
    expected.set_at(&["spec", "template", "spec", "containers", "1", "image"], "envoy:2");
    assert_eq!(patched, expected);
}

#[test]
fn list_items_are_added_deleted_and_replaced() {
    check(
        &in_pod(
            r#"{"containers":[{"name":"web","$patch":"delete"},{"name":"new","image":"x","env":null,"ports":[{"containerPort":1,"name":null}]}]}"#,
        ),
        CONTAINERS,
        &value!([{"name": "sidecar", "image": "envoy:1", "args": ["-v"]}, {"name": "new", "image": "x", "ports": [{"containerPort": 1}]}]),
    );
    check(&in_pod(r#"{"containers":[{"$patch":"replace"},{"name":"only"}]}"#), CONTAINERS, &value!([{"name": "only"}]));
    check(&in_pod(r#"{"containers":[{"name":"sidecar","$patch":"replace","image":"z"}]}"#), CONTAINERS, &value!([]));
}

#[test]
fn merge_keys_need_not_be_the_keys_of_the_list() {
    check(
        &in_pod(
            r#"{"containers":[{"name":"web","ports":[{"containerPort":80,"name":"http"},{"containerPort":443}]}]}"#,
        ),
        &["spec", "template", "spec", "containers", "0", "ports"],
        &value!([{"containerPort": 80, "protocol": "TCP", "name": "http"}, {"containerPort": 443}]),
    );
    let service = object(
        value!({"spec": {"ports": [{"port": 80, "targetPort": 8080, "nodePort": 30000}], "selector": {"a": "b"}}}),
    );
    let patch = value!({"spec": {"$setElementOrder/ports": [{"port": 443}, {"port": 80}], "ports": [{"port": 443}, {"port": 80, "name": "http"}], "selector": {"a": null, "c": "d"}}});
    let patched = strategic_merge_patch(&service, &patch, schema(), type_of("v1", "Service")).unwrap();
    assert_eq!(
        patched.into_value(),
        value!({"spec": {"ports": [{"port": 443}, {"port": 80, "targetPort": 8080, "nodePort": 30000, "name": "http"}], "selector": {"c": "d"}}})
    );
}

#[test]
fn lists_without_strategy_are_replaced() {
    check(
        &in_pod(r#"{"tolerations":[{"key":"b"}]}"#),
        &["spec", "template", "spec", "tolerations"],
        &value!([{"key": "b"}]),
    );
    check(
        &in_pod(r#"{"containers":[{"name":"sidecar","args":["-q"]}]}"#),
        &["spec", "template", "spec", "containers", "1", "args"],
        &value!(["-q"]),
    );
}

#[test]
fn the_order_asked_for_is_kept() {
    let names = |patched: &Object, path: &[&str]| {
        patched.list_at(path).iter().map(|item| item.str("name").to_owned()).collect::<Vec<_>>()
    };
    let patched = strategic(&in_pod(
        r#"{"$setElementOrder/containers":[{"name":"new"},{"name":"web"}],"containers":[{"name":"new"}]}"#,
    ))
    .unwrap();
    assert_eq!(names(&patched, CONTAINERS), ["new", "web", "sidecar"]);
    let patched = strategic(&in_pod(r#"{"$setElementOrder/containers":[{"name":"sidecar"},{"name":"web"}]}"#)).unwrap();
    assert_eq!(names(&patched, CONTAINERS), ["sidecar", "web"]);
    let patch = r#"{"containers":[{"name":"web","$setElementOrder/env":[{"name":"C"},{"name":"B"}],"env":[{"name":"C","value":"3"},{"name":"A","$patch":"delete"}]}]}"#;
    assert_eq!(
        names(&strategic(&in_pod(patch)).unwrap(), &["spec", "template", "spec", "containers", "0", "env"]),
        ["C", "B"]
    );
}

#[test]
fn items_only_the_server_has_keep_their_place() {
    let item = |name: &str| value!({"name": name});
    let old: Vec<Value> = ["a", "server1", "b", "server2"].map(item).into();
    let reordered = |list: &[&str], order: &[&str]| {
        let list = list.iter().map(|name| item(name)).collect();
        let order: Vec<Value> = order.iter().map(|name| item(name)).collect();
        super::strategic::reorder(list, &old, &order, Some("name"))
            .iter()
            .map(|item| item.str("name").to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(
        reordered(&["a", "server1", "b", "server2", "c"], &["a", "c", "b"]),
        ["a", "c", "server1", "b", "server2"]
    );
    assert_eq!(reordered(&["a", "server1", "b", "server2"], &["b", "a"]), ["server1", "b", "a", "server2"]);
}

#[test]
fn lists_of_plain_values_are_merged() {
    let patch = r#"{"metadata":{"$deleteFromPrimitiveList/finalizers":["a/x"],"$setElementOrder/finalizers":["c/z","b/y"],"finalizers":["c/z"]}}"#;
    check(patch, &["metadata", "finalizers"], &value!(["c/z", "b/y"]));
    check(r#"{"metadata":{"finalizers":["b/y","d/w"]}}"#, &["metadata", "finalizers"], &value!(["a/x", "b/y", "d/w"]));
    check(
        r#"{"metadata":{"$deleteFromPrimitiveList/finalizers":["a/x"]}}"#,
        &["metadata", "finalizers"],
        &value!(["b/y"]),
    );
}

#[test]
fn maps_are_merged_replaced_and_pruned() {
    check(
        r#"{"metadata":{"labels":{"old":null,"new":"y"}}}"#,
        &["metadata", "labels"],
        &value!({"app": "web", "new": "y"}),
    );
    check(r#"{"metadata":{"labels":{"$patch":"replace","new":"y"}}}"#, &["metadata", "labels"], &value!({"new": "y"}));
    check(r#"{"metadata":{"labels":{"$patch":"delete"}}}"#, &["metadata", "labels"], &value!({}));
    check(
        r#"{"spec":{"strategy":{"$retainKeys":["type"],"type":"Recreate"}}}"#,
        &["spec", "strategy"],
        &value!({"type": "Recreate"}),
    );
    check(
        &in_pod(r#"{"volumes":[{"name":"v","$retainKeys":["name","hostPath"],"hostPath":{"path":"/x"}}]}"#),
        &["spec", "template", "spec", "volumes"],
        &value!([{"name": "v", "hostPath": {"path": "/x"}}]),
    );
}

#[test]
fn malformed_patches_are_refused() {
    for patch in [
        "[]",
        "1",
        r#"{"$patch":"explode"}"#,
        r#"{"$patch":1}"#,
        r#"{"spec":{"$retainKeys":1}}"#,
        r#"{"metadata":{"$setElementOrder/finalizers":1}}"#,
        r#"{"spec":{"template":{"spec":{"containers":[{"image":"x"}]}}}}"#,
    ] {
        assert!(matches!(strategic(patch), Err(PatchError::Malformed(_))), "{patch}");
    }
}

#[test]
fn merge_patches_follow_the_rfc() {
    let patched = merge_patch(
        &deployment(),
        br#"{"metadata":{"labels":{"old":null,"none":null}},"spec":{"replicas":3,"template":null,"strategy":"x"}}"#,
    )
    .unwrap();
    assert_eq!(patched.at(&["metadata", "labels"]), Some(&value!({"app": "web"})));
    assert_eq!(patched.at(&["spec"]), Some(&value!({"replicas": 3, "strategy": "x"})));
    assert!(merge_patch(&deployment(), b"[]").is_err());
    assert!(matches!(merge_patch(&deployment(), b"{"), Err(PatchError::Malformed(_))));
}

#[test]
fn json_patches_follow_the_rfc() {
    let apply = |patch: &str| {
        json_patch(&object(value!({"a": {"b/c": [1, 2]}, "x": null})), patch.as_bytes()).map(Object::into_value)
    };
    for (patch, expected) in [
        (r#"[{"op":"add","path":"/a/b~1c/-","value":3}]"#, value!({"a": {"b/c": [1, 2, 3]}, "x": null})),
        (r#"[{"op":"add","path":"/a/b~1c/0","value":0}]"#, value!({"a": {"b/c": [0, 1, 2]}, "x": null})),
        (r#"[{"op":"remove","path":"/a/b~1c/0"},{"op":"remove","path":"/x"}]"#, value!({"a": {"b/c": [2]}})),
        (
            r#"[{"op":"replace","path":"/a","value":{"m~n":1}},{"op":"test","path":"/a/m~0n","value":1}]"#,
            value!({"a": {"m~n": 1}, "x": null}),
        ),
        (r#"[{"op":"move","from":"/a/b~1c","path":"/y"}]"#, value!({"a": {}, "x": null, "y": [1, 2]})),
        (
            r#"[{"op":"copy","from":"/a/b~1c/1","path":"/x"},{"op":"test","path":"/none"}]"#,
            value!({"a": {"b/c": [1, 2]}, "x": 2}),
        ),
        (r#"[{"op":"replace","path":"","value":{"z":1}}]"#, value!({"z": 1})),
    ] {
        assert_eq!(apply(patch).unwrap(), expected, "{patch}");
    }
    for patch in [
        r#"[{"op":"remove","path":"/none"}]"#,
        r#"[{"op":"replace","path":"/none","value":1}]"#,
        r#"[{"op":"test","path":"/x","value":1}]"#,
        r#"[{"op":"add","path":"/a/b~1c/4","value":1}]"#,
        r#"[{"op":"add","path":"/none/x","value":1}]"#,
        r#"[{"op":"move","from":"/a","path":"/a/b"}]"#,
        r#"[{"op":"remove","path":"/a/b~1c/01"}]"#,
        r#"[{"op":"replace","path":"","value":1}]"#,
    ] {
        assert!(matches!(apply(patch), Err(PatchError::DoesNotApply(_))), "{patch}");
    }
    for patch in [
        "{}",
        r#"[{"op":"add","path":"/x"}]"#,
        r#"[{"op":"explode","path":"/x"}]"#,
        r#"[{"path":"x","op":"remove"}]"#,
        "[1]",
    ] {
        assert!(matches!(apply(patch), Err(PatchError::Malformed(_))), "{patch}");
    }
    let bomb = vec![r#"{"op":"copy","from":"/a/b~1c","path":"/a/b~1c/-"}"#; 60];
    assert!(apply(&format!("[{}]", bomb.join(","))).is_err());
}

proptest! {
    #[test]
    fn a_merge_patch_of_the_same_object_changes_nothing(replicas in any::<i32>(), name in "[a-z]{1,8}") {
        let patch = format!(r#"{{"spec":{{"replicas":{replicas}}},"metadata":{{"name":"{name}"}}}}"#);
        let once = strategic(&patch).unwrap();
        let twice = strategic_merge_patch(&once, &decode_value(patch.as_bytes()).unwrap(), schema(), type_of("apps/v1", "Deployment")).unwrap();
        prop_assert_eq!(once, twice);
    }
}
