//! The example topologies are right, and the schema that is printed fits them.

use std::path::Path;

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
