//! Bodies: JSON, YAML, protobuf and patches.

use apimachinery::json::{self, Validation};
use apimachinery::schema::{TypeId, sample};
use apimachinery::{Object, patch, protobuf, yaml};

use crate::mutator::fuzz;

const KINDS: &[(&str, &str)] = &[
    ("v1", "ConfigMap"),
    ("v1", "Pod"),
    ("v1", "Service"),
    ("apps/v1", "Deployment"),
    ("apiextensions.k8s.io/v1", "CustomResourceDefinition"),
    ("v1", "DeleteOptions"),
];

/// A kind with an object that has every field.
fn samples() -> Vec<(TypeId, Object)> {
    let schema = api::schema();
    let of = KINDS.iter().map(|(version, kind)| schema.type_of(version, kind).unwrap());
    of.map(|of| (of, Object::try_from(sample(schema, of)).unwrap())).collect()
}

fn texts() -> Vec<Vec<u8>> {
    let mut texts: Vec<Vec<u8>> = samples().iter().map(|(_, object)| json::encode_object(object)).collect();
    texts.extend([
        b"{}".to_vec(),
        b"a: {b: [1, x, null]}\n".to_vec(),
        br#"{"metadata":{"name":"a"},"data":{"x":"1"}}"#.to_vec(),
    ]);
    texts
}

#[test]
fn json_is_read_or_refused_and_what_is_read_stays_the_same() {
    let schema = api::schema();
    let kinds: Vec<TypeId> = samples().into_iter().map(|(of, _)| of).collect();
    fuzz(&texts(), |input| {
        for of in kinds.iter().copied().map(Some).chain([None]) {
            let Ok(first) = json::decode(input, schema, of, Validation::Warn) else { continue };
            let written = json::encode_object(&first.object);
            let again = json::decode(&written, schema, of, Validation::Strict).unwrap();
            assert_eq!(again.object, first.object, "{}", String::from_utf8_lossy(&written));
        }
    });
}

#[test]
fn yaml_is_read_or_refused() {
    let schema = api::schema();
    let of = schema.type_of("v1", "ConfigMap");
    fuzz(&texts(), |input| {
        let _ = yaml::decode(input, schema, of, Validation::Warn);
        let _ = yaml::decode(input, schema, None, Validation::Strict);
    });
}

#[test]
fn protobuf_is_read_or_refused_and_what_is_read_stays_the_same() {
    let schema = api::schema();
    let messages =
        samples().iter().map(|(of, object)| protobuf::encode(object, schema, *of).unwrap()).collect::<Vec<_>>();
    fuzz(&messages, |input| {
        let Ok(first) = protobuf::decode(input, schema, None) else { return };
        let Some(of) = schema.type_of(first.api_version(), first.kind()) else { return };
        let Ok(written) = protobuf::encode(&first, schema, of) else { return };
        assert_eq!(protobuf::decode(&written, schema, None).unwrap(), first);
    });
}

#[test]
fn patches_are_applied_or_refused() {
    let schema = api::schema();
    let samples = samples();
    let (of, deployment) = &samples[3];
    let mut corpus = texts();
    corpus.extend(
        [
            r#"[{"op":"add","path":"/spec/replicas","value":1},{"op":"copy","from":"/metadata","path":"/x"}]"#,
            r#"[{"op":"test","path":"/metadata/name","value":"a"},{"op":"move","from":"/a/-","path":"/b/0"}]"#,
            r#"{"spec":{"template":{"spec":{"containers":[{"name":"a","$patch":"delete"}],"$setElementOrder/containers":[{"name":"b"}]}}}}"#,
            r#"{"spec":{"$retainKeys":["x"],"strategy":{"$patch":"replace","type":"Recreate"}},"$deleteFromPrimitiveList/finalizers":["a"]}"#,
        ]
        .map(|text| text.as_bytes().to_vec()),
    );
    fuzz(&corpus, |input| {
        let _ = patch::json_patch(deployment, input);
        let _ = patch::merge_patch(deployment, input);
        if let Ok(tree) = json::decode_value(input) {
            let _ = patch::strategic_merge_patch(deployment, &tree, schema, *of);
        }
    });
}
