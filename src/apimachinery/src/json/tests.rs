use super::*;
use crate::{
    schema::tests::{schema, type_of},
    value,
};
use proptest::prelude::*;
use std::fmt::Write;

fn read(api_version: &str, kind: &str, text: &str, validation: Validation) -> Result<Decoded, DecodeError> {
    decode(text.as_bytes(), schema(), Some(type_of(api_version, kind)), validation)
}

fn pod(text: &str) -> Result<Decoded, DecodeError> {
    read("v1", "Pod", text, Validation::Warn)
}

#[test]
fn unknown_and_duplicate_fields_are_named_with_their_paths() {
    let text = r#"{"kind":"Pod","spec":{"containers":[{"name":"a"},{"name":"b","image":"x","image":"y","wrong":{"x":1},
        "resources":{"limits":{"cpu":"1","cpu":"2"}}}],"nope":[]},"metadata":{"labels":{"a":"b","a":"c"}},"extra":1}"#;
    let expected = [
        r#"duplicate field "spec.containers[1].image""#,
        r#"unknown field "spec.containers[1].wrong""#,
        r#"duplicate field "spec.containers[1].resources.limits.cpu""#,
        r#"unknown field "spec.nope""#,
        r#"duplicate field "metadata.labels.a""#,
        r#"unknown field "extra""#,
    ];
    let decoded = pod(text).unwrap();
    assert_eq!(decoded.warnings, expected);
    assert_eq!(decoded.object.str_at(&["spec", "containers", "1", "image"]), "y");
    assert_eq!(decoded.object.label("a"), Some("c"));
    assert_eq!(decoded.object.at(&["spec", "nope"]), None);
    assert!(read("v1", "Pod", text, Validation::Ignore).unwrap().warnings.is_empty());
    let error = read("v1", "Pod", text, Validation::Strict).unwrap_err();
    assert_eq!(error.to_string(), format!("strict decoding error: {}", expected.join(", ")));
}

#[test]
fn wrong_types_are_named_as_upstream_names_them() {
    for (text, error) in [
        (
            r#"{"spec":{"replicas":"3"}}"#,
            "json: cannot unmarshal string into Go struct field DeploymentSpec.spec.replicas of type int32",
        ),
        (
            r#"{"spec":{"replicas":1.5}}"#,
            "json: cannot unmarshal number 1.5 into Go struct field DeploymentSpec.spec.replicas of type int32",
        ),
        (
            r#"{"spec":{"replicas":3000000000}}"#,
            "json: cannot unmarshal number 3000000000 into Go struct field DeploymentSpec.spec.replicas of type int32",
        ),
        (
            r#"{"spec":{"paused":[]}}"#,
            "json: cannot unmarshal array into Go struct field DeploymentSpec.spec.paused of type bool",
        ),
        (
            r#"{"spec":{"template":{"spec":{"containers":[{"name":5}]}}}}"#,
            "json: cannot unmarshal number into Go struct field Container.spec.template.spec.containers.name of type string",
        ),
    ] {
        assert_eq!(read("apps/v1", "Deployment", text, Validation::Warn).unwrap_err().to_string(), error);
    }
    let quantity = r#"{"spec":{"containers":[{"resources":{"limits":{"cpu":"x"}}}]}}"#;
    let DecodeError::Value { path, why } = pod(quantity).unwrap_err() else { panic!() };
    assert_eq!(path, "spec.containers[0].resources.limits.cpu");
    assert!(why.starts_with("quantities must match"));
    assert!(pod(r#"{"metadata":{"creationTimestamp":"yesterday"}}"#).is_err());
    assert!(read("v1", "Secret", r#"{"data":{"a":"?"}}"#, Validation::Warn).is_err());
}

#[test]
fn values_become_canonical() {
    let text = r#"{"metadata":{"creationTimestamp":null,"generation":0,"name":"","deletionTimestamp":"2020-01-01T01:00:00+01:00"},
        "spec":{"hostNetwork":false,"terminationGracePeriodSeconds":0,"nodeSelector":{},"volumes":[{"name":"v","emptyDir":{}}],
        "containers":[{"name":"","tty":true,"resources":{"requests":{"cpu":0.5,"memory":"1024Mi"}},"env":[null],"args":[null]}]},"status":{}}"#;
    let expected = value!({
        "metadata": {"deletionTimestamp": "2020-01-01T00:00:00Z"},
        "spec": {"terminationGracePeriodSeconds": 0, "volumes": [{"name": "v", "emptyDir": {}}], "containers": [
            {"name": "", "tty": true, "resources": {"requests": {"cpu": "500m", "memory": "1Gi"}}, "env": [{}], "args": [""]}]},
        "status": {},
    });
    assert_eq!(pod(text).unwrap().object.into_value(), expected);
}

#[test]
fn apply_patches_are_left_as_written() {
    let options = Options { validation: Validation::Strict, verbatim: true };
    let text = br#"{"spec":{"hostNetwork":false,"tolerations":[]}}"#;
    let decoded = decode_with(text, schema(), Some(type_of("v1", "Pod")), options).unwrap();
    assert_eq!(encode_object(&decoded.object), text);
}

#[test]
fn without_a_type_nothing_is_changed() {
    let text = r#"{"a":null,"b":[1,2.5,-3,1e30,"x\n\"é\u0001",{"c":{}}],"d":false,"e":""}"#;
    let decoded = decode(text.as_bytes(), schema(), None, Validation::Strict).unwrap();
    assert_eq!(String::from_utf8(encode_object(&decoded.object)).unwrap(), text);
}

#[test]
fn numbers_beyond_all_floats_are_refused_wherever_they_stand() {
    for text in [r#"{"a":1e999}"#, r#"{"a":[-1e309]}"#] {
        let untyped = decode(text.as_bytes(), schema(), None, Validation::Warn).unwrap_err().to_string();
        assert!(untyped.starts_with("json: cannot unmarshal number ") && untyped.ends_with("float64"), "{untyped}");
        assert!(pod(&format!(r#"{{"metadata":{{"annotations":{text}}}}}"#)).is_err());
    }
    let edges = value!([f64::MAX, -0.5, 0, 5, 1_000_000_000_000_000_000_i64, 1e19]);
    assert_eq!(decode_value(b"[1.7976931348623157e308,-0.5,1e-999,5.0,1e18,1e19]").unwrap(), edges);
    assert_eq!(decode_value(&encode(&edges)).unwrap(), edges);
}

#[test]
fn escapes_are_understood() {
    let value = decode_value(r#"["\u0041\ud83d\ude00\ud83d\/\b\f\n\r\t\\", "plain", ""]"#.as_bytes()).unwrap();
    assert_eq!(value, value!(["A😀\u{fffd}/\u{8}\u{c}\n\r\t\\", "plain", ""]));
}

#[test]
fn malformed_text_is_refused() {
    for text in [
        "",
        " ",
        "{",
        "}",
        "[1,]",
        "{\"a\"}",
        "{\"a\":}",
        "{\"a\":1,}",
        "{a:1}",
        "01",
        "-",
        "1.",
        "1e",
        "+1",
        "tru",
        "nul",
        "\"",
        "\"\\x\"",
        "\"\\u12\"",
        "\"\\u12é\"",
        "{} {}",
        "\"\n\"",
        "[1 2]",
        "{\"a\":1 \"b\":2}",
        "\u{feff}{}",
    ] {
        assert!(matches!(decode_value(text.as_bytes()), Err(DecodeError::Syntax(_))), "{text:?}");
    }
    assert_eq!(decode_value(b"{\"a\":1").unwrap_err().to_string(), "unexpected end of JSON input");
    assert_eq!(
        decode_value(b"{x").unwrap_err().to_string(),
        "invalid character 'x' looking for beginning of object key string"
    );
    assert!(decode(b"[]", schema(), None, Validation::Ignore).is_err());
}

#[test]
fn depth_is_limited() {
    let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    assert!(decode_value(nested(MAX_DEPTH).as_bytes()).is_ok());
    assert_eq!(decode_value(nested(MAX_DEPTH + 1).as_bytes()), Err(DecodeError::TooDeep));
    assert_eq!(decode_value("{\"a\":".repeat(1_000_000).as_bytes()), Err(DecodeError::TooDeep));
}

#[test]
fn large_maps_are_quick_and_still_checked() {
    let mut text = String::from("{\"data\":{");
    for index in 0..50_000 {
        write!(text, "\"k{index}\":\"v\",").unwrap();
    }
    text += "\"k7\":\"again\"}}";
    let decoded = read("v1", "ConfigMap", &text, Validation::Warn).unwrap();
    assert_eq!(decoded.object.map_at(&["data"]).len(), 50_000);
    assert_eq!(decoded.warnings, [r#"duplicate field "data.k7""#]);
    assert_eq!(decoded.object.str_at(&["data", "k7"]), "again");
}

#[test]
fn revisions_are_written_into_metadata() {
    let object = Object::try_from(value!({
        "kind": "X", "metadata": {"name": "a", "resourceVersion": "1", "annotations": {"metadata": "{\"metadata\":{}}"}}, "spec": {"metadata": {}},
    }))
    .unwrap();
    let with = br#"{"kind":"X","metadata":{"resourceVersion":"42","name":"a","annotations":{"metadata":"{\"metadata\":{}}"}},"spec":{"metadata":{}}}"#;
    assert_eq!(encode_with_revision(&object, 42), with);
    let stored = encode_with_revision(&object, 0);
    assert_eq!(inject_revision(&stored, 42).unwrap(), with);
    assert_eq!(
        inject_revision(br#"{"x":{"metadata":{}},"metadata":{}}"#, 7).unwrap(),
        br#"{"x":{"metadata":{}},"metadata":{"resourceVersion":"7"}}"#
    );
    assert_eq!(inject_revision(br#"{"x":"metadata"}"#, 7), None);
    assert_eq!(encode_with_revision(&Object::default(), 7), br#"{"metadata":{"resourceVersion":"7"}}"#);
}

#[test]
fn numbers_are_written_as_go_writes_them() {
    for (number, text) in
        [(1.0, "1"), (-0.5, "-0.5"), (1e21, "1e21"), (1e-7, "1e-7"), (123_456.75, "123456.75"), (f64::NAN, "null")]
    {
        assert_eq!(encode(&Value::Float(number)), text.as_bytes());
    }
}

fn any_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        any::<i64>().prop_map(Value::Int),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 64, 8, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..8).prop_map(Value::List),
            proptest::collection::btree_map(any::<String>(), inner, 0..8).prop_map(Value::from),
        ]
    })
}

proptest! {
    #[test]
    fn what_is_written_reads_the_same(value in any_value()) {
        let text = encode(&value);
        prop_assert_eq!(decode_value(&text).unwrap(), value.clone());
        let by_library: Value = serde_json::from_slice(&text).unwrap();
        prop_assert_eq!(by_library, value);
    }

    #[test]
    fn garbage_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..64), text in "[\\[\\]{}\":,0-9a-u\\\\ .-]{0,40}") {
        let _ = decode_value(&bytes);
        let _ = pod(&text);
        let library: Result<Value, _> = serde_json::from_str(&text);
        prop_assert_eq!(decode_value(text.as_bytes()).is_ok(), library.is_ok(), "{}", text);
    }

    #[test]
    fn cut_bodies_are_errors(cut in 0_usize..180) {
        let text = r#"{"apiVersion":"v1","kind":"Pod","metadata":{"name":"a","labels":{"x":"\u00e9"}},"spec":{"containers":[{"name":"c","ports":[{"containerPort":80}]}],"priority":-1.0e2}} "#;
        let text = &text[..cut.min(text.len() - 2)];
        prop_assert!(pod(text).is_err());
    }
}
