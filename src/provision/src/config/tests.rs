use std::time::Duration;

use clap::{CommandFactory as _, Parser as _};

use super::*;
use crate::world::Drain;

fn check(typed: &str, expected: &str) {
    let words = |text: &str| text.split_whitespace().map(OsString::from).collect::<Vec<_>>();
    assert_eq!(with_implied_apply(words(typed)), words(expected), "{typed}");
}

#[test]
fn a_file_without_a_verb_is_applied() {
    check("provision topologies/single-node.yaml", "provision apply topologies/single-node.yaml");
    check("provision a.yml", "provision apply a.yml");
    check("provision a.json", "provision apply a.json");
    check("provision ./cluster", "provision apply ./cluster");
    check("provision -", "provision apply -");
}

#[test]
fn flags_before_the_file_stay_where_they_are() {
    check("provision -v a.yaml", "provision -v apply a.yaml");
    check("provision --state-dir /tmp/x.yaml a.yaml", "provision --state-dir /tmp/x.yaml apply a.yaml");
    check("provision --state-dir=/tmp/x a.yaml --timings t", "provision --state-dir=/tmp/x apply a.yaml --timings t");
    check("provision -o json a.yaml", "provision -o json apply a.yaml");
}

#[test]
fn verbs_are_left_alone() {
    for typed in [
        "provision",
        "provision --help",
        "provision plan a.yaml",
        "provision apply a.yaml",
        "provision destroy a.yaml --yes",
        "provision status single-node",
        "provision -o",
    ] {
        check(typed, typed);
    }
}

#[test]
fn the_command_line_is_consistent() {
    use clap::CommandFactory as _;
    Cli::command().debug_assert();
}

#[test]
fn every_option_can_be_typed_after_the_verb_too() {
    let cli = Cli::try_parse_from(["provision", "plan", "a.yaml", "--state-dir", "/s", "-o", "json"]).unwrap();
    assert_eq!((cli.state_dir.as_deref(), cli.output), (Some(Path::new("/s")), Format::Json));
    let Command::Plan(file) = cli.command else { panic!("not a plan") };
    assert_eq!(file.file, Path::new("a.yaml"));
}

#[test]
fn directories_are_absolute_and_asked_ones_win() {
    let cli = Cli::try_parse_from(["provision", "list", "--state-dir", "s", "--cache-dir", "/c"]).unwrap();
    let config = Config::new(&cli).unwrap();
    assert_eq!(config.state_dir, std::env::current_dir().unwrap().join("s"));
    assert_eq!(config.cache_dir, Path::new("/c"));
}

#[test]
fn node_programs_that_are_not_there_are_this_hosts_fault() {
    let cli = Cli::try_parse_from(["provision", "list", "--hyperkube", "/nonexistent/hyperkube"]).unwrap();
    let error = Config::new(&cli).unwrap().components().unwrap_err();
    assert_eq!(crate::exit::classify(&error), Exit::Host);
    assert!(crate::exit::hint(&error).unwrap().contains("make build"));
}

#[test]
fn nodes_are_emptied_within_five_minutes_and_nothing_is_lost_unless_that_is_asked_for() {
    let check = |typed: &str, expected: Drain| {
        let Command::Scale(args) = Cli::try_parse_from(typed.split(' ')).unwrap().command else { panic!("no scale") };
        assert_eq!(Drain::from(args.draining), expected, "{typed}");
    };
    let minutes = |minutes, force| Drain { patience: Duration::from_mins(minutes), force };
    check("provision scale lab --workers 1", Drain::default());
    check("provision scale lab --workers 1", minutes(5, false));
    check("provision scale lab --workers 1 --drain-timeout 30m --force", minutes(30, true));
    check("provision scale lab --workers 1 --drain-timeout 0s", minutes(0, false));
    assert_eq!((minutes(0, false).limit(), minutes(2, false).limit()), (None, Some(Duration::from_mins(2))));
}

/// Source files below a folder, tests left out.
fn sources(folder: &Path, into: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let is_test = path.components().any(|part| part.as_os_str() == "tests" || part.as_os_str() == "tests.rs");
        if path.is_dir() {
            sources(&path, into);
        } else if !is_test && path.extension().is_some_and(|end| end == "rs") {
            into.push(path);
        }
    }
}

/// Command lines in backticks that messages and hints hold, with every placeholder filled in.
fn commands_in(text: &str) -> Vec<String> {
    let code = text.split("#[cfg(test)]").next().unwrap().lines().filter(|line| !line.trim_start().starts_with("//"));
    let joined = code.map(str::trim).collect::<Vec<_>>().join("\n").replace("\\\n", "");
    let quoted = joined.split('`').skip(1).step_by(2).filter(|quoted| quoted.starts_with("provision "));
    let fill = |quoted: &str| {
        let mut pieces = quoted.split('{');
        let first = pieces.next().unwrap_or_default().to_owned();
        pieces.fold(first, |line, piece| line + "x" + piece.split_once('}').map_or(piece, |(_, rest)| rest))
    };
    // One that is a placeholder from its verb on is what somebody typed.
    quoted.map(fill).filter(|line| line != "provision x").collect()
}

#[test]
fn every_command_line_that_a_message_names_can_be_typed() {
    let mut files = Vec::new();
    sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut files);
    let mut seen = 0;
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        for line in commands_in(&text) {
            seen += 1;
            assert!(!line.contains("CLUSTER"), "{}: `{line}` has a name to fill in", file.display());
            let words: Vec<_> = line.split_whitespace().map(OsString::from).collect();
            // A verb alone names the verb.
            let is_verb = words.len() == 2 && Cli::command().find_subcommand(&words[1]).is_some();
            let wrong = Cli::try_parse_from(with_implied_apply(words)).err().filter(|error| error.exit_code() != 0);
            assert!(is_verb || wrong.is_none(), "{}: `{line}`: {}", file.display(), wrong.unwrap());
        }
    }
    assert!(seen > 15, "only {seen} found");
}

#[test]
fn every_example_in_the_help_can_be_typed() {
    fn examples(command: &clap::Command, into: &mut Vec<String>) {
        let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
        into.extend(help.lines().filter_map(|line| line.strip_prefix("  ")).map(str::to_owned));
        command.get_subcommands().for_each(|below| examples(below, into));
    }
    let mut lines = Vec::new();
    examples(&Cli::command(), &mut lines);
    let mut seen = 0;
    for line in lines.iter().filter(|line| line.starts_with("provision ")) {
        seen += 1;
        let typed = line.split("  ").next().unwrap().split([';', '|', '>', '<', '&']).next().unwrap();
        let words: Vec<_> = typed.split_whitespace().map(OsString::from).collect();
        let parsed = Cli::try_parse_from(with_implied_apply(words)).map(drop);
        assert!(parsed.is_ok(), "{typed}: {}", parsed.unwrap_err());
    }
    assert!(seen > 20, "only {seen} found");
}
