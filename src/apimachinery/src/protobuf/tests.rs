use super::*;
use crate::{
    schema::{sample, tests::schema},
    value,
    value::Value,
};
use proptest::prelude::*;

fn object(value: Value) -> Object {
    Object::try_from(value).unwrap()
}

fn round_trip(value: Value) -> Value {
    let object = object(value);
    let of = schema().type_of(object.api_version(), object.kind()).unwrap();
    let bytes = encode(&object, schema(), of).unwrap();
    decode(&bytes, schema(), None).unwrap().into_value()
}

#[test]
fn no_field_of_any_kind_is_lost() {
    for (id, of) in schema().types().filter(|(_, of)| !of.kinds.is_empty()) {
        let full = sample(schema(), id);
        assert_eq!(round_trip(full.clone()), full, "{}", of.name);
    }
}

#[test]
fn the_bytes_are_those_of_other_implementations() {
    let pod = object(
        value!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}, "spec": {"volumes": [{"name": "v", "emptyDir": {}}]}}),
    );
    let bytes = encode(&pod, schema(), schema().type_of("v1", "Pod").unwrap()).unwrap();
    // Written out by hand: the embedded volumeSource is a message of its own around emptyDir.
    let parts = [
        &b"k8s\0\x0a\x09\x0a\x02v1\x12\x03Pod"[..],
        b"\x12\x10\x0a\x03\x0a\x01a",
        b"\x12\x09\x0a\x07\x0a\x01v\x12\x02\x12\x00",
        b"\x1a\x00\x22\x00",
    ];
    assert_eq!(bytes, parts.concat());
}

#[test]
fn zeros_stay_where_they_mean_something() {
    // A Go client writes every plain scalar, zero or not.
    let spec = [&b"\x08\x00"[..], b"\x28\x00", b"\x38\x00"].concat();
    let mut deployment = Vec::new();
    put_bytes(&mut deployment, 2, &spec);
    let decoded = decode(&envelope("apps/v1", "Deployment", &deployment), schema(), None).unwrap();
    assert_eq!(decoded.at(&["spec"]), Some(&value!({"replicas": 0})));
}

#[test]
fn special_values_pass() {
    let service = value!({"apiVersion": "v1", "kind": "Service", "metadata": {"creationTimestamp": "2026-01-02T03:04:05Z", "labels": {"a": ""}},
        "spec": {"ports": [{"port": 80, "targetPort": "http"}, {"port": 81, "targetPort": 8080}]}});
    assert_eq!(round_trip(service.clone()), service);
    let secret = value!({"apiVersion": "v1", "kind": "Secret", "data": {"a": "", "b": "/w=="}, "immutable": false});
    assert_eq!(round_trip(secret.clone()), secret);
    let empty_time = decode(&envelope("v1", "Secret", b"\x0a\x02\x42\x00"), schema(), None).unwrap();
    assert_eq!(empty_time.as_map(), value!({"apiVersion": "v1", "kind": "Secret", "metadata": {}}).as_map().unwrap());
}

#[test]
fn kinds_come_from_the_envelope_or_the_caller() {
    let of = schema().type_of("v1", "Secret").unwrap();
    assert_eq!(decode(&envelope("", "", b""), schema(), Some(of)).unwrap(), Object::default());
    assert!(matches!(
        decode(&envelope("v1", "Nothing", b""), schema(), Some(of)),
        Err(DecodeError::UnknownKind { .. })
    ));
    assert!(matches!(decode(&envelope("", "", b""), schema(), None), Err(DecodeError::UnknownKind { .. })));
    assert_eq!(decode(b"{}", schema(), Some(of)), Err(DecodeError::NoMagic));
}

#[test]
fn lists_and_watch_events_are_put_together_from_parts() {
    let of = schema().type_of("v1", "Pod").unwrap();
    let item = encode_message(object(value!({"metadata": {"name": "a"}})).as_map(), schema(), of).unwrap();
    let metadata = value!({"resourceVersion": "7"});
    let long =
        encode_message(object(value!({"metadata": {"name": (&*"b".repeat(300))}})).as_map(), schema(), of).unwrap();
    let lengths = [item.len(), long.len()];
    let frame = frame_list(("v1", "PodList"), metadata.as_map().unwrap(), lengths, schema()).unwrap();
    let mut list = frame.head;
    put_list_item(&mut list, &item);
    put_list_item(&mut list, &long);
    list.extend_from_slice(&frame.tail);
    let decoded = decode(&list, schema(), None).unwrap();
    let pod = |name: &str| value!({"metadata": {"name": (name)}});
    let items = value!([pod("a"), pod(&"b".repeat(300))]);
    assert_eq!(
        decoded.into_value(),
        value!({"apiVersion": "v1", "kind": "PodList", "metadata": {"resourceVersion": "7"}, "items": (items)})
    );
    assert_eq!(encode_watch_event("ADDED", b"xyz"), b"\0\0\0\x0e\x0a\x05ADDED\x12\x05\x0a\x03xyz");
}

#[test]
fn wrong_shapes_are_errors() {
    let of = schema().type_of("v1", "Pod").unwrap();
    let error = encode(&object(value!({"spec": {"containers": [{"name": 5}]}})), schema(), of).unwrap_err();
    assert_eq!(error.to_string(), "field \"name\" of core.v1.Container cannot be written as protobuf");
    for bytes in [
        &b"\x0a\x05a"[..],
        b"\x08",
        b"\x00\x00",
        b"\x0b",
        b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
        b"\x0a\x01\x08",
    ] {
        assert!(decode(&envelope("v1", "Pod", bytes), schema(), None).is_err(), "{bytes:?}");
    }
}

proptest! {
    #[test]
    fn garbage_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..128)) {
        let _ = decode(&bytes, schema(), None);
        let _ = decode(&envelope("v1", "Pod", &bytes), schema(), None);
    }

    #[test]
    fn damaged_objects_never_panic(at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let of = schema().type_of("v1", "Pod").unwrap();
        let mut bytes = encode(&object(sample(schema(), of)), schema(), of).unwrap();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        let _ = decode(&bytes, schema(), None);
        let _ = decode(&bytes[..at], schema(), None);
    }
}
