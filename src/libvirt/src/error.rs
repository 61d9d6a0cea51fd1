//! What can go wrong with a hypervisor, and what the reader can do about it.

use std::fmt;

/// The kinds of object a hypervisor keeps for us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Object {
    /// A virtual machine.
    Domain,
    /// A virtual network with its bridge and its DHCP server.
    Network,
    /// A folder for disks on the daemon's host.
    Pool,
    /// A file in such a folder.
    Volume,
}

impl fmt::Display for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Object::Domain => "domain",
            Object::Network => "network",
            Object::Pool => "storage pool",
            Object::Volume => "volume",
        })
    }
}

/// A failed operation on a hypervisor; [`HypervisorError::cure`] says what to do.
#[derive(Debug, thiserror::Error)]
pub enum HypervisorError {
    /// No daemon answers at the address.
    #[error("cannot connect to libvirt at {uri}")]
    Connect {
        /// The connection URI.
        uri: String,
        /// What libvirt said.
        #[source]
        source: virt::error::Error,
    },
    /// An object of this name exists and belongs to somebody else.
    #[error("{object} {name:?} at {uri} exists already and belongs to {holder}")]
    Foreign {
        /// The connection URI.
        uri: String,
        /// What kind of object it is.
        object: Object,
        /// Its name.
        name: String,
        /// Who it belongs to, as far as can be seen.
        holder: String,
    },
    /// No object of this name exists.
    #[error("{object} {name:?} does not exist at {uri}")]
    Missing {
        /// The connection URI.
        uri: String,
        /// What kind of object it is.
        object: Object,
        /// Its name.
        name: String,
    },
    /// libvirt refused or failed.
    #[error("cannot {action} {object} {name:?} at {uri}")]
    Operation {
        /// The connection URI.
        uri: String,
        /// The verb, for a person.
        action: &'static str,
        /// What kind of object it is.
        object: Object,
        /// Its name.
        name: String,
        /// What libvirt said.
        #[source]
        source: virt::error::Error,
    },
    /// A question about the daemon or its host failed.
    #[error("cannot read {what} from libvirt at {uri}")]
    Query {
        /// The connection URI.
        uri: String,
        /// What was asked for.
        what: &'static str,
        /// What libvirt said.
        #[source]
        source: virt::error::Error,
    },
    /// A domain did not stop in the time it was given.
    #[error("domain {name:?} at {uri} is still running {seconds} s after it was asked to shut down")]
    StillRunning {
        /// The connection URI.
        uri: String,
        /// The domain's name.
        name: String,
        /// How long was waited.
        seconds: u64,
    },
    /// A description given to us or by libvirt does not have the form we rely on.
    #[error("the description of a {object} cannot be used: {reason}")]
    Description {
        /// What kind of object it describes.
        object: Object,
        /// What is wrong with it.
        reason: String,
    },
    /// What shall be sent to the daemon cannot be read here.
    #[error("cannot read what shall become volume {name:?}")]
    Source {
        /// The volume.
        name: String,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The thread that talks to libvirt ended early.
    #[error("the call to libvirt at {uri} was cut short")]
    Interrupted {
        /// The connection URI.
        uri: String,
    },
}

impl HypervisorError {
    /// One sentence on what to do, where we know it.
    pub fn cure(&self) -> Option<String> {
        match self {
            HypervisorError::Connect { uri, .. } if uri.contains("socket=") => {
                Some("the private libvirt daemon is gone: run the command again to start it".into())
            }
            HypervisorError::Connect { uri, .. } if uri.contains("+ssh") => {
                Some(format!("check that `virsh -c {uri} version` works from this machine"))
            }
            HypervisorError::Connect { .. } => Some(
                "start libvirtd (`systemctl start libvirtd`) and join the group `libvirt`, or use `uri: embedded`"
                    .into(),
            ),
            HypervisorError::Foreign { object, name, .. } => {
                Some(format!("give the cluster another name, or remove {object} {name:?} yourself if it is not needed"))
            }
            HypervisorError::StillRunning { name, .. } => {
                Some(format!("look at the console of {name:?}, or stop it by force"))
            }
            HypervisorError::Operation { source, .. } => cure_of(source.message()),
            _ => None,
        }
    }
}

/// Messages of libvirt and QEMU whose cause is known.
fn cure_of(message: &str) -> Option<String> {
    let cures = [
        ("Permission denied", "let QEMU read the image and state directories, or choose a --state-dir it can read"),
        ("No space left on device", "free disk space under the state directory"),
        ("annot allocate memory", "give the machines less memory or end other programs"),
        ("already in use by interface", "another network uses this range: choose another one in the topology"),
        ("failed to initialize kvm", "KVM does not work here: run `provision doctor`"),
        ("network is not active", "start the network with `virsh net-start`"),
        ("dnsmasq", "install dnsmasq-base"),
    ];
    cures.iter().find(|(part, _)| message.contains(part)).map(|(_, cure)| (*cure).to_owned())
}
