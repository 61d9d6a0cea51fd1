use super::*;

const OWN: &str = "apiVersion: v1
kind: Config
clusters: [{name: lab, cluster: {server: 'https://127.0.0.1:1', certificate-authority-data: Q0E=}}]
users: [{name: kubernetes-admin, user: {client-certificate-data: Q0U=, client-key-data: S0VZ}}]
contexts: [{name: kubernetes-admin@lab, context: {cluster: lab, user: kubernetes-admin}}]
current-context: kubernetes-admin@lab
";

const THEIRS: &str = "apiVersion: v1
kind: Config
preferences: {colors: true}
clusters:
- name: work
  cluster: {server: 'https://work.example', proxy-url: 'socks5://127.0.0.1:9'}
users:
- name: me
  user: {exec: {apiVersion: client.authentication.k8s.io/v1, command: login, args: [--team, \"007\"]}}
contexts:
- name: work
  context: {cluster: work, user: me, namespace: shop}
current-context: work
";

fn parse(text: &str) -> serde_json::Value {
    serde_saphyr::from_str(text).unwrap()
}

fn merged(text: &str, context: &str, server: &str, current: bool) -> Result<String> {
    let mut document = Document::parse("config", text)?;
    let own = OWN.replace("127.0.0.1:1", server);
    document.merge(&Entry { cluster: "lab", context, kubeconfig: &own, current })?;
    Ok(document.to_yaml())
}

#[test]
fn a_cluster_is_added_and_nothing_of_the_others_is_lost() {
    let (before, after) = (parse(THEIRS), parse(&merged(THEIRS, "lab", "127.0.0.1:1", true).unwrap()));
    for list in ["clusters", "users", "contexts"] {
        assert_eq!(after[list][0], before[list][0]);
        assert_eq!(after[list][1]["name"], "lab");
    }
    assert_eq!(after["preferences"], before["preferences"]);
    assert_eq!(after["clusters"][1]["cluster"]["server"], "https://127.0.0.1:1");
    assert_eq!(after["users"][1]["user"]["client-key-data"], "S0VZ");
    assert_eq!(after["contexts"][1]["context"]["user"], "lab");
    assert_eq!(after["current-context"], "lab");
    assert_eq!(parse(&merged(THEIRS, "lab", "127.0.0.1:1", false).unwrap())["current-context"], "work");
}

#[test]
fn merging_again_renews_the_entry_and_removing_it_gives_back_what_was_there() {
    let once = merged(THEIRS, "lab", "127.0.0.1:1", true).unwrap();
    let twice = merged(&once, "home", "127.0.0.1:2", true).unwrap();
    let seen = parse(&twice);
    assert_eq!(seen["clusters"].as_array().unwrap().len(), 2, "{twice}");
    assert_eq!(seen["clusters"][1]["name"], "home");
    assert_eq!(seen["clusters"][1]["cluster"]["server"], "https://127.0.0.1:2");
    let mut document = Document::parse("config", &twice).unwrap();
    assert!(document.remove("lab") && !document.remove("lab"));
    let mut expected = parse(THEIRS);
    expected["current-context"] = "".into();
    assert_eq!(parse(&document.to_yaml()), expected);
}

#[test]
fn an_empty_file_becomes_a_kubeconfig() {
    let seen = parse(&merged("", "lab", "127.0.0.1:1", false).unwrap());
    assert_eq!((&seen["kind"], &seen["current-context"]), (&"Config".into(), &"lab".into()));
    let seen = parse(&merged("kind: Config\nclusters: null\n", "lab", "127.0.0.1:1", false).unwrap());
    assert_eq!(seen["clusters"].as_array().unwrap().len(), 1);
}

#[test]
fn an_entry_of_the_same_name_that_is_not_ours_is_refused() {
    let error = merged(&THEIRS.replace("name: me", "name: lab"), "lab", "127.0.0.1:1", true).unwrap_err();
    assert!(error.to_string().contains("has users called lab that are not this cluster's"), "{error}");
    assert!(crate::exit::hint(&error).unwrap().contains("--context NAME"));
    merged(&THEIRS.replace("name: me", "name: lab"), "other", "127.0.0.1:1", true).unwrap();
}

#[test]
fn what_is_no_kubeconfig_is_refused() {
    for (text, says) in [
        ("a: [", "is not YAML"),
        ("- a", "is not a kubeconfig"),
        ("kind: Pod", "is a \"Pod\""),
        ("kind: Config\nusers: 7", "has users that are no list"),
    ] {
        let error = merged(text, "lab", "127.0.0.1:1", true).unwrap_err();
        assert!(error.to_string().contains(says), "{error}");
    }
}

#[test]
fn a_file_is_changed_at_once_and_keeps_its_mode_and_its_link() {
    let dir = tempfile::tempdir().unwrap();
    let (real, link) = (dir.path().join("real"), dir.path().join("config"));
    fs::write(&real, THEIRS).unwrap();
    fs::set_permissions(&real, fs::Permissions::from_mode(0o640)).unwrap();
    std::os::unix::fs::symlink(&real, &link).unwrap();
    let file = fs::canonicalize(&link).unwrap();
    let entry = Entry { cluster: "lab", context: "lab", kubeconfig: OWN, current: true };
    edit(&file, |document| document.merge(&entry)).unwrap();
    assert_eq!(fs::metadata(&real).unwrap().permissions().mode() & 0o777, 0o640);
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2, "no draft and no lock is left");
    edit(&dir.path().join("new/config"), |document| document.merge(&entry)).unwrap();
    assert_eq!(fs::metadata(dir.path().join("new/config")).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn a_file_that_another_program_changes_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("config");
    fs::write(&file, THEIRS).unwrap();
    fs::write(dir.path().join("config.lock"), "").unwrap();
    let error =
        edit(&file, |document| document.merge(&Entry { cluster: "l", context: "l", kubeconfig: OWN, current: true }));
    assert_eq!(crate::exit::classify(&error.unwrap_err()), Exit::Locked);
    assert_eq!(fs::read_to_string(&file).unwrap(), THEIRS);
    assert!(dir.path().join("config.lock").exists());
}
