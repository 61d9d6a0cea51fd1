use super::*;
use apimachinery::{
    Object, Value,
    json::{self, Validation},
    protobuf,
    schema::sample,
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
fn empty_objects_gain_no_field() {
    for_every_kind(|id, full| {
        let empty = Object::new(full.api_version(), full.kind());
        let bytes = protobuf::encode(&empty, schema(), id).unwrap();
        assert_eq!(Value::from(protobuf::decode(&bytes, schema(), None).unwrap()), Value::from(&empty));
    });
}
