use super::*;

#[test]
fn places_that_cannot_be_seen_from_inside_are_refused() {
    for (dir, reason) in [("/run/x", "/run is private"), (&*format!("/tmp/{}", "d".repeat(100)), "characters")] {
        let refused = Layout::new(Path::new(dir)).check();
        match refused {
            Err(EmbeddedError::Place { .. }) => {}
            Err(EmbeddedError::NotRoot | EmbeddedError::NoProgram { .. }) => continue,
            other => panic!("{other:?}"),
        }
        assert!(refused.unwrap_err().to_string().contains(reason));
    }
}

#[test]
fn a_path_is_escaped_in_the_address() {
    let uri = Layout::new(Path::new("/tmp/a b&c")).uri();
    assert_eq!(uri, "qemu+unix:///system?socket=/tmp/a%20b%26c/run/libvirt-sock");
}

#[tokio::test]
async fn stopping_what_never_ran_is_fine() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(find(dir.path()), None);
    stop(&dir.path().join("never")).await.unwrap();
}

#[tokio::test]
async fn the_last_words_of_a_supervisor_reach_its_starter() {
    let dir = tempfile::tempdir().unwrap();
    if Layout::new(&dir.path().join("d")).check().is_err() {
        return eprintln!("skipped: needs root, libvirtd, QEMU and dnsmasq");
    }
    let program = "/bin/echo".into();
    let options = Options { dir: dir.path().join("d"), program, arguments: vec!["no luck with".into()] };
    let failed = start(&options).await.unwrap_err();
    assert!(failed.to_string().contains("no luck with"), "{failed}");
    assert!(failed.cure().unwrap().contains("supervisor.log"));
    stop(&options.dir).await.unwrap();
    assert!(!options.dir.exists());
}
