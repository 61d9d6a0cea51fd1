//! Which file of a private daemon is where, and what can go wrong with it.

use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// The longest path a Unix socket can have.
const SOCKET_PATH_MAX: usize = 107;

/// Directories that the private mount namespace covers.
const COVERED: [&str; 4] = ["/run", "/etc/libvirt", "/var/lib/libvirt", "/dev"];

/// A private daemon that cannot be used; [`EmbeddedError::cure`] says what to do.
#[derive(Debug, thiserror::Error)]
pub enum EmbeddedError {
    /// Namespaces need root.
    #[error("a private libvirt daemon needs root")]
    NotRoot,
    /// A program is missing.
    #[error("{program} is not installed")]
    NoProgram {
        /// The program.
        program: &'static str,
        /// The package that has it.
        package: &'static str,
    },
    /// The directory cannot be seen from inside, or its name is too long for sockets.
    #[error("a private libvirt daemon cannot live in {path}: {reason}")]
    Place {
        /// The directory.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// The supervisor did not come up.
    #[error("the private libvirt daemon did not start: {reason}")]
    Start {
        /// Its last words.
        reason: String,
        /// Where there is more.
        log: PathBuf,
    },
    /// A port of the host cannot be passed on.
    #[error("{listen} cannot be passed to a machine: {reason}")]
    Forward {
        /// The address on the host.
        listen: SocketAddr,
        /// Why.
        reason: String,
    },
    /// A file cannot be worked on.
    #[error("cannot work on {path}")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

impl EmbeddedError {
    /// One sentence on what to do, where we know it.
    pub fn cure(&self) -> Option<String> {
        Some(match self {
            EmbeddedError::NotRoot => "run the command as root (`sudo`), or use `uri: qemu:///system`".to_owned(),
            EmbeddedError::NoProgram { package, .. } => format!("apt-get install {package}"),
            EmbeddedError::Place { .. } => "choose another --state-dir".to_owned(),
            EmbeddedError::Start { log, .. } => format!("look at {}", log.display()),
            EmbeddedError::Forward { .. } => "end the program that uses the port, or choose another port".to_owned(),
            EmbeddedError::File { .. } => return None,
        })
    }

    pub(super) fn file(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| EmbeddedError::File { path, source }
    }
}

/// The files of one private daemon.
#[derive(Debug, Clone)]
pub(super) struct Layout {
    pub(super) dir: PathBuf,
}

impl Layout {
    pub(super) fn new(dir: &Path) -> Self {
        Self { dir: dir.to_owned() }
    }

    pub(super) fn state(&self) -> PathBuf {
        self.dir.join("supervisor.json")
    }

    pub(super) fn start_lock(&self) -> PathBuf {
        self.dir.join("start.lock")
    }

    pub(super) fn life_lock(&self) -> PathBuf {
        self.dir.join("life.lock")
    }

    pub(super) fn supervisor_log(&self) -> PathBuf {
        self.dir.join("supervisor.log")
    }

    pub(super) fn control(&self) -> PathBuf {
        self.dir.join("control")
    }

    pub(super) fn forwards(&self) -> PathBuf {
        self.dir.join("forwards.json")
    }

    /// An empty file that hides a device.
    pub(super) fn nothing(&self) -> PathBuf {
        self.dir.join("nothing")
    }

    pub(super) fn libvirt_socket(&self) -> PathBuf {
        self.dir.join("run/libvirt-sock")
    }

    /// Directories of ours and the places of libvirt they are mounted on.
    pub(super) fn binds(&self) -> [(PathBuf, &'static str); 5] {
        [
            (self.dir.join("etc"), "/etc/libvirt"),
            (self.dir.join("lib"), "/var/lib/libvirt"),
            (self.dir.join("cache"), "/var/cache/libvirt"),
            (self.dir.join("log"), "/var/log/libvirt"),
            (self.dir.join("run"), "/run/libvirt"),
        ]
    }

    pub(super) fn uri(&self) -> String {
        format!("qemu+unix:///system?socket={}", escape(&self.libvirt_socket()))
    }

    /// Everything that can be known to fail before a process is started.
    pub(super) fn check(&self) -> Result<(), EmbeddedError> {
        if !nix::unistd::geteuid().is_root() {
            return Err(EmbeddedError::NotRoot);
        }
        let needed = [
            ("/usr/sbin/libvirtd", "libvirtd", "libvirt-daemon libvirt-daemon-driver-qemu"),
            ("/usr/sbin/virtlogd", "virtlogd", "libvirt-daemon-log"),
            ("/usr/bin/qemu-system-x86_64", "qemu-system-x86_64", "qemu-system-x86"),
            ("/usr/sbin/dnsmasq", "dnsmasq", "dnsmasq-base"),
            ("/usr/sbin/ip", "ip", "iproute2"),
        ];
        for (path, program, package) in needed {
            if !Path::new(path).exists() {
                return Err(EmbeddedError::NoProgram { program, package });
            }
        }
        let drivers = [
            ("libvirt_driver_qemu.so", "libvirt-daemon-driver-qemu"),
            ("libvirt_driver_network.so", "libvirt-daemon-driver-network"),
        ];
        for (program, package) in drivers {
            if driver(program).is_none() {
                return Err(EmbeddedError::NoProgram { program, package });
            }
        }
        self.check_place()
    }

    fn check_place(&self) -> Result<(), EmbeddedError> {
        let refuse = |reason: String| Err(EmbeddedError::Place { path: self.dir.clone(), reason });
        if let Some(covered) = COVERED.iter().find(|covered| self.dir.starts_with(covered)) {
            return refuse(format!("{covered} is private to it"));
        }
        let length = self.libvirt_socket().as_os_str().len();
        if length > SOCKET_PATH_MAX {
            return refuse(format!("its socket would have {length} characters and {SOCKET_PATH_MAX} are possible"));
        }
        Ok(())
    }

    pub(super) fn create(&self) -> Result<(), EmbeddedError> {
        for (dir, _) in self.binds() {
            std::fs::create_dir_all(&dir).map_err(EmbeddedError::file(&dir))?;
        }
        let private = std::fs::Permissions::from_mode(0o700);
        std::fs::set_permissions(&self.dir, private).map_err(EmbeddedError::file(&self.dir))?;
        std::fs::write(self.nothing(), b"").map_err(EmbeddedError::file(&self.nothing()))
    }

    /// Removes all files, and the directory if nothing else is in it.
    pub(super) fn remove(&self) -> io::Result<()> {
        let absent_is_fine = |end: io::Result<()>| match end {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
            _ => Ok(()),
        };
        for (dir, _) in self.binds() {
            absent_is_fine(std::fs::remove_dir_all(dir))?;
        }
        let files = [
            self.state(),
            self.control(),
            self.forwards(),
            self.nothing(),
            self.supervisor_log(),
            self.life_lock(),
            self.start_lock(),
        ];
        for file in files {
            absent_is_fine(std::fs::remove_file(file))?;
        }
        match std::fs::remove_dir(&self.dir) {
            Err(e) if e.kind() == io::ErrorKind::DirectoryNotEmpty => Ok(()),
            end => absent_is_fine(end),
        }
    }
}

/// Where a driver that libvirtd loads is.
pub(crate) fn driver(file: &str) -> Option<PathBuf> {
    let dirs = ["/usr/lib/x86_64-linux-gnu/libvirt/connection-driver", "/usr/lib64/libvirt/connection-driver"];
    dirs.iter().map(|dir| Path::new(dir).join(file)).find(|path| path.exists())
}

/// A path as part of an URI.
fn escape(path: &Path) -> String {
    use std::fmt::Write;
    let mut text = String::new();
    for byte in path.as_os_str().as_encoded_bytes() {
        if byte.is_ascii_alphanumeric() || b"/-_.~".contains(byte) {
            text.push(char::from(*byte));
        } else {
            write!(text, "%{byte:02X}").expect("writing to a string cannot fail");
        }
    }
    text
}
