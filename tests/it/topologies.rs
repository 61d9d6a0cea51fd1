//! The example topologies are right, and the schema that is printed fits them.

use std::path::Path;

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

/// What the schema that `provision topology schema` prints says against a text: the place of each mistake, and what is wrong.
fn told_by_the_schema(text: &str) -> Vec<String> {
    let validator = jsonschema::draft202012::new(&topology::json_schema()).unwrap();
    let document: Value = serde_saphyr::from_str(text).unwrap();
    validator.iter_errors(&document).map(|error| format!("{}: {error}", error.instance_path())).collect()
}

#[test]
fn the_schema_accepts_every_example_topology_and_what_it_becomes() {
    for entry in std::fs::read_dir(root().join("topologies")).unwrap() {
        let path = entry.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        let whole = topology::Topology::parse(&path.display().to_string(), &text).unwrap().to_yaml();
        for text in [text, whole] {
            assert_eq!(told_by_the_schema(&text), [""; 0], "{}", path.display());
        }
    }
}

#[test]
fn the_schema_refuses_what_a_schema_can_at_the_same_places() {
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
        let told = told_by_the_schema(&text);
        for (place, words) in *places {
            let told_there = |line: &String| line.starts_with(&format!("{place}: ")) && line.contains(words);
            assert!(told.iter().any(told_there), "{name}: nothing of {place:?} and {words:?} in {told:#?}");
        }
    }
}
