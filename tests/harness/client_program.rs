//! Real clients as programs: kubectl of two ages, helm, the Python client.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use crate::ApiServer;
use crate::lab::{Ran, ran, variable};

/// A client that users have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientProgram {
    /// kubectl of the newest minor version.
    Kubectl,
    /// kubectl 1.20, as Debian 12 has it.
    OldKubectl,
    /// helm.
    Helm,
    /// A Python with the package `kubernetes`.
    Python,
}

impl ClientProgram {
    fn variable(self) -> &'static str {
        match self {
            Self::Kubectl => "PROVISION_KUBECTL",
            Self::OldKubectl => "PROVISION_OLD_KUBECTL",
            Self::Helm => "PROVISION_HELM",
            Self::Python => "PROVISION_PYTHON",
        }
    }

    /// Where the scripts in `.ci` keep it.
    fn cached(self) -> &'static str {
        match self {
            Self::Kubectl => "kubectl-1.37/kubectl",
            Self::OldKubectl => "kubectl-1.20/kubectl",
            Self::Helm => "kubectl-1.37/helm",
            Self::Python => "python-client/bin/python",
        }
    }

    /// The program; says aloud why there is none.
    pub fn find(self) -> Option<PathBuf> {
        let cache = variable("XDG_CACHE_HOME").or_else(|| Some(variable("HOME")?.join(".cache")));
        let cached = cache.map(|cache| cache.join("provision").join(self.cached()));
        let found = variable(self.variable()).or(cached).filter(|path| path.exists());
        if found.is_none() {
            eprintln!("skipped: no {self:?} here; {} does not name one (make test gets it)", self.variable());
        }
        found
    }
}

/// A client program that talks to one server as its administrator.
pub struct Client<'s> {
    program: PathBuf,
    server: &'s ApiServer,
}

impl<'s> Client<'s> {
    /// The client, or none with the reason printed.
    pub fn of(program: ClientProgram, server: &'s ApiServer) -> Option<Self> {
        Some(Self { program: program.find()?, server })
    }

    /// The command, with a home directory and a kubeconfig of its own.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.args(args).env("KUBECONFIG", self.server.kubeconfig()).env("HOME", self.server.path(""));
        command.current_dir(self.server.path("")).env_remove("XDG_CACHE_HOME").stdin(Stdio::null());
        command
    }

    /// Runs it to its end.
    pub fn run(&self, args: &[&str]) -> Ran {
        ran(&self.command(args).output().expect("a client can be started"))
    }

    /// What it prints; panics with everything it said unless it succeeds.
    #[track_caller]
    pub fn ok(&self, args: &[&str]) -> String {
        let ran = self.run(args);
        assert_eq!(ran.code, 0, "{args:?}: {}\n{}", ran.stderr, ran.stdout);
        ran.stdout
    }

    /// What it says on standard error; panics if it succeeds.
    #[track_caller]
    pub fn fails(&self, args: &[&str]) -> String {
        let ran = self.run(args);
        assert_ne!(ran.code, 0, "{args:?}: {}", ran.stdout);
        ran.stderr
    }

    /// Runs it with something to read.
    pub fn run_with(&self, args: &[&str], input: &str) -> Ran {
        let mut child = self.start(args);
        child.stdin.take().expect("the input is a pipe").write_all(input.as_bytes()).expect("the client reads");
        ran(&child.wait_with_output().expect("a client ends"))
    }

    /// Lets it run; all its streams are pipes. Whoever starts it ends it.
    pub fn start(&self, args: &[&str]) -> Child {
        let mut command = self.command(args);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().expect("a client can be started")
    }
}
