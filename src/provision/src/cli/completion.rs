//! `provision completion SHELL`: clap's script, taught to ask for the names of clusters and machines.

use std::fmt::Write as _;

use anyhow::Result;
use clap::CommandFactory as _;
use clap_complete::Shell;

use super::{print, print_raw};
use crate::config::{Cli, Config};
use crate::exit::Exit;
use crate::state::StateDir;

/// Verbs whose first argument is a cluster; the second of those in [`MACHINE_SECOND`] is a machine of it.
const CLUSTER_FIRST: &[&str] =
    &["scale", "stop", "start", "status", "kubeconfig", "ssh", "console", "support-bundle", "destroy"];
const MACHINE_SECOND: &[&str] = &["ssh", "console"];
/// The verb whose first argument is a machine.
const MACHINE_FIRST: &str = "logs";

pub(super) fn run(shell: Shell) -> Exit {
    print_raw(script(shell).as_bytes());
    Exit::Done
}

/// `provision names [CLUSTER]`, which the scripts call.
pub(super) fn names(cluster: Option<&str>, config: &Config) -> Result<Exit> {
    let all = StateDir::all(&config.state_dir)?;
    let Some(cluster) = cluster else {
        for name in &all {
            print(name);
        }
        return Ok(Exit::Done);
    };
    for name in all.iter().filter(|name| cluster == "-" || cluster == name.as_str()) {
        // Nobody wants to read errors while typing.
        if let Ok(Some(allocations)) = StateDir::new(&config.state_dir, name).allocations() {
            for machine in allocations.machines.keys() {
                print(machine);
            }
        }
    }
    Ok(Exit::Done)
}

fn script(shell: Shell) -> String {
    let mut bytes = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "provision", &mut bytes);
    let mut text = String::from_utf8_lossy(&bytes).into_owned();
    match shell {
        Shell::Bash => text += &bash(),
        Shell::Fish => text += &fish(),
        Shell::Zsh => text = zsh(&text),
        _ => {}
    }
    text
}

fn bash() -> String {
    format!(
        r#"
# Names of clusters and machines, where clap knows none.
_provision_names() {{
    local verb="${{COMP_WORDS[1]}}" current="${{COMP_WORDS[COMP_CWORD]}}" names=
    if [[ "$current" != -* ]]; then
        if [[ $COMP_CWORD -eq 2 && " {first} " == *" $verb "* ]]; then
            names=$(provision names 2>/dev/null)
        elif [[ $COMP_CWORD -eq 3 && " {second} " == *" $verb "* ]]; then
            names=$(provision names "${{COMP_WORDS[2]}}" 2>/dev/null)
        elif [[ $COMP_CWORD -eq 2 && "$verb" == {logs} ]]; then
            names=$(provision names - 2>/dev/null)
        fi
    fi
    if [[ -n "$names" ]]; then
        COMPREPLY=($(compgen -W "$names" -- "$current"))
    else
        _provision "$@"
    fi
}}
complete -F _provision_names -o bashdefault -o default provision
"#,
        first = CLUSTER_FIRST.join(" "),
        second = MACHINE_SECOND.join(" "),
        logs = MACHINE_FIRST,
    )
}

fn fish() -> String {
    let mut text = String::from("\n# Names of clusters and machines, where clap knows none.\n");
    let seen = "__fish_seen_subcommand_from";
    let words = "(count (commandline -opc))";
    let first = CLUSTER_FIRST.join(" ");
    let second = MACHINE_SECOND.join(" ");
    for (verbs, at, names) in [
        (first.as_str(), 2, "(provision names 2>/dev/null)"),
        (second.as_str(), 3, "(provision names (commandline -opc)[3] 2>/dev/null)"),
        (MACHINE_FIRST, 2, "(provision names - 2>/dev/null)"),
    ] {
        let _ = writeln!(text, "complete -c provision -n '{seen} {verbs}; and test {words} -eq {at}' -f -a '{names}'");
    }
    text
}

/// Clap's script completes clusters and machines as files; each such line gets the function that knows better.
fn zsh(text: &str) -> String {
    let better = |line: &str| {
        let of = |what: &str| line.trim_start().trim_start_matches('\'').starts_with(what);
        let completer = if of(":cluster ") {
            "_provision_clusters"
        } else if of(":machine ") {
            "_provision_machines"
        } else if of("::machine ") {
            "_provision_machines_of"
        } else {
            return line.to_owned();
        };
        line.replace(":_default'", &format!(":{completer}'"))
    };
    let body: Vec<String> = text.lines().map(better).collect();
    let functions = r#"
_provision_clusters() { local -a names; names=(${(f)"$(provision names 2>/dev/null)"}); compadd -a names; _files }
_provision_machines() { local -a names; names=(${(f)"$(provision names - 2>/dev/null)"}); compadd -a names }
_provision_machines_of() { local -a names; names=(${(f)"$(provision names ${line[1]:--} 2>/dev/null)"}); compadd -a names }
"#;
    // The last lines run the completion: what they need must come before.
    let body = body.join("\n");
    match body.rfind("if [ \"$funcstack[1]\"") {
        Some(at) => format!("{}{functions}\n{}\n", &body[..at], &body[at..]),
        None => format!("{body}\n{functions}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_verbs_that_are_completed_take_a_cluster_first() {
        let mut command = Cli::command();
        command.build();
        for (verbs, at, id) in
            [(CLUSTER_FIRST, 1, "cluster"), (MACHINE_SECOND, 2, "machine"), (&[MACHINE_FIRST], 1, "machine")]
        {
            for verb in verbs {
                let verb = command.find_subcommand(verb).unwrap();
                let argument = verb.get_positionals().find(|argument| argument.get_index() == Some(at)).unwrap();
                assert_eq!(argument.get_id(), id, "{}", verb.get_name());
            }
        }
    }

    #[test]
    fn every_shell_asks_for_names() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let text = script(shell);
            assert!(text.contains("provision names 2>/dev/null") && text.contains("provision names -"), "{shell}");
        }
        let zsh = script(Shell::Zsh);
        assert!(zsh.contains(":_provision_clusters'") && zsh.contains(":_provision_machines_of'"), "{zsh}");
    }

    /// Runs the bash script as bash does when Tab is pressed, if there is a bash.
    #[test]
    fn bash_completes_clusters_and_their_machines() {
        let run = |words: &str, at: usize| {
            let stub = "provision() { if [ -z \"$2\" ]; then echo lab; else echo \"$2-worker-1\"; fi; }";
            let text = format!(
                "{stub}\n{}\nCOMP_WORDS=({words}); COMP_CWORD={at}; _provision_names provision; echo \"${{COMPREPLY[@]}}\"",
                script(Shell::Bash)
            );
            let output = std::process::Command::new("bash").args(["--norc", "-c", &text]).output().ok()?;
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
        };
        let Some(clusters) = run("provision status l", 2) else { return };
        assert_eq!(clusters, "lab");
        assert_eq!(run("provision ssh lab lab-w", 3).unwrap(), "lab-worker-1");
        assert!(run("provision status --wa", 2).unwrap().contains("--watch"));
    }
}
