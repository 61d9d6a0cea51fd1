//! Every mistake has one clear error, a documented exit code, and leaves nothing behind.

use std::io::Write as _;
use std::time::{Duration, Instant};

use harness::Lab;

const HEAD: &str = "apiVersion: provision.dev/v1alpha1\nkind: Cluster\nmetadata: {name: demo}\n";

/// A world, or nothing with the reason printed if `provision` is not built.
fn lab() -> Option<Lab> {
    let lab = Lab::new("demo");
    if lab.is_built() {
        return Some(lab);
    }
    println!("skipped: provision is not built (make build)");
    None
}

/// Runs `provision` on a topology with this `spec` and compares the exit code and what it says.
fn check(verb: &str, spec: &str, code: i32, says: &[&str]) {
    let Some(lab) = lab() else { return };
    let hyperkube = lab.write("hyperkube", b"not a program");
    let file = lab.write("demo.yaml", format!("{HEAD}{spec}").as_bytes());
    let ran = lab.provision(&["--hyperkube", hyperkube.to_str().unwrap(), verb, file.to_str().unwrap()]);
    assert_eq!(ran.code, code, "{ran:?}");
    for words in says {
        assert!(ran.stderr.contains(words), "{words:?} is not in {}", ran.stderr);
    }
    assert!(!lab.state().join("cluster.json").exists(), "a refused topology allocates nothing");
}

#[test]
fn an_unknown_field_is_named_with_its_place_and_the_nearest_known_one() {
    check("plan", "spec:\n  workes: []\n", 3, &["demo.yaml:5:3: spec.workes: unknown field; did you mean workers?"]);
}

#[test]
fn a_wrong_type_is_named_with_what_is_wanted() {
    check("apply", "spec: {controlPlane: {replicas: many}}\n", 3, &["spec.controlPlane.replicas: must be an integer"]);
}

#[test]
fn overlapping_networks_are_refused() {
    check("apply", "spec: {network: {pods: 10.96.0.0/16}}\n", 3, &["overlaps spec.network.pods"]);
}

#[test]
fn too_small_networks_are_refused() {
    check("apply", "spec: {network: {services: 10.0.0.0/30}}\n", 3, &["must have a prefix between /12 and /28"]);
}

#[test]
fn duplicate_pools_are_refused() {
    check("apply", "spec: {workers: [{name: a}, {name: a}]}\n", 3, &["is the name of an earlier pool too"]);
}

#[test]
fn more_memory_than_the_host_has_is_refused_before_anything_is_made() {
    let spec = "spec: {infrastructure: {libvirt: {uri: embedded}}, controlPlane: {machine: {memory: 4Ti}}}\n";
    check("apply", spec, 4, &["4096.0 GiB of memory and their host has", "hint: give machines less memory"]);
}

#[test]
fn a_full_disk_is_found_before_anything_is_made() {
    let Some(lab) = lab() else { return };
    if !nix::unistd::geteuid().is_root() {
        println!("skipped: a small file system can be mounted by root only");
        return;
    }
    let hyperkube = lab.write("hyperkube", b"not a program").display().to_string();
    let spec = "spec: {infrastructure: {libvirt: {uri: embedded}}}\n";
    let file = lab.write("demo.yaml", format!("{HEAD}{spec}").as_bytes()).display().to_string();
    std::fs::create_dir_all(lab.path("state")).unwrap();
    // In a mount namespace of its own, so that nothing has to be unmounted.
    let script = "mount -t tmpfs -o size=32m none \"$1\" && shift && exec \"$@\"";
    let state = lab.path("state").display().to_string();
    let provision = lab.program().display().to_string();
    let output = std::process::Command::new("unshare")
        .args(["--mount", "sh", "-c", script, "sh", &state, &provision, "--state-dir", &state])
        .args(["--hyperkube", &hyperkube, "apply", &file])
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(4), "{stderr}");
    assert!(stderr.contains("hint: free disk space, or choose another --state-dir"), "{stderr}");
}

#[test]
fn an_unreachable_libvirt_is_named_with_its_address() {
    let spec = "spec: {infrastructure: {libvirt: {uri: 'qemu+unix:///system?socket=/nonexistent/sock'}}}\n";
    check("apply", spec, 4, &["/nonexistent/sock"]);
}

#[test]
fn a_missing_file_a_missing_cluster_and_wrong_usage_have_their_own_codes() {
    let Some(lab) = lab() else { return };
    assert_eq!(lab.provision(&["plan", "/nonexistent/cluster.yaml"]).code, 7);
    let status = lab.provision(&["status", "nobody"]);
    assert_eq!((status.code, status.stderr.contains("there is no cluster nobody")), (7, true), "{status:?}");
    assert_eq!(lab.provision(&["--frobnicate"]).code, 64);
    assert_eq!(lab.provision(&["destroy", "nobody", "--yes"]).code, 0, "what is not there is gone");
    assert_eq!(lab.provision(&["--help"]).code, 0);
}

#[test]
fn errors_are_json_where_json_is_asked_for() {
    let Some(lab) = lab() else { return };
    let ran = lab.provision(&["-o", "json", "status", "nobody"]);
    let error: serde_json::Value = serde_json::from_str(&ran.stderr).unwrap();
    assert_eq!(error["exitCode"], 7);
    assert!(error["hint"].as_str().unwrap().contains("provision list"));
}

#[test]
fn the_schema_and_the_defaults_can_be_printed() {
    let Some(lab) = lab() else { return };
    let schema: serde_json::Value = serde_json::from_str(&lab.provision(&["topology", "schema"]).stdout).unwrap();
    assert!(schema["$defs"]["ControlPlane"]["properties"]["replicas"]["description"].is_string());
    let file = lab.write("demo.yaml", HEAD.as_bytes());
    let ran = lab.provision(&["topology", "validate", file.to_str().unwrap()]);
    assert_eq!((ran.code, ran.stdout.contains("services: 10.96.0.0/12")), (0, true), "{ran:?}");
}

#[test]
fn two_runs_on_one_cluster_do_not_meet() {
    let Some(lab) = lab() else { return };
    let hyperkube = lab.write("hyperkube", b"not a program");
    std::fs::create_dir_all(lab.state()).unwrap();
    let mut held = std::fs::File::create(lab.state().join("lock")).unwrap();
    held.lock().unwrap();
    held.write_all(b"`provision apply other.yaml`, process 1").unwrap();
    let file = lab.write("demo.yaml", HEAD.as_bytes());
    let began = Instant::now();
    let ran = lab.provision(&["--hyperkube", hyperkube.to_str().unwrap(), "apply", file.to_str().unwrap()]);
    assert_eq!((ran.code, ran.stderr.contains("provision apply other.yaml")), (6, true), "{ran:?}");
    assert!(began.elapsed() < Duration::from_secs(30), "it says so instead of waiting for ever");
    drop(held);
    std::fs::remove_dir_all(lab.state()).unwrap();
}

#[test]
fn state_of_another_format_and_broken_state_are_refused() {
    let Some(lab) = lab() else { return };
    std::fs::create_dir_all(lab.state()).unwrap();
    for (content, says) in [(r#"{"format": 99}"#, "has format 99"), ("{", "is not JSON"), ("{}", "has no format")] {
        std::fs::write(lab.state().join("cluster.json"), content).unwrap();
        let ran = lab.provision(&["status", "demo"]);
        assert!(ran.code == 1 && ran.stderr.contains(says), "{ran:?}");
    }
    std::fs::remove_dir_all(lab.state()).unwrap();
}
