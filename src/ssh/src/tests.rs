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
