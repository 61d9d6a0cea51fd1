//! A user's world: the programs, a state directory, a kubeconfig.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// What a program said.
#[derive(Debug)]
pub struct Ran {
    /// The exit code; -1 if a signal ended it.
    pub code: i32,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

/// A user with a state directory of their own. The image cache is shared with other runs.
pub struct Lab {
    dir: tempfile::TempDir,
    provision: PathBuf,
    kubectl: PathBuf,
    cluster: String,
    /// The process whose network and mounts programs see; our own if absent.
    inside: Option<u32>,
}

#[expect(clippy::disallowed_methods, reason = "the tests are told by their caller where the programs are")]
pub(crate) fn variable(name: &str) -> Option<PathBuf> {
    std::env::var(name).ok().map(PathBuf::from)
}

/// Where images are kept, those of the tests too.
pub(crate) fn cache_dir() -> PathBuf {
    let home = || variable("HOME").map(|home| home.join(".cache"));
    variable("XDG_CACHE_HOME").or_else(home).expect("there is a home directory").join("provision")
}

/// Why machines cannot be made here, if they cannot.
pub fn skip_reason() -> Option<String> {
    if !nix::unistd::geteuid().is_root() {
        return Some("private libvirt daemons need root".to_owned());
    }
    for program in ["/usr/sbin/libvirtd", "/usr/bin/qemu-system-x86_64", "/usr/bin/mmdebstrap"] {
        if !Path::new(program).exists() {
            return Some(format!("{program} is not installed (make deps)"));
        }
    }
    for name in ["PROVISION_BIN", "PROVISION_KUBECTL"] {
        if variable(name).is_none_or(|path| !path.exists()) {
            return Some(format!("{name} does not name a program (make test sets it)"));
        }
    }
    None
}

/// Why a test that takes many minutes is left out, if it is.
pub fn skip_reason_of_long_tests() -> Option<String> {
    let asked = variable("PROVISION_TEST_ALL").is_some();
    if asked { skip_reason() } else { Some("it takes many minutes (make test-all runs it)".to_owned()) }
}

impl Lab {
    /// A world for the cluster `cluster`, or nothing if the program is not built (then `make test` says so).
    pub fn new(cluster: &str) -> Self {
        let dir = tempfile::Builder::new().prefix("pv-").tempdir_in("/tmp").expect("/tmp can be written to");
        let provision = variable("PROVISION_BIN").unwrap_or_else(built);
        let kubectl = variable("PROVISION_KUBECTL").unwrap_or_else(|| "kubectl".into());
        Self { dir, provision, kubectl, cluster: cluster.to_owned(), inside: None }
    }

    /// Lets programs see the network and the mounts of a process.
    pub fn enter(&mut self, pid: u32) {
        self.inside = Some(pid);
    }

    /// The program, started where this user is.
    fn here(&self, program: &Path) -> Command {
        let Some(pid) = self.inside else { return Command::new(program) };
        let mut command = Command::new("nsenter");
        command.args(["--net", "--mount", "--pid", "--target", &pid.to_string(), "--"]).arg(program);
        command
    }

    /// Whether the program under test is there.
    pub fn is_built(&self) -> bool {
        self.provision.exists()
    }

    /// The program under test.
    pub fn program(&self) -> &Path {
        &self.provision
    }

    /// A file in this world.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Writes a file into this world.
    pub fn write(&self, name: &str, content: &[u8]) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, content).expect("a temporary directory can be written to");
        path
    }

    /// The state directory of the cluster.
    pub fn state(&self) -> PathBuf {
        self.path("state/clusters").join(&self.cluster)
    }

    /// Runs `provision` to its end.
    pub fn provision(&self, args: &[&str]) -> Ran {
        ran(&self.command(args).output().expect("provision can be started"))
    }

    /// Starts `provision` and lets it run.
    pub fn start(&self, args: &[&str]) -> Child {
        let said = std::fs::File::create(self.path("said.log")).expect("the lab's folder can be written");
        let both = said.try_clone().expect("a file can be opened twice");
        self.command(args).stdout(said).stderr(both).spawn().expect("provision can be started")
    }

    /// What the run that was started last has said so far.
    pub fn said(&self) -> String {
        std::fs::read_to_string(self.path("said.log")).unwrap_or_default()
    }

    /// Runs `kubectl` against the cluster; panics with everything it said unless it succeeds.
    pub fn kubectl(&self, args: &[&str]) -> String {
        let ran = self.try_kubectl(args);
        assert_eq!(ran.code, 0, "kubectl {args:?}: {ran:?}");
        ran.stdout
    }

    /// Runs `kubectl` against the cluster.
    pub fn try_kubectl(&self, args: &[&str]) -> Ran {
        ran(&self.kubectl_command(args).output().expect("kubectl can be started"))
    }

    /// A `kubectl` that is yet to be started.
    pub fn kubectl_command(&self, args: &[&str]) -> Command {
        let mut command = self.here(&self.kubectl);
        command.arg("--kubeconfig").arg(self.state().join("kubeconfig")).args(args).current_dir(self.dir.path());
        command.env("HOME", self.dir.path()).stdin(Stdio::null());
        command
    }

    /// Runs `kubectl` until `wanted` likes what it says; panics after `patience`.
    pub fn eventually(&self, patience: Duration, args: &[&str], wanted: impl Fn(&Ran) -> bool) -> Ran {
        let deadline = Instant::now() + patience;
        loop {
            let ran = self.try_kubectl(args);
            if wanted(&ran) {
                return ran;
            }
            assert!(Instant::now() < deadline, "kubectl {args:?} still says {ran:?}");
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = self.here(&self.provision);
        command.arg("--state-dir").arg(self.path("state")).args(args).stdin(Stdio::null());
        command
    }
}

/// A test that panics leaves no machine behind.
impl Drop for Lab {
    fn drop(&mut self) {
        if self.state().exists() {
            let _ = self.command(&["destroy", &self.cluster, "--yes"]).output();
        }
    }
}

/// The program beside the test binary: `target/debug/deps/it-…` and `target/debug/provision`.
fn built() -> PathBuf {
    let test = std::env::current_exe().expect("a running program has a path");
    test.ancestors().nth(2).expect("tests live in target/<profile>/deps").join("provision")
}

/// What a finished program said.
pub(crate) fn ran(output: &Output) -> Ran {
    Ran {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}
