//! The example topologies are right, and the schema that is printed fits them.

use std::path::Path;

use harness::Lab;
use serde_json::Value;

fn root() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

#[test]
fn every_example_topology_is_valid_and_says_what_it_is() {
    let mut seen = 0;
    for entry in std::fs::read_dir(root().join("topologies")).unwrap() {
        let path = entry.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.starts_with("# "), "{} begins with what it is", path.display());
        let topology = topology::Topology::parse(&path.display().to_string(), &text).unwrap();
        let stem = path.file_stem().unwrap().to_str().unwrap();
        assert_eq!(topology.name(), stem, "the cluster is called like its file");
        assert!(!topology.machines().is_empty());
        seen += 1;
    }
    assert!(seen >= 1);
}

/// The schema that `provision topology schema` prints, as a validator reads it; nothing if `provision` is not built.
fn printed_schema() -> Option<jsonschema::Validator> {
    let lab = Lab::new("demo");
    if !lab.is_built() {
        println!("skipped: provision is not built (make build)");
        return None;
    }
    let ran = lab.provision(&["topology", "schema"]);
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{ran:?}");
    Some(jsonschema::draft202012::new(&serde_json::from_str(&ran.stdout).unwrap()).unwrap())
}

/// What a schema says against a text: the place of each mistake, and what is wrong.
fn told_by(schema: &jsonschema::Validator, text: &str) -> Vec<String> {
    let document: Value = serde_saphyr::from_str(text).unwrap();
    schema.iter_errors(&document).map(|error| format!("{}: {error}", error.instance_path())).collect()
}

#[test]
fn the_schema_accepts_every_example_topology_and_what_it_becomes() {
    let Some(schema) = printed_schema() else { return };
    for entry in std::fs::read_dir(root().join("topologies")).unwrap() {
        let path = entry.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        let whole = topology::Topology::parse(&path.display().to_string(), &text).unwrap().to_yaml();
        for text in [text, whole] {
            assert_eq!(told_by(&schema, &text), [""; 0], "{}", path.display());
        }
    }
}

#[test]
fn the_schema_refuses_what_a_schema_can_at_the_same_places() {
    let Some(schema) = printed_schema() else { return };
    let mistakes: &[(&str, &[(&str, &str)])] = &[
        ("a-list", &[("", "is not of type \"object\"")]),
        (
            "unknown-field",
            &[("/spec", "'workes' was unexpected"), ("/spec/controlPlane/machine", "'ram' was unexpected")],
        ),
        (
            "wrong-type",
            &[
                ("/spec/controlPlane/replicas", "is not of type \"integer\""),
                ("/spec/controlPlane/labels", "is not of type \"object\""),
                ("/spec/workers", "is not of type \"array\""),
            ],
        ),
        ("missing-fields", &[("", "\"metadata\" is a required"), ("/spec/workers/0", "\"name\" is a required")]),
        ("wrong-version", &[("/apiVersion", "\"provision.dev/v2\" is not"), ("/kind", "\"Klaster\" is not")]),
        ("wrong-taint", &[("/spec/workers/0/taints/0/effect", "\"NoShedule\" is not")]),
    ];
    for (name, places) in mistakes {
        let text = std::fs::read_to_string(root().join(format!("tests/golden/invalid/{name}.yaml"))).unwrap();
        let told = told_by(&schema, &text);
        for (place, words) in *places {
            let told_there = |line: &String| line.starts_with(&format!("{place}: ")) && line.contains(words);
            assert!(told.iter().any(told_there), "{name}: nothing of {place:?} and {words:?} in {told:#?}");
        }
    }
}
