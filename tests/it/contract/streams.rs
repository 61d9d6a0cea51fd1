//! exec, attach, logs, port-forward and the proxy with real clients of two ages: WebSocket for today's kubectl, SPDY for the old one.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Shutdown, TcpStream};

use harness::{Client, ClientProgram, CommandKubelet, answer, core};
use reqwest::Method;

use crate::server;

const BOTH: [ClientProgram; 2] = [ClientProgram::Kubectl, ClientProgram::OldKubectl];
/// What today's kubectl logs when the server has accepted its WebSocket, and when it has to do without.
const ACCEPTED: &str = "v5.channel.k8s.io";
const FALL_BACK: &str = "RemoteCommand fallback";

#[tokio::test]
async fn commands_get_all_of_their_input_and_give_their_output_and_exit_code() {
    let server = server().await;
    let kubelet = CommandKubelet::start(&server).await;
    for program in BOTH {
        let Some(kubectl) = Client::of(program, &server) else { continue };
        let before = kubelet.asked().len();
        // The command ends because its input ends.
        // The old one dies loudly of any failure it is to log about.
        let loud = if program == ClientProgram::Kubectl { "-v=8" } else { "-v=0" };
        let run = ["exec", "-i", loud, "pod", "-c", "c", "--", "sh", "-c", "tr a-z A-Z; echo bad >&2; exit 7"];
        let ran = kubectl.run_with(&run, "hello");
        assert_eq!((ran.code, ran.stdout.as_str()), (7, "HELLO"), "{program:?}: {}", ran.stderr);
        assert!(ran.stderr.contains("\nbad\n") || ran.stderr.starts_with("bad\n"), "{program:?}: {}", ran.stderr);
        if program == ClientProgram::Kubectl {
            assert!(ran.stderr.contains(ACCEPTED) && !ran.stderr.contains(FALL_BACK), "{}", ran.stderr);
        }
        assert_eq!(kubectl.ok(&["exec", "pod", "-c", "c", "--", "echo", "a b", "c&d"]), "a b c&d\n");
        assert_eq!(kubelet.asked().len() - before, 2, "{program:?} asked once for each: {:?}", kubelet.asked());
    }
}

#[tokio::test]
async fn much_output_and_much_input_arrive_whole() {
    const MUCH: usize = 3_000_000;
    let server = server().await;
    let _kubelet = CommandKubelet::start(&server).await;
    for program in BOTH {
        let Some(kubectl) = Client::of(program, &server) else { continue };
        let made = format!("head -c {MUCH} /dev/zero | tr '\\0' x");
        let out = kubectl.ok(&["exec", "pod", "-c", "c", "--", "sh", "-c", &made]);
        assert_eq!((out.len(), out.trim_matches('x')), (MUCH, ""), "{program:?}");
        let counted = kubectl.run_with(&["exec", "-i", "pod", "-c", "c", "--", "wc", "-c"], &"y".repeat(MUCH));
        assert_eq!(counted.stdout.trim(), MUCH.to_string(), "{program:?}: {}", counted.stderr);
    }
}

#[tokio::test]
async fn a_container_that_is_not_there_is_told_without_a_second_try() {
    let server = server().await;
    let kubelet = CommandKubelet::start(&server).await;
    for program in BOTH {
        let Some(kubectl) = Client::of(program, &server) else { continue };
        let before = kubelet.asked().len();
        let told = kubectl.fails(&["exec", "pod", "-c", "absent", "--", "true"]);
        assert!(told.contains("container not found (\"absent\")"), "{program:?}: {told}");
        assert_eq!(kubelet.asked().len() - before, 1, "{program:?}");
    }
}

#[tokio::test]
async fn a_terminal_tells_its_size() {
    let server = server().await;
    let _kubelet = CommandKubelet::start(&server).await;
    for program in BOTH {
        let Some(kubectl) = Client::of(program, &server) else { continue };
        let run =
            kubectl.command(&["exec", "-it", "pod", "-c", "c", "--", "sh", "-c", "read size; echo \"got $size\""]);
        let words: Vec<String> = std::iter::once(run.get_program()).chain(run.get_args()).map(quoted).collect();
        let mut script = std::process::Command::new("script");
        script.args(["-qec", &format!("stty rows 33 cols 77; {}", words.join(" ")), "/dev/null"]);
        script
            .envs(run.get_envs().filter_map(|(name, value)| Some((name, value?))))
            .stdin(std::process::Stdio::piped());
        let mut running = script.stdout(std::process::Stdio::piped()).spawn().unwrap();
        // Nobody types, but nobody leaves either.
        let keyboard = running.stdin.take();
        let out = running.wait_with_output().unwrap();
        drop(keyboard);
        let said = String::from_utf8_lossy(&out.stdout);
        assert!(said.contains(r#"got {"Width":77,"Height":33}"#), "{program:?}: {said}");
    }
}

fn quoted(word: &std::ffi::OsStr) -> String {
    format!("'{}'", word.to_str().unwrap().replace('\'', r"'\''"))
}

#[tokio::test]
async fn ports_are_forwarded_one_connection_after_the_other() {
    let server = server().await;
    let kubelet = CommandKubelet::start(&server).await;
    for program in BOTH {
        let Some(kubectl) = Client::of(program, &server) else { continue };
        let before = kubelet.asked().len();
        let mut child = kubectl.start(&["port-forward", "pod/pod", ":80", "--address=127.0.0.1"]);
        let mut line = String::new();
        let mut told = BufReader::new(child.stdout.take().unwrap());
        told.read_line(&mut line).unwrap();
        let port: Option<u16> =
            line.split(" -> ").next().and_then(|text| text.rsplit(':').next()).and_then(|port| port.parse().ok());
        for text in ["one", "two"] {
            let mut stream = TcpStream::connect(("127.0.0.1", port.unwrap_or_else(|| panic!("{line}")))).unwrap();
            stream.write_all(text.as_bytes()).unwrap();
            stream.shutdown(Shutdown::Write).unwrap();
            let mut said = String::new();
            stream.read_to_string(&mut said).unwrap();
            assert_eq!(said, text.to_ascii_uppercase(), "{program:?}");
        }
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(kubelet.asked().len() - before, 1, "{program:?}");
    }
}

#[tokio::test]
async fn whoever_attaches_talks_to_what_runs_already() {
    let server = server().await;
    let kubelet = CommandKubelet::start(&server).await;
    for program in BOTH {
        let Some(kubectl) = Client::of(program, &server) else { continue };
        let ran = kubectl.run_with(&["attach", "-i", "pod", "-c", "c"], "hello");
        assert_eq!((ran.code, ran.stdout.as_str()), (0, "HELLO"), "{program:?}: {}", ran.stderr);
    }
    assert!(kubelet.asked().iter().all(|path| path.starts_with("/attach/default/pod/c?")), "{:?}", kubelet.asked());
}

#[tokio::test]
async fn logs_are_read_cut_and_followed_as_they_grow() {
    let server = server().await;
    let kubelet = CommandKubelet::start(&server).await;
    for program in BOTH {
        let Some(kubectl) = Client::of(program, &server) else { continue };
        assert_eq!(kubectl.ok(&["logs", "pod", "-c", "c"]), "first\nsecond\n", "{program:?}");
        assert_eq!(kubectl.ok(&["logs", "pod", "-c", "c", "--tail=1"]), "second\n", "{program:?}");
        assert!(kubectl.fails(&["logs", "pod", "-c", "nobody"]).contains("nobody"), "{program:?}");
        let mut following = kubectl.start(&["logs", "-f", "pod", "-c", "c"]);
        let mut out = BufReader::new(following.stdout.take().unwrap());
        let mut line = String::new();
        out.read_line(&mut line).unwrap();
        assert_eq!(line, "first\n", "{program:?}: told before there is more");
        kubelet.go_on();
        line.clear();
        out.read_to_string(&mut line).unwrap();
        assert_eq!(line, "second\n", "{program:?}");
        assert!(following.wait().unwrap().success());
    }
    let wanted = "/containerLogs/default/pod/c?tailLines=1";
    assert!(kubelet.asked().iter().any(|path| path == wanted), "{:?}", kubelet.asked());
}

#[tokio::test]
async fn the_proxy_of_a_node_hands_on_method_path_query_and_answer() {
    let server = server().await;
    let _kubelet = CommandKubelet::start(&server).await;
    let admin = server.admin();
    for (method, path, wanted) in [
        (Method::GET, "/mirror", "GET /mirror HTTP/1.1\r\n"),
        (Method::PUT, "/mirror/a%2Fb/?x=1&y=%20", "PUT /mirror/a%2Fb/?x=1&y=%20 HTTP/1.1\r\n"),
    ] {
        let request = admin.request(method, &format!("/api/v1/nodes/here/proxy{path}"));
        let got = answer(request.header("authorization", "Bearer secret").header("x-mine", "1")).await;
        let said = String::from_utf8_lossy(&got.bytes).into_owned();
        assert_eq!((got.code, got.header("x-from")), (202, "kubelet"), "{said}");
        assert!(said.starts_with(wanted) && said.contains("x-mine: 1"), "{said}");
        assert!(!said.contains("secret"), "what proves the client to us is not for others: {said}");
    }
    // The right to use the proxy is one of its own.
    server.user("somebody", &[]).get("/api/v1/nodes/here/proxy/mirror").await.failed(403);
    admin.get("/api/v1/nodes/here:1/proxy/mirror").await.failed(400);
    let nowhere = admin.get(&core("pods/pod/proxy/")).await;
    assert!(nowhere.code >= 400 && nowhere.body["kind"] == "Status", "{}", nowhere.body);
}
