use std::os::unix::fs::PermissionsExt as _;

use super::*;
use crate::exit::{classify, hint};

fn allocations() -> Allocations {
    Allocations {
        virtual_address: None,
        emulated: false,
        founders: ["demo-control-plane-1".to_owned()].into(),
        founded: true,
        destroying: false,
        hosts: None,
        format: FORMAT,
        name: "demo".into(),
        id: "7".into(),
        libvirt: "embedded".into(),
        network: AllocatedNetwork {
            name: "demo-7".into(),
            bridge: "pv-7".into(),
            subnet: "10.80.0.0/24".parse().unwrap(),
        },
        api_port: Some(16443),
        machines: BTreeMap::from([(
            "demo-control-plane-1".into(),
            AllocatedMachine {
                role: "control-plane".to_owned(),
                leaving: false,
                chosen: None,
                etcd: None,
                mac: "52:54:00:00:00:01".into(),
                address: [10, 80, 0, 10].into(),
                uuid: "u".into(),
                host_key: None,
            },
        )]),
    }
}

fn state() -> (tempfile::TempDir, StateDir) {
    let dir = tempfile::tempdir().unwrap();
    let state = StateDir::new(dir.path(), "demo");
    state.create().unwrap();
    (dir, state)
}

#[test]
fn allocations_are_read_as_they_were_written() {
    let (_dir, state) = state();
    assert_eq!(state.allocations().unwrap(), None);
    assert!(!state.exists());
    state.save_allocations(&allocations()).unwrap();
    assert_eq!(state.allocations().unwrap(), Some(allocations()));
    assert!(state.exists());
}

#[test]
fn the_format_on_disk_does_not_change_by_accident() {
    let (_dir, state) = state();
    state.save_allocations(&allocations()).unwrap();
    let json: serde_json::Value = serde_json::from_slice(&fs::read(state.path("cluster.json")).unwrap()).unwrap();
    let expected = serde_json::json!({
        "format": 2, "name": "demo", "id": "7", "libvirt": "embedded", "apiPort": 16443,
        "founders": ["demo-control-plane-1"], "founded": true,
        "network": { "name": "demo-7", "bridge": "pv-7", "subnet": "10.80.0.0/24" },
        "machines": { "demo-control-plane-1": {
            "role": "control-plane", "mac": "52:54:00:00:00:01", "address": "10.80.0.10", "uuid": "u", "hostKey": null,
        } },
    });
    assert_eq!(json, expected, "whoever changes this changes FORMAT");
}

#[test]
fn state_that_cannot_be_understood_is_refused_and_not_guessed_at() {
    let (_dir, state) = state();
    for (text, says) in [
        ("", "is not JSON"),
        ("{", "is not JSON"),
        ("{}", "has no format, this release reads 2"),
        (r#"{"format": 1}"#, "has format 1, this release reads 2"),
        (r#"{"format": 2}"#, "cannot be read (missing field"),
    ] {
        fs::write(state.path("cluster.json"), text).unwrap();
        let error = state.allocations().unwrap_err();
        assert!(error.to_string().contains(says), "{error}");
        assert_eq!(classify(&error), Exit::Failed);
        assert!(hint(&error).unwrap().contains("restore it"));
    }
}

#[test]
fn a_file_is_private_whole_and_touched_only_when_it_changes() {
    let (_dir, state) = state();
    let path = state.path("kubeconfig");
    write_private(&path, b"one").unwrap();
    let before = fs::metadata(&path).unwrap();
    assert_eq!(before.permissions().mode() & 0o777, 0o600);
    write_private(&path, b"one").unwrap();
    assert_eq!(fs::metadata(&path).unwrap().modified().unwrap(), before.modified().unwrap());
    fs::write(state.path("kubeconfig.draft"), "a longer draft of a killed run").unwrap();
    write_private(&path, b"two").unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"two");
    assert_eq!(fs::metadata(state.root()).unwrap().permissions().mode() & 0o777, 0o700);
}

#[test]
fn a_write_that_fails_names_the_file_and_leaves_the_old_content() {
    let (_dir, state) = state();
    let path = state.path("cluster.json");
    write_private(&path, b"old").unwrap();
    fs::create_dir(state.path("cluster.draft")).unwrap();
    let error = write_private(&path, b"new").unwrap_err();
    assert_eq!(error.to_string(), format!("cannot write {}", path.display()));
    assert_eq!(fs::read(&path).unwrap(), b"old");
}

#[test]
fn what_is_removed_is_gone_and_removing_it_again_is_harmless() {
    let (dir, state) = state();
    state.save_allocations(&allocations()).unwrap();
    fs::create_dir_all(state.path("pki/machines")).unwrap();
    assert_eq!(StateDir::all(dir.path()).unwrap(), ["demo"]);
    state.remove().unwrap();
    state.remove().unwrap();
    assert!(!state.root().exists());
    assert_eq!(StateDir::all(dir.path()).unwrap(), [""; 0]);
    assert_eq!(StateDir::all(&dir.path().join("nowhere")).unwrap(), [""; 0]);
}
