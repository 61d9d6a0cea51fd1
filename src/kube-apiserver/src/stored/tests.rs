use apimachinery::value;

use super::*;
use crate::encryption::Encryption;

fn row(plural: &str) -> &'static ResourceDescriptor {
    api::resources().iter().find(|row| row.plural == plural).unwrap()
}

fn object(tree: apimachinery::Value) -> Object {
    Object::try_from(tree).unwrap()
}

#[test]
fn the_resource_version_comes_from_the_revision() {
    let codec = ObjectCodec::new(row("configmaps"), &Encryption::load(None).unwrap());
    let written = encode(&object(value!({
        "kind": "ConfigMap", "data": {"a": "b"}, "apiVersion": "v1",
        "metadata": {"resourceVersion": "1", "name": "x", "namespace": "y"},
    })));
    assert_eq!(
        &written[..],
        br#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"x","namespace":"y"},"data":{"a":"b"}}"#
    );
    let stored = Arc::new(codec.stored(&written, 7).unwrap());
    assert_eq!(stored.object().resource_version(), "7");
    assert_eq!((&*stored.namespace, &*stored.name), ("y", "x"));
    let deleted = codec.deleted(&stored, 9);
    assert_eq!(deleted.object().resource_version(), "9");
    assert_eq!(encode(&deleted.object()), written);
}

#[test]
fn the_message_made_of_what_was_written_is_that_of_the_stored_bytes() {
    let codec = ObjectCodec::new(row("configmaps"), &Encryption::load(None).unwrap());
    let tree = object(value!({
        "kind": "ConfigMap", "apiVersion": "v1", "data": {"a": "b", "c": "\u{e9}\n"},
        "metadata": {"name": "x", "namespace": "y", "labels": {"z": "1", "a": "2"}, "generation": 3},
    }));
    let (read, made) = (codec.stored(&encode(&tree), 7).unwrap(), codec.stored(&encode(&tree), 7).unwrap());
    made.make_message(tree);
    let tree_of = |stored: &Stored| {
        let schema = api::schema();
        let of = schema.type_of("v1", "ConfigMap").unwrap();
        protobuf::decode_message(stored.message().unwrap(), schema, of).unwrap()
    };
    assert_eq!(tree_of(&read), tree_of(&made));
}

#[test]
fn selectable_fields_are_picked_without_a_tree() {
    let codec = ObjectCodec::new(row("pods"), &Encryption::load(None).unwrap());
    let pod = encode(&object(value!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "p", "namespace": "n", "labels": {"app": "web"}},
        "spec": {"nodeName": "worker", "hostNetwork": true, "containers": [{"name": "c"}]},
        "status": {"phase": "Running"},
    })));
    let stored = codec.stored(&pod, 3).unwrap();
    assert_eq!(stored.label("app"), Some("web"));
    for (field, value) in [
        ("metadata.name", Some("p")),
        ("metadata.namespace", Some("n")),
        ("spec.nodeName", Some("worker")),
        ("spec.hostNetwork", Some("true")),
        ("status.phase", Some("Running")),
        ("status.podIP", Some("")),
        ("spec.containers", None),
    ] {
        assert_eq!(stored.field(field), value, "{field}");
    }
}

#[test]
fn absent_fields_read_as_upstream_reads_them() {
    let codec = ObjectCodec::new(row("nodes"), &Encryption::load(None).unwrap());
    let node = encode(&object(value!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n"}})));
    let stored = codec.stored(&node, 3).unwrap();
    assert_eq!(stored.field("spec.unschedulable"), Some("false"));
    assert_eq!(stored.field("metadata.namespace"), None);
}

#[test]
fn a_value_of_another_kind_is_refused() {
    let codec = ObjectCodec::new(row("pods"), &Encryption::load(None).unwrap());
    assert!(codec.stored(&Bytes::from_static(b"{"), 1).is_err());
    let other = br#"{"apiVersion":"v1","kind":"Node","metadata":{}}"#;
    assert!(codec.stored(&Bytes::from_static(other), 1).is_err());
}

#[test]
fn etcd_loses_no_field_of_any_kind() {
    for row in api::resources().iter().filter(|row| row.is_stored()) {
        let id = api::schema().type_for_gvk(row.group, row.version, row.kind).unwrap();
        let mut full = object(apimachinery::schema::sample(api::schema(), id));
        let stored = ObjectCodec::new(row, &Encryption::load(None).unwrap()).stored(&encode(&full), 7).unwrap();
        full.set_resource_version("7");
        // Nobody is given one any more, as upstream.
        full.metadata_mut().remove("selfLink");
        assert_eq!(sorted(stored.object()), sorted(full), "{}", row.plural);
    }
}

/// The object with the fields of all maps in order, which mean the same in any order.
fn sorted(object: Object) -> apimachinery::Value {
    fn sort(tree: &mut apimachinery::Value) {
        match tree {
            apimachinery::Value::List(items) => items.iter_mut().for_each(sort),
            apimachinery::Value::Map(map) => {
                map.iter_mut().for_each(|(_, value)| sort(value));
                map.sort_keys();
            }
            _ => {}
        }
    }
    let mut tree = object.into_value();
    sort(&mut tree);
    tree
}
