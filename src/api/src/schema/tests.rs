use super::*;

#[test]
fn every_row_has_its_type_and_list_type() {
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
    ] {
        assert!(schema().type_of(api_version, kind).is_some(), "{kind}");
    }
}
