use std::os::unix::fs::PermissionsExt as _;

use pki::control_plane;

use super::*;
use crate::exit::classify;

fn state() -> (tempfile::TempDir, StateDir) {
    let dir = tempfile::tempdir().unwrap();
    let state = StateDir::new(dir.path(), "demo");
    (dir, state)
}

fn now() -> Timestamp {
    "2026-01-01T00:00:00Z".parse().unwrap()
}

/// A vault with the certificates of one kubelet, on the disk.
fn saved(state: &StateDir) -> Vault {
    let mut vault = Vault::open(state, now()).unwrap();
    issue(&mut vault);
    vault.save(state).unwrap();
    vault
}

fn issue(vault: &mut Vault) -> Vec<(String, String)> {
    let server = Server { cluster: "demo", url: "https://10.80.0.10:6443", addresses: &[] };
    vault.issue("demo-w-1", &control_plane::kubelet("demo-w-1"), &server).unwrap()
}

fn why(state: &StateDir) -> String {
    format!("{:#}", Vault::open(state, now()).err().expect("it is refused"))
}

#[test]
fn opening_writes_nothing() {
    let (dir, state) = state();
    Vault::open(&state, now()).unwrap();
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn a_second_open_gives_identical_bytes_and_issues_nothing_anew() {
    let (_dir, state) = state();
    let mut first = saved(&state);
    let mut second = Vault::open(&state, "2026-06-01T00:00:00Z".parse().unwrap()).unwrap();
    assert_eq!(issue(&mut first), issue(&mut second));
    assert_eq!(first.files, second.files);
    assert_eq!(first.identity().unwrap().public(), second.identity().unwrap().public());
}

#[test]
fn saving_what_is_there_touches_no_file() {
    let (_dir, state) = state();
    let vault = saved(&state);
    let time = |name: &str| fs::metadata(state.path(name)).unwrap().modified().unwrap();
    let before = time("pki/ca.key");
    vault.save(&state).unwrap();
    assert_eq!(time("pki/ca.key"), before);
}

#[test]
fn secrets_are_for_their_owner_only() {
    let (_dir, state) = state();
    let vault = saved(&state);
    for name in vault.files.keys() {
        let mode = fs::metadata(state.path(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
    for folder in ["", "pki", "ssh", "pki/machines"] {
        let mode = fs::metadata(state.path(folder)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700, "{folder:?}");
    }
}

#[test]
fn a_broken_authority_is_refused_and_left_as_it_is() {
    let (_dir, state) = state();
    saved(&state);
    fs::write(state.path("pki/ca.key"), "broken").unwrap();
    assert!(why(&state).starts_with("pki/ca.crt and pki/ca.key in the state directory are not a usable authority"));
    assert_eq!(fs::read_to_string(state.path("pki/ca.key")).unwrap(), "broken");
}

#[test]
fn the_key_of_another_authority_is_refused() {
    let (_dir, state) = state();
    saved(&state);
    fs::copy(state.path("pki/etcd/ca.key"), state.path("pki/ca.key")).unwrap();
    assert!(why(&state).contains("not a usable authority"), "{}", why(&state));
}

#[test]
fn a_lost_half_of_an_authority_is_not_replaced_under_the_certificates_it_signed() {
    for (file, name) in [("pki/ca.key", "pki/ca.key"), ("pki/ca.crt", "pki/ca.crt")] {
        let (_dir, state) = state();
        saved(&state);
        fs::remove_file(state.path(file)).unwrap();
        let error = Vault::open(&state, now()).err().unwrap();
        assert!(error.to_string().ends_with(&format!("no {name}")), "{error}");
        assert_eq!(classify(&error), Exit::Failed);
    }
}

#[test]
fn a_first_save_that_was_killed_half_way_is_taken_up_by_the_next_run() {
    let (_dir, state) = state();
    let vault = Vault::open(&state, now()).unwrap();
    // Files are saved in this order: whatever prefix of them is there, the next run completes it to a set that fits.
    let names: Vec<&String> = vault.files.keys().collect();
    for saved in 0..names.len() {
        state.remove().unwrap();
        for name in &names[..saved] {
            let path = state.path(name);
            private_dir(path.parent().unwrap()).unwrap();
            write_private(&path, vault.files[*name].as_bytes()).unwrap();
        }
        let mut next = Vault::open(&state, now()).unwrap();
        issue(&mut next);
        let public = KeyPair::from_pem(next.text("pki/sa.key").unwrap()).unwrap().public_key_pem();
        assert_eq!(next.text("pki/sa.pub").unwrap(), public, "after {saved} files");
        for authority in Authority::ALL {
            let file = |end| next.text(&format!("pki/{}.{end}", authority.file())).unwrap();
            CertificateAuthority::from_pem(file("crt"), file("key")).unwrap();
        }
    }
}

#[test]
fn drafts_of_a_killed_run_are_no_secrets() {
    let (_dir, state) = state();
    let vault = saved(&state);
    fs::write(state.path("pki/ca.draft"), "half").unwrap();
    assert_eq!(Vault::open(&state, now()).unwrap().files, vault.files);
}

#[test]
fn a_secret_that_is_not_there_is_named() {
    let (_dir, state) = state();
    let vault = saved(&state);
    assert_eq!(vault.text("pki/nothing.crt").unwrap_err().to_string(), "the state directory has no pki/nothing.crt");
}
