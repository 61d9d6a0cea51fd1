use super::*;

#[test]
fn a_value_that_is_missing_is_an_error_and_names_the_template() {
    let error = render("static-pods/etcd.yaml", &serde_json::json!({})).unwrap_err();
    assert_eq!(error.to_string(), "cannot render templates/static-pods/etcd.yaml.hbs");
}

#[test]
fn an_unknown_template_is_an_error() {
    assert_eq!(render("nothing", &()).unwrap_err().to_string(), "there is no template nothing");
}

#[test]
fn every_template_in_the_folder_is_known_under_its_path() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../templates");
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|end| end == "hbs") {
                let name = path.strip_prefix(&root).unwrap().with_extension("").display().to_string();
                assert!(TEMPLATES.iter().any(|(known, _)| *known == name), "{name} is never rendered");
            }
        }
    }
}
