use super::*;

#[test]
fn a_set_is_named_by_release_and_content_and_seen_only_when_whole() {
    let cache = tempfile::tempdir().unwrap();
    let trixie = PackageSpec::default();
    let bookworm = PackageSpec { suite: "bookworm".into(), ..PackageSpec::default() };
    assert_ne!(trixie.hash(), bookworm.hash());
    let elsewhere = PackageSpec { mirror: Some("http://m.example/debian".into()), ..PackageSpec::default() };
    assert_eq!(trixie.hash(), elsewhere.hash(), "packages are the same wherever they come from");
    assert_eq!(cached(&trixie, cache.path()), None);
    let dir = place(&trixie, cache.path());
    std::fs::create_dir_all(&dir).unwrap();
    assert_eq!(cached(&trixie, cache.path()), None, "an index comes last");
    std::fs::write(dir.join("Packages"), "").unwrap();
    assert_eq!(cached(&trixie, cache.path()).unwrap().index(), dir.join("Packages"));
}

#[tokio::test]
async fn an_index_says_what_apt_checks() {
    let dir = tempfile::tempdir().unwrap();
    let control = dir.path().join("tree/DEBIAN/control");
    let text = "Package: one\nVersion: 1:2\nArchitecture: all\nMaintainer: nobody <n@example>\nDescription: x\n";
    tool::write(&control, text.as_bytes(), 0o644).unwrap();
    let file = dir.path().join("one_1%3a2_all.deb");
    let mut command = Command::new("dpkg-deb");
    command.args(["--build", "--root-owner-group"]).arg(dir.path().join("tree")).arg(&file);
    if !tool::is_installed("dpkg-deb") {
        return eprintln!("skipped: dpkg-deb is not installed");
    }
    tool::bytes("dpkg-deb", &mut command).await.unwrap();
    let bytes = std::fs::read(&file).unwrap();
    let index = index(dir.path()).await.unwrap();
    assert!(index.starts_with("Package: one\n"), "{index}");
    assert!(index.contains(&format!("Filename: ./one_1%3a2_all.deb\nSize: {}\n", bytes.len())), "{index}");
    assert!(index.contains(&hex::encode(Sha256::digest(&bytes))), "{index}");
    assert!(index.ends_with("\n\n"), "stanzas are kept apart");
}
