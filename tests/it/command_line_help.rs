//! The help of every verb, as it is printed; each has examples. `UPDATE_GOLDEN=1` writes the files anew.

use std::path::Path;

use harness::Lab;

const VERBS: &[&str] = &[
    "apply",
    "plan",
    "scale",
    "stop",
    "start",
    "status",
    "list",
    "kubeconfig",
    "ssh",
    "console",
    "logs",
    "support-bundle",
    "destroy",
    "image",
    "topology",
    "doctor",
    "completion",
];

#[expect(clippy::disallowed_methods, reason = "the tests are told by their caller what to do")]
fn updates() -> bool {
    std::env::var("UPDATE_GOLDEN").is_ok_and(|value| value == "1")
}

#[test]
fn the_help_of_every_verb_is_as_it_was_and_has_examples() {
    let lab = Lab::new("demo");
    if !lab.is_built() {
        println!("skipped: provision is not built (make build)");
        return;
    }
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/help");
    let overview = lab.provision(&["--help"]).stdout;
    let listed: Vec<&str> = overview
        .lines()
        .skip_while(|line| !line.starts_with("Commands:"))
        .skip(1)
        .take_while(|line| !line.is_empty())
        .filter_map(|line| line.strip_prefix("  ").filter(|rest| !rest.starts_with(' ')))
        .filter_map(|rest| rest.split_whitespace().next())
        .filter(|verb| *verb != "help")
        .collect();
    assert_eq!(listed, VERBS, "every verb is looked at");
    let mut wrong = Vec::new();
    for verb in ["", "image build", "image load", "topology schema", "topology validate"].iter().chain(VERBS) {
        let words: Vec<&str> = verb.split(' ').filter(|word| !word.is_empty()).chain(["--help"]).collect();
        let ran = lab.provision(&words);
        assert_eq!(ran.code, 0, "{ran:?}");
        let has_subcommands = ran.stdout.contains("\nCommands:\n");
        assert!(has_subcommands || ran.stdout.contains("Examples:\n  "), "{verb} has no example");
        let name = if verb.is_empty() { "provision".to_owned() } else { verb.replace(' ', "-") };
        let file = folder.join(format!("{name}.txt"));
        if updates() {
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::write(&file, &ran.stdout).unwrap();
        } else if std::fs::read_to_string(&file).ok().as_deref() != Some(ran.stdout.as_str()) {
            wrong.push(name);
        }
    }
    assert!(wrong.is_empty(), "other than the files in {} (UPDATE_GOLDEN=1 writes them): {wrong:?}", folder.display());
}
