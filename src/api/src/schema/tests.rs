use super::*;
use apimachinery::{
    Object, Value, apply,
    json::{self, Validation},
    patch, protobuf,
    schema::sample,
    yaml,
};

/// Calls with an object of every kind that has all its fields set.
fn for_every_kind(check: impl Fn(apimachinery::schema::TypeId, &Object)) {
    let served = schema().types().filter(|(_, of)| !of.kinds.is_empty());
    for (id, _) in served {
        check(id, &Object::try_from(sample(schema(), id)).unwrap());
    }
}

#[test]
fn every_row_has_its_type() {
    for row in crate::resources() {
        assert!(schema().type_for_gvk(row.group, row.version, row.kind).is_some(), "{} {}", row.group, row.kind);
    }
}

#[test]
fn prose_unpacks() {
    let pod = schema().type_named("core.v1.Pod").unwrap();
    assert!(schema().description(pod, None).starts_with("Pod is a collection"));
    assert!(!schema().description(pod, Some("spec")).is_empty());
}

#[test]
fn types_needed_beside_the_resources_are_there() {
    for (api_version, kind) in [
        ("v1", "Status"),
        ("v1", "DeleteOptions"),
        ("autoscaling/v1", "Scale"),
        ("v1", "Binding"),
        ("policy/v1", "Eviction"),
        ("authentication.k8s.io/v1", "TokenRequest"),
        ("authentication.k8s.io/v1", "TokenReview"),
        ("meta.k8s.io/v1", "PartialObjectMetadata"),
        ("authorization.k8s.io/v1", "SelfSubjectRulesReview"),
        ("v1", "APIResourceList"),
        ("apidiscovery.k8s.io/v2", "APIGroupDiscoveryList"),
        ("admission.k8s.io/v1", "AdmissionReview"),
    ] {
        assert!(schema().type_of(api_version, kind).is_some(), "{kind}");
    }
}

#[test]
fn json_loses_no_field_of_any_kind() {
    for_every_kind(|id, full| {
        let decoded = json::decode(&json::encode_object(full), schema(), Some(id), Validation::Strict).unwrap();
        assert_eq!(&decoded.object, full, "{}", full.kind());
    });
}

#[test]
fn protobuf_loses_no_field_of_any_kind() {
    for_every_kind(|id, full| {
        let bytes = protobuf::encode(full, schema(), id).unwrap();
        assert_eq!(&protobuf::decode(&bytes, schema(), None).unwrap(), full, "{}", full.kind());
    });
}

#[test]
fn yaml_loses_no_field_of_any_kind() {
    for_every_kind(|id, full| {
        let decoded = yaml::decode(&json::encode_object(full), schema(), Some(id), Validation::Strict).unwrap();
        assert_eq!(&decoded.object, full, "{}", full.kind());
    });
}

#[test]
fn patches_lose_no_field_of_any_kind() {
    let sorted = |object: &Object| {
        let mut tree = Value::from(object);
        sort(&mut tree);
        tree
    };
    for_every_kind(|id, full| {
        let (kind, empty) = (full.kind(), Object::new(full.api_version(), full.kind()));
        let whole = Value::from(full);
        let steps = full.as_map().iter().map(|(field, value)| {
            apimachinery::value!({"op": "add", "path": (format!("/{}", field.as_str())), "value": (value.clone())})
        });
        let steps = Value::List(steps.collect()).to_string();
        // From nothing to everything, and from everything to the same.
        for start in [&empty, full] {
            let patched = patch::json_patch(start, steps.as_bytes()).unwrap();
            assert_eq!(sorted(&patched), sorted(full), "JSON patch of {kind}");
            let patched = patch::merge_patch(start, whole.to_string().as_bytes()).unwrap();
            assert_eq!(sorted(&patched), sorted(full), "merge patch of {kind}");
        }
        let patched = patch::strategic_merge_patch(&empty, &whole, schema(), id).unwrap();
        assert_eq!(sorted(&patched), sorted(full), "strategic merge patch of {kind}");
        let patched = patch::strategic_merge_patch(full, &Value::map(), schema(), id).unwrap();
        assert_eq!(sorted(&patched), sorted(full), "empty strategic merge patch of {kind}");
    });
}

#[test]
fn apply_loses_no_field_of_any_kind() {
    for_every_kind(|id, full| {
        let mut configuration = full.clone();
        configuration.metadata_mut().remove("managedFields");
        let manager = apply::Manager { name: "test", subresource: "", time: "2026-01-01T00:00:00Z" };
        let made = apply::apply(None, &configuration, manager, false, (schema(), id)).unwrap();
        let again = apply::apply(Some(&made), &configuration, manager, false, (schema(), id)).unwrap();
        for mut seen in [made, again] {
            seen.metadata_mut().remove("managedFields");
            let (mut seen, mut wanted) = (Value::from(seen), Value::from(&configuration));
            sort(&mut seen);
            sort(&mut wanted);
            assert_eq!(seen, wanted, "{}", full.kind());
        }
    });
}

/// Orders the fields of all maps, which mean the same in any order.
fn sort(tree: &mut Value) {
    match tree {
        Value::List(items) => items.iter_mut().for_each(sort),
        Value::Map(map) => {
            map.iter_mut().for_each(|(_, value)| sort(value));
            map.sort_keys();
        }
        _ => {}
    }
}

#[test]
fn empty_objects_gain_no_field() {
    for_every_kind(|id, full| {
        let empty = Object::new(full.api_version(), full.kind());
        let bytes = protobuf::encode(&empty, schema(), id).unwrap();
        assert_eq!(Value::from(protobuf::decode(&bytes, schema(), None).unwrap()), Value::from(&empty));
    });
}
