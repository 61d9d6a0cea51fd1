use std::collections::BTreeMap;

use anyhow::Context as _;
use clap::CommandFactory as _;

use super::*;
use crate::config::Cli;
use crate::state::StateDir;

/// All that are listed for users.
const CODES: [(Exit, u8); 11] = [
    (Exit::Done, 0),
    (Exit::Failed, 1),
    (Exit::Changes, 2),
    (Exit::Topology, 3),
    (Exit::Host, 4),
    (Exit::Identity, 5),
    (Exit::Locked, 6),
    (Exit::NotFound, 7),
    (Exit::Unconfirmed, 8),
    (Exit::Usage, 64),
    (Exit::Interrupted, 130),
];

#[test]
fn codes_are_part_of_the_interface() {
    for (exit, code) in CODES {
        assert_eq!(exit.code(), code);
    }
    assert_eq!(Exit::Remote(42).code(), 42);
}

/// Numbers and what they mean, from a list of `number meaning` that are set apart by `between`.
fn listed<'a>(text: &'a str, between: &str) -> BTreeMap<u8, &'a str> {
    let items = text.split(between).map(str::trim).filter(|item| !item.is_empty());
    items.map(|item| item.split_once(' ').unwrap()).map(|(code, meaning)| (code.parse().unwrap(), meaning)).collect()
}

#[test]
fn the_readme_and_the_help_list_every_code_in_the_same_words() {
    let help = Cli::command().get_after_help().unwrap().to_string();
    let (_, help) = help.split_once("Exit codes:\n").unwrap();
    // Columns are set apart by spaces.
    let help = help.replace('\n', "  ");
    let readme = include_str!("../../../../README.md");
    let (_, readme) = readme.split_once("\nExit codes: ").unwrap();
    let (readme, more) = readme.split_once(".\n").unwrap();
    let readme = readme.replace('\n', " ");
    let (help, readme) = (listed(&help, "  "), listed(&readme, " · "));
    assert_eq!(readme, help);
    assert_eq!(help.into_keys().collect::<Vec<_>>(), CODES.map(|(_, code)| code));
    let ssh = more.split_once("\n\n").unwrap().0.replace('\n', " ");
    assert!(ssh.contains("`provision ssh` ends with the status of the command"), "{ssh}");
}

#[test]
fn the_class_and_the_cure_are_found_anywhere_in_the_chain() {
    let refusal = Refusal::new(Exit::Locked, "held").hint("wait");
    let error = anyhow::Error::from(refusal).context("one").context("two");
    assert_eq!((classify(&error), hint(&error).as_deref()), (Exit::Locked, Some("wait")));
    assert_eq!(format!("{error:#}"), "two: one: held");
}

#[test]
fn what_has_no_class_has_failed_and_what_has_no_cure_has_no_hint() {
    let error = anyhow::anyhow!("no idea");
    assert_eq!((classify(&error), hint(&error)), (Exit::Failed, None));
    let error = anyhow::Error::from(Refusal::new(Exit::Host, "too small"));
    assert_eq!((classify(&error), hint(&error)), (Exit::Host, None));
}

#[test]
fn a_wrong_topology_is_told_apart() {
    let error = topology::Topology::parse("t.yaml", "- a\n").map(drop).context("reading").unwrap_err();
    assert_eq!(classify(&error), Exit::Topology);
}

#[test]
fn a_host_that_is_somebody_else_or_lets_nobody_in_is_about_identity() {
    let changed = ssh::SshError::HostKeyChanged { host: "a".into(), known: "one".into(), seen: "two".into() };
    let error = anyhow::Error::from(changed).context("connect-host failed");
    assert_eq!(classify(&error), Exit::Identity);
    assert!(hint(&error).unwrap().contains("find out who answers"));
    let error = anyhow::Error::from(ssh::SshError::Refused { host: "a".into(), user: "root".into() });
    assert_eq!(classify(&error), Exit::Identity);
    assert!(hint(&error).unwrap().contains("authorized_keys"));
    let failed =
        ssh::SshError::Failed { host: "a".into(), command: "false".into(), status: "1".into(), stderr: String::new() };
    let error = anyhow::Error::from(failed);
    assert_eq!((classify(&error), hint(&error)), (Exit::Failed, None));
}

/// A link to a device that is always full, in place of a file that is about to be written.
fn full(path: &std::path::Path) {
    std::os::unix::fs::symlink("/dev/full", path).unwrap();
}

/// The error names the file and the cure, has the code of a step that failed, and the next try succeeds.
fn is_told_and_healed(file: &str, full_is: &str, write: impl Fn(&StateDir) -> anyhow::Result<()>) {
    let dir = tempfile::tempdir().unwrap();
    let state = StateDir::new(dir.path(), "demo");
    for folder in ["pki", "ssh"] {
        crate::state::private_dir(&state.path(folder)).unwrap();
    }
    full(&state.path(full_is));
    let error = write(&state).unwrap_err();
    let text = format!("{error:#}");
    assert!(text.contains(&state.path(file).display().to_string()) && text.contains("No space left"), "{text}");
    assert_eq!(classify(&error), Exit::Failed);
    assert!(hint(&error).unwrap().contains("free space on that disk and run the same command again"));
    if full_is != file {
        write(&state).unwrap();
    }
}

#[test]
fn a_disk_that_is_full_in_the_middle_is_told_with_the_file_and_the_cure() {
    is_told_and_healed("journal.jsonl", "journal.jsonl", |state| {
        crate::journal::Journal::open(state)?.record("a/b", crate::journal::Happened::Started, "")
    });
    is_told_and_healed("cluster.json", "cluster.draft", |state| {
        let topology = topology::Topology::parse(
            "t.yaml",
            "{apiVersion: provision.dev/v1alpha1, kind: Cluster, metadata: {name: demo}}",
        );
        let site = crate::allocate::Site {
            id: uuid::Uuid::nil(),
            libvirt: "embedded".to_owned(),
            subnet: "10.80.0.0/24".parse()?,
            api_port: None,
            emulated: false,
        };
        state.save_allocations(&crate::allocate::fresh(&topology?, &site))
    });
    is_told_and_healed("pki/sa.key", "pki/sa.draft", |state| {
        crate::vault::Vault::open(state, jiff::Timestamp::UNIX_EPOCH)?.save(state)
    });
    let refused = libvirt::volume::VolumeError::Refused {
        action: "create",
        path: "/disks/a.qcow2".into(),
        message: "No space left on device".to_owned(),
    };
    assert!(hint(&refused.into()).unwrap().contains("free disk space"));
}
