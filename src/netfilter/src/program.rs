//! Finding and starting the helper programs of the host (`nft`, `conntrack`).

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use tokio::process::Command;

/// Folders that hold network programs, in the order they are tried.
const FOLDERS: [&str; 4] = ["/usr/sbin", "/sbin", "/usr/bin", "/bin"];
/// Loaders of a dynamically linked host, by architecture.
const LOADERS: [&str; 3] = ["/lib64/ld-linux-x86-64.so.2", "/lib/ld-linux-aarch64.so.1", "/lib/ld-musl-x86_64.so.1"];
/// Where the libraries of a host live; missing folders do no harm.
const LIBRARIES: [&str; 5] = [
    "/lib/x86_64-linux-gnu",
    "/usr/lib/x86_64-linux-gnu",
    "/lib/aarch64-linux-gnu",
    "/usr/lib/aarch64-linux-gnu",
    "/lib64",
];

/// A program that can be started, either of this file system or of a host mounted below a folder.
///
/// A container that holds nothing but one static binary has no `nft`. It mounts the root of its
/// node and runs the node's own copy: the node's loader starts the node's `chroot`, which starts
/// the program. No library of the container is involved.
#[derive(Debug, Clone)]
pub struct Program {
    argv: Vec<String>,
}

impl Program {
    /// Looks for `name` in the usual folders, then below `host_root` if one is given.
    pub fn find(name: &str, host_root: Option<&Path>) -> Option<Self> {
        if let Some(path) = FOLDERS.iter().map(|f| Path::new(f).join(name)).find(|p| p.is_file()) {
            return Some(Self { argv: vec![path.to_string_lossy().into_owned()] });
        }
        Self::find_below(name, host_root?)
    }

    fn find_below(name: &str, root: &Path) -> Option<Self> {
        let inside = |path: &str| below(root, path);
        let program = FOLDERS.iter().map(|f| format!("{f}/{name}")).find(|p| exists(root, p))?;
        let chroot = FOLDERS.iter().map(|f| format!("{f}/chroot")).find(|p| exists(root, p))?;
        let loader = LOADERS.iter().find(|p| exists(root, p))?;
        let libraries: Vec<String> = LIBRARIES.iter().map(|p| inside(p).to_string_lossy().into_owned()).collect();
        Some(Self {
            argv: vec![
                inside(loader).to_string_lossy().into_owned(),
                "--library-path".to_owned(),
                libraries.join(":"),
                inside(&chroot).to_string_lossy().into_owned(),
                root.to_string_lossy().into_owned(),
                program,
            ],
        })
    }

    /// A command for the program that dies with its handle.
    pub fn command<I, S>(&self, args: I) -> Command
    where
        I: IntoIterator<Item = S>,
        S: AsRef<OsStr>,
    {
        let mut command = Command::new(&self.argv[0]);
        command.args(&self.argv[1..]).args(args).kill_on_drop(true);
        command
    }

    /// The last word of the command line that starts the program: its own path.
    pub fn path(&self) -> &str {
        self.argv.last().map_or("", String::as_str)
    }

    /// A program given by its path, looked up no further.
    pub fn at(path: impl Into<String>) -> Self {
        Self { argv: vec![path.into()] }
    }
}

fn below(root: &Path, path: &str) -> PathBuf {
    root.join(path.trim_start_matches('/'))
}

/// Whether `path` is a file below `root`, also where it is reached through `/lib -> usr/lib`.
fn exists(root: &Path, path: &str) -> bool {
    below(root, path).symlink_metadata().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_of_a_mounted_host_runs_through_its_own_loader() {
        let root = tempfile::tempdir().unwrap();
        for path in ["usr/sbin/nft", "usr/sbin/chroot", "lib64/ld-linux-x86-64.so.2"] {
            let file = root.path().join(path);
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(file, "").unwrap();
        }
        let program = Program::find_below("nft", root.path()).unwrap();
        assert!(program.argv[0].ends_with("/lib64/ld-linux-x86-64.so.2"));
        assert_eq!(program.argv[1], "--library-path");
        assert!(program.argv[3].ends_with("/usr/sbin/chroot"));
        assert_eq!(program.argv[4], root.path().to_string_lossy());
        assert_eq!(program.path(), "/usr/sbin/nft");
    }

    #[test]
    fn a_missing_program_is_not_found() {
        let root = tempfile::tempdir().unwrap();
        assert!(Program::find("no-such-program", Some(root.path())).is_none());
    }

    #[tokio::test]
    async fn the_root_file_system_itself_serves_as_a_mounted_host() {
        let Some(program) = Program::find_below("uname", Path::new("/")) else {
            return;
        };
        let output = program.command(["-s"]).output().await.unwrap();
        if output.status.success() {
            assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "Linux");
        }
    }
}
