//! A machine with a system's libvirt and an sshd, played inside namespaces of its own.

use std::io::{BufRead as _, BufReader};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

const SCRIPT: &str = include_str!("system-daemon.sh");

/// The daemons; everything in their namespaces ends when this is dropped.
pub struct SystemDaemon {
    process: Child,
    dir: PathBuf,
}

impl SystemDaemon {
    /// Starts the daemons; what they write goes below `dir`.
    pub fn start(dir: &Path) -> Self {
        std::fs::create_dir_all(dir).expect("the lab can be written to");
        let script = dir.join("system-daemon.sh");
        std::fs::write(&script, SCRIPT).expect("the lab can be written to");
        let log = std::fs::File::create(dir.join("log")).expect("the lab can be written to");
        let mut command = Command::new("unshare");
        // With a process namespace too, the end of its first process is the end of all.
        command
            .args(["--net", "--mount", "--pid", "--fork", "--mount-proc", "--kill-child", "sh"])
            .arg(&script)
            .arg(dir);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log).process_group(0);
        let mut process = command.spawn().expect("unshare can be started");
        let mut line = String::new();
        let stdout = process.stdout.take().expect("standard output is a pipe");
        BufReader::new(stdout).read_line(&mut line).expect("the script can be heard");
        let this = Self { process, dir: dir.to_owned() };
        let log = || std::fs::read_to_string(dir.join("log")).unwrap_or_default();
        assert_eq!(line.trim(), "ready", "the daemons do not start: {}", log());
        this
    }

    /// The first process in the namespaces.
    pub fn pid(&self) -> u32 {
        let children = format!("/proc/{0}/task/{0}/children", self.process.id());
        let children = std::fs::read_to_string(children).expect("unshare runs");
        children.split_whitespace().next().and_then(|pid| pid.parse().ok()).expect("unshare has a child")
    }

    /// A file of the daemons'.
    pub fn file(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// Runs a command as root on a machine that has the user's key; its host key is in `known_hosts`.
    pub fn ssh(&self, address: &str, command: &str) -> String {
        let program = self.file("ssh");
        self.run(&program.display().to_string(), &[&format!("root@{address}"), command])
    }

    /// The address of the daemon by way of SSH.
    pub fn ssh_uri(&self) -> String {
        format!("qemu+ssh://root@127.0.0.1:2222/system?command={}", self.dir.join("ssh").display())
    }

    /// Runs a program inside and gives what it says; panics if it fails.
    pub fn run(&self, program: &str, args: &[&str]) -> String {
        let mut command = Command::new("nsenter");
        command.args(["--net", "--mount", "--pid", "--target", &self.pid().to_string(), "--", program]).args(args);
        let output = command.output().expect("nsenter can be started");
        assert!(output.status.success(), "{program} {args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}

impl Drop for SystemDaemon {
    fn drop(&mut self) {
        // `unshare` ends its child with itself, and with the first process of a process namespace all others end.
        let _ = kill(Pid::from_raw(self.process.id().cast_signed()), Signal::SIGKILL);
        let _ = self.process.wait();
    }
}
