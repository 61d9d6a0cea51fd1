use super::*;

/// A few types, for the tests of this crate.
pub(crate) const TABLE: &str = include_str!("testdata.txt");

/// The schema of [`TABLE`].
pub(crate) fn schema() -> &'static Schema {
    static SCHEMA: std::sync::LazyLock<Schema> = std::sync::LazyLock::new(|| Schema::parse(TABLE).unwrap());
    &SCHEMA
}

/// The type of a kind of group apps or core.
pub(crate) fn type_of(api_version: &str, kind: &str) -> TypeId {
    schema().type_of(api_version, kind).unwrap()
}

#[test]
fn kinds_lead_to_types_and_types_to_fields() {
    let deployment = type_of("apps/v1", "Deployment");
    assert_eq!(schema().get(deployment).openapi_name(), "io.k8s.api.apps.v1.Deployment");
    let spec = schema().field(deployment, "spec").unwrap().of.object().unwrap();
    let replicas = schema().field(spec, "replicas").unwrap();
    assert!(replicas.pointer && !replicas.required && replicas.of == Type::Int32 && *replicas.tags == [1]);
    assert_eq!(schema().type_for_gvk("apps", "v1", "Pod"), None);
    assert!(schema().type_for_gvk("any.group", "v7", "DeleteOptions").is_some());
}

#[test]
fn a_copied_type_brings_what_it_needs() {
    let mut copy = Schema::new();
    let pod = copy.import(schema(), type_of("v1", "Pod"));
    let spec = copy.field(pod, "spec").unwrap().of.object().unwrap();
    let containers = copy.field(spec, "containers").unwrap().of.object().unwrap();
    assert_eq!(&*copy.get(containers).name, "core.v1.Container");
    assert!(copy.type_of("v1", "Pod").is_some());
}

#[test]
fn mistakes_in_the_table_are_named() {
    for (table, error) in [
        ("a.b.C\n x nothing 1", "line 2 of the schema table: unknown type \"nothing\""),
        (" x string 1", "line 1 of the schema table: a field before any type"),
        ("a.b.C\n x string 1 wrong", "line 2 of the schema table: unknown flag \"wrong\""),
    ] {
        assert_eq!(Schema::parse(table).unwrap_err().to_string(), error);
    }
}

#[test]
fn prose_is_read_when_asked_for() {
    let mut schema = Schema::parse("a.b.C\n x string 1").unwrap();
    schema.set_descriptions(|| "a.b.C\tThe C.\n x\tAn x\\nwith a \\\\.\n".into());
    let id = schema.type_named("a.b.C").unwrap();
    assert_eq!(schema.description(id, None), "The C.");
    assert_eq!(schema.description(id, Some("x")), "An x\nwith a \\.");
    assert_eq!(schema.description(id, Some("y")), "");
}
