use super::*;

#[test]
fn every_input_shows_in_the_hash() {
    let plain = ImageSpec::default();
    let older = ImageSpec { suite: "bookworm".into(), ..ImageSpec::default() };
    let larger = ImageSpec { extra_packages: vec!["strace".into()], ..ImageSpec::default() };
    assert_eq!(plain.hash(), ImageSpec::default().hash());
    assert_eq!(plain.hash().len(), 16);
    assert_ne!(plain.hash(), older.hash());
    assert_ne!(plain.hash(), larger.hash());
}

#[test]
fn the_mirror_does_not_change_what_is_made() {
    let near = ImageSpec { mirror: Some("http://near.example/debian".into()), ..ImageSpec::default() };
    assert_eq!(near.hash(), ImageSpec::default().hash());
}

#[test]
fn half_an_image_is_not_an_image() {
    let dir = tempfile::tempdir().unwrap();
    let spec = ImageSpec::default();
    let place = dir.path().join("images").join(spec.hash());
    std::fs::create_dir_all(&place).unwrap();
    std::fs::write(place.join("disk.raw"), b"").unwrap();
    assert_eq!(cached(&spec, dir.path()), None);
}
