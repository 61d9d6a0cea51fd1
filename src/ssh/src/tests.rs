//! Against a real sshd on the loopback interface.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::*;

/// An sshd of this test alone; ended when dropped.
struct Sshd {
    process: Child,
    address: SocketAddr,
    identity: Identity,
    host_key: HostKey,
    dir: tempfile::TempDir,
}

impl Drop for Sshd {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn write(path: &Path, content: &str, mode: u32) {
    std::fs::write(path, content).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

/// `None`, with the reason printed, where no sshd can be started.
async fn sshd() -> Option<Sshd> {
    let program = "/usr/sbin/sshd";
    if !Path::new(program).exists() || std::fs::metadata("/proc/self").is_err() {
        println!("skipped: no {program}");
        return None;
    }
    let dir = tempfile::tempdir().unwrap();
    let (host, identity) = (Identity::generate("host"), Identity::generate("test"));
    write(&dir.path().join("host"), &host.to_openssh(), 0o600);
    write(&dir.path().join("authorized"), &identity.public(), 0o600);
    let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
    let config = format!(
        "ListenAddress 127.0.0.1:{port}\nHostKey {0}/host\nAuthorizedKeysFile {0}/authorized\nStrictModes no\nUsePAM no\nPidFile none\nPermitRootLogin yes\n",
        dir.path().display()
    );
    write(&dir.path().join("config"), &config, 0o600);
    std::fs::create_dir_all("/run/sshd").ok()?;
    let process = Command::new(program)
        .args(["-D", "-e", "-f"])
        .arg(dir.path().join("config"))
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let deadline = Instant::now() + Duration::from_mins(1);
    while std::net::TcpStream::connect(address).is_err() {
        assert!(Instant::now() < deadline, "sshd does not listen");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let host_key = HostKey::parse("host", &host.public()).unwrap();
    Some(Sshd { process, address, identity, host_key, dir })
}

impl Sshd {
    fn endpoint(&self) -> Endpoint {
        Endpoint {
            name: "testhost".to_owned(),
            user: "root".to_owned(),
            host_key: self.host_key.clone(),
            identity: self.identity.clone(),
        }
    }

    async fn open(&self, endpoint: &Endpoint) -> Result<Connection, SshError> {
        Connection::open(tokio::net::TcpStream::connect(self.address).await.unwrap(), endpoint).await
    }
}

#[tokio::test]
async fn commands_share_one_connection_and_report_their_status() {
    let Some(sshd) = sshd().await else { return };
    let connection = sshd.open(&sshd.endpoint()).await.unwrap();
    let scripts: Vec<Script> = (0..8).map(|n| Script::new(format!("sleep 0.1; echo {n}"))).collect();
    let outputs = futures::future::join_all(scripts.iter().map(|script| connection.run(script))).await;
    let texts: Vec<String> = outputs.into_iter().map(|output| output.unwrap().text()).collect();
    assert_eq!(texts, ["0", "1", "2", "3", "4", "5", "6", "7"]);

    let echoed = connection.run(&Script::new("cat; echo warned >&2").with_stdin("in")).await.unwrap();
    assert_eq!((echoed.stdout.as_slice(), echoed.stderr.as_slice()), (&b"in"[..], &b"warned\n"[..]));

    let failed = connection.run(&Script::new("echo why >&2\nfalse\necho never")).await.unwrap_err();
    assert_eq!(failed.to_string(), "on testhost, `echo why >&2` ended with status 1: why");
}

#[tokio::test]
async fn large_input_and_output_flow_both_ways() {
    let Some(sshd) = sshd().await else { return };
    let connection = sshd.open(&sshd.endpoint()).await.unwrap();
    let input: Vec<u8> = (0..5_000_000_u32).map(|n| (n % 251) as u8).collect();
    let output = connection.run(&Script::new("cat").with_stdin(input.clone())).await.unwrap();
    assert!(output.stdout == input, "{} bytes came back", output.stdout.len());
}

#[tokio::test]
async fn a_script_reads_a_file_of_ours_piece_by_piece() {
    let Some(sshd) = sshd().await else { return };
    let connection = sshd.open(&sshd.endpoint()).await.unwrap();
    let content: Vec<u8> = (0..5_000_000_u32).map(|n| (n % 251) as u8).collect();
    let source = sshd.dir.path().join("archive");
    std::fs::write(&source, &content).unwrap();
    let output = connection.run(&Script::new("cat").with_file(&source)).await.unwrap();
    assert!(output.stdout == content);
    let missing = Script::new("cat").with_file(std::path::Path::new("/nonexistent"));
    assert!(matches!(connection.run(&missing).await, Err(SshError::Transport { .. })));
    assert_eq!(connection.run(&Script::new("echo alive")).await.unwrap().text(), "alive");
}

#[tokio::test]
async fn a_changed_host_key_is_refused_with_both_fingerprints() {
    let Some(sshd) = sshd().await else { return };
    let other = HostKey::parse("other", &Identity::generate("other").public()).unwrap();
    let endpoint = Endpoint { host_key: other.clone(), ..sshd.endpoint() };
    let Err(error) = sshd.open(&endpoint).await else { panic!("a wrong key was accepted") };
    let SshError::HostKeyChanged { known, seen, .. } = error else { panic!("{error}") };
    assert_eq!((known, seen), (other.fingerprint(), sshd.host_key.fingerprint()));
}

#[tokio::test]
async fn a_key_that_the_host_does_not_know_is_refused() {
    let Some(sshd) = sshd().await else { return };
    let endpoint = Endpoint { identity: Identity::generate("stranger"), ..sshd.endpoint() };
    assert!(matches!(sshd.open(&endpoint).await, Err(SshError::Refused { .. })));
}

#[tokio::test]
async fn a_script_that_takes_too_long_is_given_up() {
    let Some(sshd) = sshd().await else { return };
    let connection = sshd.open(&sshd.endpoint()).await.unwrap();
    // It ends by itself once nobody reads what it writes.
    let script = Script::new("while echo alive; do sleep 0.05; done").with_limit(Duration::from_millis(200));
    assert!(matches!(connection.run(&script).await, Err(SshError::TimedOut { .. })));
    assert_eq!(connection.run(&Script::new("echo alive")).await.unwrap().text(), "alive");
}

/// Takes one piece when it is told to, and hands it to the test.
struct OneByOne(tokio::sync::mpsc::Sender<Piece>);

impl Sink for OneByOne {
    fn take(&mut self, piece: Piece) -> futures::future::BoxFuture<'_, std::io::Result<()>> {
        Box::pin(async move { self.0.send(piece).await.map_err(|_| std::io::ErrorKind::BrokenPipe.into()) })
    }
}

#[tokio::test]
async fn output_comes_while_the_command_runs_and_its_status_comes_last() {
    let Some(sshd) = sshd().await else { return };
    let connection = sshd.open(&sshd.endpoint()).await.unwrap();
    let gate = sshd.dir.path().join("gate").display().to_string();
    // It goes on once the test has seen what it wrote, and opened the gate.
    let script =
        Script::new(format!("mkfifo {gate}; echo first; echo aside >&2; read line <{gate}; echo $line; exit 42"));
    let (sender, mut receiver) = tokio::sync::mpsc::channel(1);
    let mut sink = OneByOne(sender);
    let watch = async {
        let mut first = [receiver.recv().await.unwrap(), receiver.recv().await.unwrap()];
        first.sort_by_key(|piece| matches!(piece, Piece::Stderr(_)));
        assert_eq!(first, [Piece::Stdout("first\n".into()), Piece::Stderr("aside\n".into())]);
        tokio::fs::write(&gate, "last\n").await.unwrap();
        receiver.recv().await.unwrap()
    };
    let (ended, last) = tokio::join!(connection.stream(&script, &mut sink), watch);
    assert_eq!((ended.unwrap(), last), (Ended::Status(42), Piece::Stdout("last\n".into())));
    let mut sink = OneByOne(tokio::sync::mpsc::channel(1).0);
    let killed = connection.stream(&Script::new("kill -KILL $$"), &mut sink).await.unwrap();
    assert_eq!(killed, Ended::Signal("KILL".to_owned()));
}

#[tokio::test]
async fn a_sink_that_takes_nothing_holds_the_command_up_until_its_limit() {
    let Some(sshd) = sshd().await else { return };
    let connection = sshd.open(&sshd.endpoint()).await.unwrap();
    let count = sshd.dir.path().join("count");
    let script = Script::new(format!(
        "n=0; while [ $n -lt 256 ]; do head -c 1048576 /dev/zero; n=$((n + 1)); echo $n >{}; done",
        count.display()
    ));
    // One piece has room in the channel; nobody takes it.
    let (sender, _receiver) = tokio::sync::mpsc::channel(1);
    let script = script.with_limit(Duration::from_secs(3));
    let ended = connection.stream(&script, &mut OneByOne(sender)).await;
    assert!(matches!(ended, Err(SshError::TimedOut { .. })), "{ended:?}");
    let written: u64 = std::fs::read_to_string(&count).unwrap_or_default().trim().parse().unwrap_or(0);
    assert!(written < 64, "{written} MiB were written though none was taken");
    assert_eq!(connection.run(&Script::new("echo alive")).await.unwrap().text(), "alive");
}

/// Does not end by itself, and says when it holds a pipe open, as its children do.
fn endless(pipe: &Path) -> Script {
    Script::new(format!("mkfifo {0}; exec 3<>{0}; echo ready; sleep 1000; true", pipe.display()))
}

/// Returns when nobody has the pipe open for writing any more.
async fn nobody_writes(pipe: &Path) {
    let mut pipe = tokio::net::unix::pipe::OpenOptions::new().open_receiver(pipe).unwrap();
    let mut rest = Vec::new();
    let read = tokio::io::AsyncReadExt::read_to_end(&mut pipe, &mut rest);
    assert_eq!(tokio::time::timeout(Duration::from_mins(1), read).await.expect("it lives on").unwrap(), 0);
}

#[tokio::test]
async fn whoever_stops_waiting_ends_the_command_and_its_children() {
    let Some(sshd) = sshd().await else { return };
    let connection = sshd.open(&sshd.endpoint()).await.unwrap();
    let pipe = sshd.dir.path().join("pipe");
    let (sender, mut receiver) = tokio::sync::mpsc::channel(1);
    let (script, mut sink) = (endless(&pipe), OneByOne(sender));
    tokio::select! {
        ended = connection.stream(&script, &mut sink) => panic!("it ended: {ended:?}"),
        piece = receiver.recv() => assert_eq!(piece, Some(Piece::Stdout("ready\n".into()))),
    }
    nobody_writes(&pipe).await;
    assert_eq!(connection.run(&Script::new("echo alive")).await.unwrap().text(), "alive");
}

#[tokio::test]
async fn a_sink_that_fails_ends_the_command() {
    let Some(sshd) = sshd().await else { return };
    let connection = sshd.open(&sshd.endpoint()).await.unwrap();
    let pipe = sshd.dir.path().join("pipe");
    let (script, mut sink) = (endless(&pipe), OneByOne(tokio::sync::mpsc::channel(1).0));
    let error = connection.stream(&script, &mut sink).await.unwrap_err();
    assert!(matches!(error, SshError::Sink { .. }), "{error}");
    assert!(error.to_string().ends_with("writes on testhost"), "{error}");
    nobody_writes(&pipe).await;
}

#[tokio::test]
async fn more_output_than_is_kept_is_an_error() {
    let Some(sshd) = sshd().await else { return };
    let connection = sshd.open(&sshd.endpoint()).await.unwrap();
    let script = Script::new("head -c 3000 /dev/zero; head -c 3000 /dev/zero >&2");
    assert_eq!(crate::output::collect(&connection, &script, 6000).await.unwrap().stderr.len(), 3000);
    let error = crate::output::collect(&connection, &script, 5999).await.unwrap_err();
    assert!(matches!(error, SshError::TooMuch { limit: 5999, .. }), "{error}");
}

#[tokio::test]
async fn uploads_write_what_differs_and_nothing_else() {
    let Some(sshd) = sshd().await else { return };
    let connection = sshd.open(&sshd.endpoint()).await.unwrap();
    let root = sshd.dir.path().join("a b/c").display().to_string();
    let files =
        [File::secret(format!("{root}/key"), "secret"), File::program(format!("{root}/tool"), vec![7_u8; 3_000_000])];
    let first = connection.upload(&files).await.unwrap();
    assert_eq!((first.written.len(), first.unchanged), (2, 0));
    let mode = |name: &str| std::fs::metadata(format!("{root}/{name}")).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("key"), mode("tool")), (0o600, 0o755));
    assert_eq!(connection.upload(&files).await.unwrap().unchanged, 2);

    std::fs::write(format!("{root}/key"), "tampered").unwrap();
    assert_eq!(connection.upload(&files).await.unwrap().written, [format!("{root}/key")]);
    assert_eq!(std::fs::read_to_string(format!("{root}/key")).unwrap(), "secret");
    let left: Vec<_> = std::fs::read_dir(&root).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left.len(), 2, "no temporary file stays: {left:?}");
}

#[test]
fn words_are_quoted_for_the_shell() {
    assert_eq!(quote("/etc/a-b.conf"), "/etc/a-b.conf");
    assert_eq!(quote("it's $HOME"), r"'it'\''s $HOME'");
    assert_eq!(quote(""), "''");
}

#[test]
fn a_files_content_never_shows_in_debug_output() {
    assert_eq!(format!("{:?}", File::secret("/k", "hush")), "File(/k 600 4 bytes)");
}
