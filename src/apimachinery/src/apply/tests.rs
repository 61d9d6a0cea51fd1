use super::*;
use crate::{
    json::{Options, Validation, decode_with},
    schema::tests::{schema, type_of},
    value,
};

const T1: &str = "2026-01-01T00:00:01Z";
const T2: &str = "2026-01-01T00:00:02Z";

fn manager<'a>(name: &'a str, time: &'a str) -> Manager<'a> {
    Manager { name, subresource: "", time }
}

fn kind() -> (&'static Schema, TypeId) {
    (schema(), type_of("apps/v1", "Deployment"))
}

/// A configuration of the deployment, from what is beside its identity.
fn config(rest: &Value) -> Object {
    let mut object =
        Object::try_from(value!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}})).unwrap();
    for (key, value) in rest.as_map().unwrap().iter() {
        object.set_at(&[key.as_str()], value.clone());
    }
    let text = crate::json::encode_object(&object);
    decode_with(&text, schema(), Some(kind().1), Options { validation: Validation::Strict, verbatim: true })
        .unwrap()
        .object
}

fn spec(spec: Value) -> Object {
    config(&value!({ "spec": spec }))
}

fn containers(containers: Value) -> Object {
    spec(value!({"template": {"spec": {"containers": containers}}}))
}

fn owned(object: &Object, name: &str) -> Vec<String> {
    let entries = object.list_at(&["metadata", "managedFields"]).iter();
    entries
        .filter(|entry| entry.str("manager") == name)
        .flat_map(|entry| FieldSet::from_value(entry.get("fieldsV1").unwrap()).paths())
        .collect()
}

const WEB: &str = r#".spec.template.spec.containers[name="web"]"#;

#[test]
fn the_first_apply_makes_the_object_and_owns_its_leaves() {
    let applied = apply(
        None,
        &containers(value!([{"name": "web", "image": "a", "ports": [{"containerPort": 80}]}])),
        manager("me", T1),
        false,
        kind(),
    )
    .unwrap();
    let port = format!(r#"{WEB}.ports[containerPort=80,protocol="TCP"]"#);
    let expected =
        [WEB.to_owned(), format!("{WEB}.image"), format!("{WEB}.name"), port.clone(), format!("{port}.containerPort")];
    assert_eq!(owned(&applied, "me"), expected);
    let entry = &applied.list_at(&["metadata", "managedFields"])[0];
    assert_eq!(
        (entry.str("operation"), entry.str("fieldsType"), entry.str("time"), entry.str("apiVersion")),
        ("Apply", "FieldsV1", T1, "apps/v1")
    );
}

#[test]
fn applying_the_same_again_changes_nothing() {
    let config = spec(value!({"replicas": 2, "selector": {"matchLabels": {"a": "b"}}}));
    let first = apply(None, &config, manager("me", T1), false, kind()).unwrap();
    assert_eq!(apply(Some(&first), &config, manager("me", T2), false, kind()).unwrap(), first);
}

#[test]
fn the_oldest_of_many_updaters_are_put_together_and_lose_nothing() {
    let mut object = apply(None, &spec(value!({"replicas": 1})), manager("me", T1), false, kind()).unwrap();
    for number in 0..12 {
        let mut new = object.clone();
        new.set_at(&["metadata", "annotations", &format!("a{number}")], "x");
        let (name, time) = (format!("m{number}"), format!("2026-01-01T00:00:{:02}Z", number + 10));
        object = update(Some(&object), new, manager(&name, &time), kind());
    }
    assert_eq!(object.list_at(&["metadata", "managedFields"]).len(), 11, "ten updaters and one who applies");
    let ancient = owned(&object, "ancient-changes");
    let mut expected: Vec<String> = (0..3).map(|number| format!(".metadata.annotations.a{number}")).collect();
    expected.insert(0, ".metadata.annotations".to_owned());
    assert_eq!(ancient, expected);
    assert_eq!(owned(&object, "m3"), [".metadata.annotations.a3"]);
    assert_eq!(owned(&object, "me"), [".spec.replicas"]);
}

#[test]
fn what_is_no_longer_applied_goes_unless_another_owns_it() {
    let first = apply(
        None,
        &containers(value!([{"name": "web", "image": "a", "tty": true}, {"name": "old", "image": "b"}])),
        manager("me", T1),
        false,
        kind(),
    )
    .unwrap();
    let other = containers(value!([{"name": "web", "tty": true, "stdin": true}]));
    let shared = apply(Some(&first), &other, manager("you", T1), false, kind()).unwrap();
    let less =
        apply(Some(&shared), &containers(value!([{"name": "web", "image": "a"}])), manager("me", T2), false, kind())
            .unwrap();
    assert_eq!(
        less.at(&["spec", "template", "spec", "containers"]),
        Some(&value!([{"name": "web", "image": "a", "tty": true, "stdin": true}]))
    );
    assert_eq!(owned(&less, "me"), [WEB.to_owned(), format!("{WEB}.image"), format!("{WEB}.name")]);
}

#[test]
fn conflicts_are_reported_and_can_be_forced() {
    let first = apply(None, &spec(value!({"replicas": 2, "paused": true})), manager("me", T1), false, kind()).unwrap();
    let mut scaled = first.clone();
    scaled.set_at(&["spec", "replicas"], 5);
    let live = update(Some(&first), scaled, manager("hpa", T1), kind());
    assert_eq!(owned(&live, "hpa"), [".spec.replicas"]);
    assert_eq!(owned(&live, "me"), [".spec.paused"]);

    let again = spec(value!({"replicas": 3, "paused": true}));
    let error = apply(Some(&live), &again, manager("me", T2), false, kind()).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("Apply failed with 1 conflict: conflict with \"hpa\" using apps/v1 at {T1}: .spec.replicas")
    );
    let status = error.to_status();
    assert_eq!((status.code(), status.reason()), (409, "Conflict"));
    assert_eq!(status.details().unwrap().causes[0].field, ".spec.replicas");

    let forced = apply(Some(&live), &again, manager("me", T2), true, kind()).unwrap();
    assert_eq!(forced.i64_at(&["spec", "replicas"]), Some(3));
    assert_eq!(owned(&forced, "me"), [".spec.paused", ".spec.replicas"]);
    assert!(owned(&forced, "hpa").is_empty());

    let two = spec(value!({"replicas": 3, "paused": false}));
    let error = apply(Some(&first), &two, manager("you", T2), false, kind()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "Apply failed with 2 conflicts: conflicts with \"me\":\n- .spec.paused\n- .spec.replicas"
    );
}

#[test]
fn agreeing_managers_share_a_field() {
    let first = apply(None, &spec(value!({"replicas": 2})), manager("me", T1), false, kind()).unwrap();
    let both = apply(Some(&first), &spec(value!({"replicas": 2})), manager("you", T2), false, kind()).unwrap();
    assert_eq!(
        (owned(&both, "me"), owned(&both, "you")),
        (vec![".spec.replicas".to_owned()], vec![".spec.replicas".to_owned()])
    );
    let left = apply(Some(&both), &spec(value!({"paused": true})), manager("me", T2), false, kind()).unwrap();
    assert_eq!(left.i64_at(&["spec", "replicas"]), Some(2));
}

#[test]
fn updates_own_what_they_change() {
    let created = update(
        None,
        config(
            &value!({"metadata": {"name": "web", "labels": {"a": "b"}}, "spec": {"replicas": 1, "template": {"spec": {"containers": [{"name": "web"}]}}}}),
        ),
        manager("kubectl", T1),
        kind(),
    );
    let expected = [".metadata.labels", ".metadata.labels.a", ".spec.replicas", WEB, &format!("{WEB}.name")];
    assert_eq!(owned(&created, "kubectl"), expected);
    let mut removed = created.clone();
    removed.remove_at(&["metadata", "labels"]);
    let removed = update(Some(&created), removed, manager("other", T2), kind());
    assert_eq!(owned(&removed, "kubectl"), [".spec.replicas", WEB, &format!("{WEB}.name")]);
    assert!(owned(&removed, "other").is_empty());
    assert_eq!(update(Some(&removed), removed.clone(), manager("other", T2), kind()), removed);
}

#[test]
fn objects_without_accounts_belong_to_whoever_was_first() {
    let live = spec(value!({"replicas": 1}));
    let error = apply(Some(&live), &spec(value!({"replicas": 2})), manager("me", T1), false, kind()).unwrap_err();
    assert!(error.to_string().contains("before-first-apply"), "{error}");
    let applied = apply(Some(&live), &spec(value!({"paused": true})), manager("me", T1), false, kind()).unwrap();
    assert_eq!(owned(&applied, "before-first-apply"), [".spec.replicas"]);
}

#[test]
fn subresources_keep_their_own_accounts() {
    let live = apply(None, &spec(value!({"replicas": 1})), manager("me", T1), false, kind()).unwrap();
    let mut ready = live.clone();
    ready.set_at(&["status", "readyReplicas"], 1);
    let status = Manager { name: "kcm", subresource: "status", time: T2 };
    let live = update(Some(&live), ready, status, kind());
    let entry = &live.list_at(&["metadata", "managedFields"])[1];
    assert_eq!((entry.str("subresource"), entry.str("manager")), ("status", "kcm"));
    assert_eq!(owned(&live, "kcm"), [".status.readyReplicas"]);
}

#[test]
fn items_that_cannot_be_told_apart_are_refused() {
    for list in [value!([{"image": "a"}]), value!([{"name": "a"}, {"name": "a"}])] {
        assert!(matches!(
            apply(None, &containers(list), manager("me", T1), false, kind()),
            Err(ApplyError::Malformed(_))
        ));
    }
    let managed = config(&value!({"metadata": {"name": "web", "managedFields": []}}));
    assert_eq!(apply(None, &managed, manager("me", T1), false, kind()), Err(ApplyError::ManagedFieldsSet));
}

#[test]
fn sets_pass_through_their_written_form() {
    let written = value!({"f:metadata": {"f:finalizers": {".": {}, "v:\"a\"": {}}}, "f:spec": {"f:x": {}}});
    let set = FieldSet::from_value(&written);
    assert_eq!(set.to_value(), written);
    assert_eq!(set.paths(), [".metadata.finalizers", r#".metadata.finalizers[="a"]"#, ".spec.x"]);
    assert!(set.clone().difference(&set).is_empty());
    assert_eq!(set.intersection(&set.clone().union(&FieldSet::default())), set);
}
