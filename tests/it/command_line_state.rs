//! Verbs on clusters that exist: what is refused and why, and that nothing is lost by a refusal.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use harness::{Lab, Ran};
use provision::allocate::{self, Site};
use provision::state::{StateDir, write_private};
use topology::Topology;

const HEAD: &str = "apiVersion: provision.dev/v1alpha1\nkind: Cluster\nmetadata: {name: demo}\n";
const EMBEDDED: &str = "spec:\n  infrastructure: {libvirt: {uri: embedded}}\n";

/// A world with a cluster `demo` that was given everything and of which nothing runs; or nothing, with the reason printed.
fn lab(spec: &str) -> Option<Lab> {
    let lab = Lab::new("demo");
    if !lab.is_built() {
        println!("skipped: provision is not built (make build)");
        return None;
    }
    let topology = Topology::parse("demo.yaml", &format!("{HEAD}{spec}")).unwrap();
    let state = StateDir::new(&lab.path("state"), "demo");
    let site = Site {
        id: "11111111-2222-4333-8444-555555555555".parse().unwrap(),
        libvirt: "embedded".to_owned(),
        subnet: "10.80.0.0/24".parse().unwrap(),
        api_port: Some(16443),
        emulated: false,
    };
    let mut allocations = allocate::fresh(&topology, &site);
    allocate::extend(&mut allocations, &topology).unwrap();
    state.create().unwrap();
    state.save_allocations(&allocations).unwrap();
    write_private(&state.path("topology.yaml"), topology.to_yaml().as_bytes()).unwrap();
    Some(lab)
}

fn run(lab: &Lab, line: &str) -> Ran {
    let hyperkube = lab.write("hyperkube", b"not a program").display().to_string();
    let words = ["--hyperkube", &hyperkube].into_iter().chain(line.split_whitespace());
    lab.provision(&words.collect::<Vec<_>>())
}

/// Every file of the cluster but the lock, which every verb takes.
fn files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        if entry.path().is_dir() {
            files.append(&mut self::files(&entry.path()));
        } else if entry.file_name() != "lock" {
            files.insert(entry.path(), std::fs::read(entry.path()).unwrap());
        }
    }
    files
}

/// A verb is refused, says why, and leaves every file as it was.
fn refused(lab: &Lab, line: &str, code: i32, says: &[&str]) {
    let before = files(&lab.state());
    let ran = run(lab, line);
    assert_eq!(ran.code, code, "{line}: {ran:?}");
    for words in says {
        assert!(ran.stderr.contains(words), "{line}: {words:?} is not in {}", ran.stderr);
    }
    assert!(files(&lab.state()) == before, "{line}: a refusal changes nothing");
}

#[test]
fn destroy_asks_and_without_an_answer_removes_nothing() {
    let Some(lab) = lab(EMBEDDED) else { return };
    std::fs::create_dir_all(lab.state().join("disks")).unwrap();
    std::fs::write(lab.state().join("disks/demo-control-plane-1.qcow2"), "disk").unwrap();
    let says = ["- remove-machine", "demo-control-plane-1", "nobody to answer", "hint: type the cluster's name"];
    refused(&lab, "destroy demo", 8, &says);
    assert_eq!(run(&lab, "destroy demo --yes").code, 0);
    assert!(!lab.state().exists());
}

#[test]
fn destroy_needs_nothing_but_what_the_cluster_was_given() {
    for broken in ["topology.yaml", "pki/ca.crt", "pki/ca.key", "ssh/id_ed25519", "pki/sa.key"] {
        let Some(lab) = lab(EMBEDDED) else { return };
        for (name, content) in [("pki/ca.crt", "x"), ("pki/ca.key", "x"), (broken, "broken: [")] {
            let path = lab.state().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, content).unwrap();
        }
        std::fs::create_dir_all(lab.state().join("disks")).unwrap();
        std::fs::write(lab.state().join("disks/demo-control-plane-1.qcow2"), "disk").unwrap();
        let status = run(&lab, "status demo");
        assert_eq!(status.code, 1, "{broken}: {status:?}");
        let ran = run(&lab, "destroy demo --yes");
        assert_eq!((ran.code, lab.state().exists()), (0, false), "{broken}: {ran:?}");
        assert!(ran.stderr.contains("what it was given is enough to take it down"), "{broken}: {ran:?}");
    }
}

#[test]
fn state_of_another_format_is_refused_by_every_verb_and_nothing_is_lost() {
    let Some(lab) = lab(EMBEDDED) else { return };
    let file = lab.write("demo.yaml", format!("{HEAD}{EMBEDDED}").as_bytes()).display().to_string();
    for (content, says) in [(r#"{"format": 99}"#, "has format 99"), ("{", "is not JSON"), ("", "is not JSON")] {
        std::fs::write(lab.state().join("cluster.json"), content).unwrap();
        for line in [
            &format!("apply {file}"),
            &format!("plan {file}"),
            "scale demo --workers 2",
            "stop demo",
            "start demo",
            "status demo",
            "destroy demo --yes",
            "ssh demo",
            "console demo",
        ] {
            refused(&lab, line, 1, &[says, "restore it from a backup"]);
        }
        let listed = run(&lab, "list");
        assert!(listed.code == 0 && listed.stdout.contains("unreadable"), "{listed:?}");
    }
    std::fs::remove_dir_all(lab.state()).unwrap();
}

#[test]
fn a_journal_that_nobody_can_read_is_kept_and_stops_nothing() {
    let Some(lab) = lab(EMBEDDED) else { return };
    std::fs::write(lab.state().join("journal.jsonl"), b"{\"time\":\n\xff\xfe half a li").unwrap();
    let file = lab.write("demo.yaml", format!("{HEAD}{EMBEDDED}").as_bytes()).display().to_string();
    let planned = run(&lab, &format!("plan {file}"));
    assert_eq!(planned.code, 2, "{planned:?}");
    assert_eq!(run(&lab, "status demo").code, 0);
    assert!(std::fs::read(lab.state().join("journal.jsonl")).unwrap().ends_with(b"half a li"));
    assert_eq!(run(&lab, "destroy demo --yes").code, 0);
}

#[test]
fn what_cannot_change_is_refused_by_name_and_place() {
    let Some(lab) = lab(EMBEDDED) else { return };
    let size = "  controlPlane: {machine: {memory: 4Gi}}\n";
    let spec = format!("{EMBEDDED}  network:\n    pods: 10.200.0.0/16\n  etcd: {{mode: external}}\n{size}");
    let file = lab.write("demo.yaml", format!("{HEAD}{spec}").as_bytes()).display().to_string();
    for verb in ["apply", "plan"] {
        let says = [
            "demo.yaml:7:11: spec.network.pods: cannot change from 10.244.0.0/16",
            "spec.etcd.mode: cannot change",
            "spec.controlPlane.machine.memory: cannot change from 2Gi to 4Gi: machines keep the size",
        ];
        refused(&lab, &format!("{verb} {file}"), 3, &says);
    }
}

#[test]
fn scaling_to_what_cannot_be_is_refused_with_what_would_be_safe() {
    let Some(lab) = lab(&format!("{EMBEDDED}  workers: [{{name: a}}, {{name: b}}]\n")) else { return };
    refused(
        &lab,
        "scale demo --control-planes 2",
        3,
        &["no more failures than 1", "safe would be --control-planes 1 or 3"],
    );
    refused(&lab, "scale demo --etcd 3", 3, &["are stacked"]);
    refused(&lab, "scale demo --workers 3", 64, &["several pools", "--pool a=1 --pool b=1"]);
    refused(&lab, "scale demo --pool c=3", 7, &["no pool of workers called c"]);
    refused(&lab, "scale demo", 64, &["--workers"]);
    refused(&lab, "scale demo --pool a=0 --drain-timeout soon", 64, &["\"soon\" is no duration"]);
    let ran = run(&lab, "scale nobody --workers 3");
    assert_eq!((ran.code, lab.path("state/clusters/nobody").exists()), (7, false), "{ran:?}");
}

#[test]
fn who_goes_is_shown_with_the_reason_and_nothing_is_written() {
    let Some(lab) = lab(&format!("{EMBEDDED}  workers: [{{name: w, replicas: 3}}]\n")) else { return };
    let before = files(&lab.state());
    let ran = run(&lab, "scale demo --workers 2 --dry-run");
    assert_eq!(ran.code, 2, "{ran:?}");
    assert!(
        ran.stdout.contains("demo-w-3") && ran.stdout.contains("fewer are asked for, and it is the newest"),
        "{ran:?}"
    );
    assert!(files(&lab.state()) == before, "a look writes something");
}

#[test]
fn a_plan_that_was_kept_is_carried_out_as_it_is_or_not_at_all() {
    let Some(lab) = lab(EMBEDDED) else { return };
    let file = lab.write("demo.yaml", format!("{HEAD}{EMBEDDED}").as_bytes()).display().to_string();
    let kept = lab.path("change.plan").display().to_string();
    let planned = run(&lab, &format!("plan {file} --out {kept} --output json"));
    assert_eq!(planned.code, 2, "{planned:?}");
    let shown: serde_json::Value = serde_json::from_str(&planned.stdout).unwrap();
    assert!(shown["steps"].as_array().unwrap().iter().any(|step| step["id"] == "create-machine/demo-control-plane-1"));
    let text = std::fs::read_to_string(&kept).unwrap();
    // Somebody has planned something else.
    std::fs::write(&kept, text.replace("create-network", "create-nothing")).unwrap();
    let says = ["is not what was planned", "no longer to do: create-nothing/demo", "new: create-network/demo"];
    refused(&lab, &format!("apply --plan {kept}"), 8, &says);
    std::fs::write(&kept, text.replace("embedded", "imbedded")).unwrap();
    refused(&lab, &format!("apply --plan {kept}"), 8, &["its topology was changed"]);
    refused(&lab, "apply --plan /nonexistent/plan", 7, &["there is no such file"]);
    refused(&lab, &format!("apply {file} --plan {kept}"), 64, &["cannot be used with"]);
}

#[test]
fn a_run_waits_for_another_one_as_long_as_it_may() {
    let Some(lab) = lab(EMBEDDED) else { return };
    let lock = std::fs::File::create(lab.state().join("lock")).unwrap();
    lock.lock().unwrap();
    refused(&lab, "destroy demo --yes", 6, &["another run holds this cluster", "--wait-lock"]);
    refused(&lab, "stop demo --wait-lock 10ms", 6, &["waiting for another run", "it may be stuck"]);
    refused(&lab, "stop demo --wait-lock soon", 64, &["is no duration"]);
    let mut waiting = lab.start(&["destroy", "demo", "--yes", "--wait-lock", "5m"]);
    assert!(waiting.try_wait().unwrap().is_none() && lab.state().exists());
    drop(lock);
    assert!(waiting.wait().unwrap().success());
    assert!(!lab.state().exists());
}

#[test]
fn the_users_kubeconfig_gains_a_cluster_and_loses_it_again() {
    let Some(lab) = lab(EMBEDDED) else { return };
    let own = "apiVersion: v1\nkind: Config\nclusters: [{name: demo, cluster: {server: 'https://127.0.0.1:1'}}]\n\
               users: [{name: admin, user: {client-key-data: S0VZ}}]\n\
               contexts: [{name: admin@demo, context: {cluster: demo, user: admin}}]\ncurrent-context: admin@demo\n";
    std::fs::write(lab.state().join("kubeconfig"), own).unwrap();
    let theirs = lab.write("config", b"kind: Config\nusers: [{name: me, user: {token: x}}]\ncurrent-context: work\n");
    let theirs = theirs.display().to_string();
    let merged = run(&lab, &format!("kubeconfig demo --merge --into {theirs}"));
    assert_eq!(merged.code, 0, "{merged:?}");
    let text = std::fs::read_to_string(&theirs).unwrap();
    assert!(text.contains("name: me") && text.contains("current-context: demo"), "{text}");
    // The cluster may be gone when its entries are taken out.
    std::fs::remove_dir_all(lab.state()).unwrap();
    assert_eq!(run(&lab, &format!("kubeconfig demo --remove --into {theirs}")).code, 0);
    let text = std::fs::read_to_string(&theirs).unwrap();
    assert!(text.contains("name: me") && !text.contains("demo"), "{text}");
}

#[test]
fn machines_are_named_in_full_or_without_their_cluster() {
    let Some(lab) = lab(&format!("{EMBEDDED}  workers: [{{name: w, replicas: 2}}]\n")) else { return };
    refused(&lab, "console demo", 64, &["name one of: demo-control-plane-1, demo-w-1, demo-w-2"]);
    refused(&lab, "console demo w-3", 7, &["there is no machine w-3"]);
    refused(&lab, "console demo w-2", 7, &["demo-w-2 has written nothing to its console yet"]);
    refused(&lab, "logs demo-w-2 kubelet", 7, &["has not told its SSH host key yet"]);
    refused(&lab, "logs nobody kubelet", 7, &["no cluster has a machine nobody"]);
    let names = run(&lab, "names demo");
    assert_eq!(names.stdout, "demo-control-plane-1\ndemo-w-1\ndemo-w-2\n");
    assert_eq!(run(&lab, "names").stdout, "demo\n");
}

#[test]
fn a_support_bundle_is_made_of_a_cluster_of_which_nothing_runs() {
    let Some(lab) = lab(EMBEDDED) else { return };
    let file = lab.path("b.tar.gz").display().to_string();
    let ran = run(&lab, &format!("support-bundle demo --file {file} --output json"));
    assert_eq!(ran.code, 0, "{ran:?}");
    let said: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
    assert!(said["files"].as_u64().unwrap() >= 5 && !said["missing"].as_array().unwrap().is_empty(), "{said}");
}

/// The disks of a daemon that is not ours are where that daemon keeps them. libvirt's own test daemon stands in for it.
#[test]
fn a_full_disk_of_the_systems_daemon_is_found_before_anything_is_made() {
    let Some(lab) = lab(EMBEDDED) else { return };
    if !nix::unistd::geteuid().is_root() {
        println!("skipped: a small file system can be mounted by root only");
        return;
    }
    let path = lab.state().join("cluster.json");
    let given = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, given.replace("\"embedded\"", "\"test:///default\"")).unwrap();
    let before = files(&lab.state());
    let hyperkube = lab.write("hyperkube", b"not a program").display().to_string();
    let file = lab.write("demo.yaml", format!("{HEAD}{EMBEDDED}").as_bytes()).display().to_string();
    // In a mount namespace of its own, so that nothing has to be unmounted.
    let script = "mount -t tmpfs -o size=32m none /var/lib && exec \"$@\"";
    let (program, state) = (lab.program().display().to_string(), lab.path("state").display().to_string());
    let output = std::process::Command::new("unshare")
        .args(["--mount", "sh", "-c", script, "sh", &program, "--state-dir", &state])
        .args(["--hyperkube", &hyperkube, "apply", &file])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(4), "{said}");
    let words = "the disks of the machines need at least 2.0 GiB and /var/lib/libvirt/images/demo-";
    assert!(said.contains(words) && said.contains("hint: free disk space there"), "{said}");
    assert!(files(&lab.state()) == before, "a refusal changes nothing");
}

#[test]
fn clusters_are_listed_for_programs_with_what_they_are_meant_to_be() {
    let Some(lab) = lab(&format!("{EMBEDDED}  workers: [{{name: w, replicas: 2}}]\n")) else { return };
    let listed = |lab: &Lab| -> serde_json::Value {
        let ran = run(lab, "list --output json");
        assert_eq!(ran.code, 0, "{ran:?}");
        serde_json::from_str(&ran.stdout).unwrap()
    };
    let expected = serde_json::json!([{
        "name": "demo", "state": "running", "machines": 3, "network": "10.80.0.0/24", "libvirt": "embedded",
        "kubeconfig": lab.state().join("kubeconfig"),
    }]);
    assert_eq!(listed(&lab), expected);
    std::fs::write(lab.state().join("stopped"), "").unwrap();
    assert_eq!(listed(&lab)[0]["state"], "stopped");
    let text = run(&lab, "list").stdout;
    assert!(text.contains("demo                         stopped           3  10.80.0.0/24       embedded"), "{text}");
    std::fs::write(lab.state().join("cluster.json"), "{").unwrap();
    assert_eq!(listed(&lab)[0]["state"], "unreadable");
    std::fs::remove_dir_all(lab.state()).unwrap();
    assert_eq!(listed(&lab), serde_json::json!([]));
}

#[test]
fn status_is_told_to_programs_once_or_whenever_it_changes_until_they_have_enough() {
    let Some(lab) = lab(EMBEDDED) else { return };
    let once = run(&lab, "status demo --output json");
    assert_eq!(once.code, 0, "{once:?}");
    let once: serde_json::Value = serde_json::from_str(&once.stdout).unwrap();
    assert_eq!((&once["name"], &once["machines"][0]["name"]), (&"demo".into(), &"demo-control-plane-1".into()));
    assert!(!once["problems"].as_array().unwrap().is_empty(), "{once}");

    let state = lab.path("state").display().to_string();
    let mut watch = std::process::Command::new(lab.program())
        .args(["--state-dir", &state, "status", "demo", "--watch", "--output", "json"])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(watch.stdout.take().unwrap()));
    let mut next = || -> serde_json::Value { serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap() };
    assert_eq!(next(), once);
    // A disk is all that is left of a machine whose daemon does not run.
    std::fs::create_dir_all(lab.state().join("disks")).unwrap();
    std::fs::write(lab.state().join("disks/demo-control-plane-1.qcow2"), "disk").unwrap();
    let then = next();
    assert!(then != once && then["machines"][0]["power"] == "off", "{then}");
    let pid = nix::unistd::Pid::from_raw(watch.id().cast_signed());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGINT).unwrap();
    assert_eq!(watch.wait().unwrap().code(), Some(0));
}

#[test]
fn a_disk_that_is_full_in_the_middle_is_named_and_the_next_run_goes_on() {
    let Some(lab) = lab(EMBEDDED) else { return };
    if !nix::unistd::geteuid().is_root() {
        println!("skipped: a small file system can be mounted by root only");
        return;
    }
    let small = lab.path("small");
    std::fs::create_dir_all(&small).unwrap();
    let script = "mount -t tmpfs -o size=256k none \"$1\" && cp -r \"$2/.\" \"$1\" || exit 9\n\
                  dd if=/dev/zero of=\"$1/filler\" bs=1k 2>/dev/null\n\
                  \"$3\" --state-dir \"$1\" stop demo; echo \"full $?\"\n\
                  rm \"$1/filler\"; \"$3\" --state-dir \"$1\" stop demo; echo \"freed $?\"";
    let words = [small.as_path(), &lab.path("state"), lab.program()].map(|path| path.display().to_string());
    let output =
        std::process::Command::new("unshare").args(["--mount", "sh", "-c", script, "sh"]).args(&words).output();
    let output = output.unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(out.contains("full 1\n") && out.contains("freed 0\n"), "{out} {err}");
    let file = format!("{}/clusters/demo/", words[0]);
    assert!(
        err.contains(&file) && err.contains("No space left") && err.contains("hint: free space on that disk"),
        "{err}"
    );
}
