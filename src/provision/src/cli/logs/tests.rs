use super::*;

fn args(component: &str) -> LogsArgs {
    LogsArgs {
        machine: "lab-worker-1".to_owned(),
        component: component.to_owned(),
        follow: false,
        since: None,
        tail: None,
        cluster: None,
    }
}

/// Runs the script as a machine would, with its log folder in `pods`; its exit code and output.
fn run(pods: &std::path::Path, args: &LogsArgs) -> (Option<i32>, String) {
    let script = script(args).unwrap().replace("/var/log/pods", &pods.display().to_string());
    let output = std::process::Command::new("sh").args(["-c", &script]).output().unwrap();
    (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
}

#[test]
fn the_lines_of_a_container_are_shown_without_what_the_runtime_puts_before_them() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("kube-system_kube-apiserver-lab-control-plane-1_uid/kube-apiserver");
    std::fs::create_dir_all(&folder).unwrap();
    let other = dir.path().join("default_kube-apiserver2-x_uid/main");
    std::fs::create_dir_all(&other).unwrap();
    std::fs::write(other.join("0.log"), "2020-01-01T00:00:00Z stdout F not this one\n").unwrap();
    let now = jiff::Timestamp::now();
    let text = format!("2020-01-01T00:00:00.5Z stderr F old one\n{now} stdout P new F one\n{now} stdout F two\n");
    std::fs::write(folder.join("0.log"), text).unwrap();
    let mut wanted = args("kube-apiserver");
    assert_eq!(run(dir.path(), &wanted), (Some(0), "old one\nnew F one\ntwo\n".to_owned()));
    wanted.since = Some(std::time::Duration::from_mins(10));
    assert_eq!(run(dir.path(), &wanted), (Some(0), "new F one\ntwo\n".to_owned()));
    wanted.tail = Some(1);
    assert_eq!(run(dir.path(), &wanted), (Some(0), "two\n".to_owned()));
}

#[test]
fn one_component_is_not_another_whose_name_is_longer() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["kube-proxy", "kube-scheduler"] {
        let folder = dir.path().join(format!("kube-system_{name}-lab-control-plane-1_uid/{name}"));
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("0.log"), format!("2020-01-01T00:00:00Z stdout F {name}\n")).unwrap();
    }
    for (wanted, shown) in [("kube-proxy", (Some(0), "kube-proxy\n")), ("kube", (Some(NOT_THERE), ""))] {
        assert_eq!(run(dir.path(), &args(wanted)), (shown.0, shown.1.to_owned()), "{wanted}");
    }
}

#[test]
fn what_was_put_aside_comes_before_what_is_written_now() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("kube-system_etcd-lab-control-plane-1_uid/etcd");
    std::fs::create_dir_all(&folder).unwrap();
    let files = ["0.log.20200101-000000", "0.log.20200102-000000", "0.log", "2.log.20200104-000000", "2.log", "10.log"];
    for (hour, name) in files.iter().enumerate() {
        std::fs::write(folder.join(name), format!("2020-01-05T0{hour}:00:00Z stdout F {name}\n")).unwrap();
    }
    let mut wanted = args("etcd");
    assert_eq!(run(dir.path(), &wanted).1, format!("{}\n", files.join("\n")));
    wanted.tail = Some(2);
    assert_eq!(run(dir.path(), &wanted).1, "2.log\n10.log\n");
}

#[test]
fn a_component_that_is_not_there_has_its_own_exit_code() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(run(dir.path(), &args("no-such-component")).0, Some(NOT_THERE));
}

#[test]
fn nothing_but_a_name_reaches_the_shell() {
    for name in ["", "-f", "a b", "a;reboot", "$(reboot)", "a/b"] {
        assert_eq!(crate::exit::classify(&script(&args(name)).unwrap_err()), Exit::Usage, "{name:?}");
    }
}
