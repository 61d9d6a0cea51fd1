use std::time::Duration;

use clap::Parser as _;

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
