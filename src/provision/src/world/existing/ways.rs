//! The ways to machines that exist already: one SSH connection each, with the keys that the topology pins, through a
//! bastion if there is one.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use async_trait::async_trait;
use ssh::{Connection, Endpoint, Host, HostKey, Identity, SshError};
use tokio::net::TcpStream;
use tokio::sync::{Mutex, OnceCell};
use tokio::time::timeout;
use topology::spec::{Bastion, ExistingHost, Hosts};

use crate::exit::{Exit, Refusal};
use crate::state::{StateDir, write_private};
use crate::world::Stream;
use crate::world::tunnel::Remote;

const SSH_PORT: u16 = 22;
/// From the first byte to a connection that can be used, one hop.
const DIAL_PATIENCE: Duration = Duration::from_secs(10);
const LOGIN_PATIENCE: Duration = Duration::from_mins(1);

/// The connections of one run.
pub(super) struct Ways {
    hosts: Hosts,
    identity: Identity,
    state: StateDir,
    bastion: OnceCell<Arc<Connection>>,
    open: Mutex<BTreeMap<String, Slot>>,
}

/// One machine's connection; the lock is held while it is opened, so that it is opened once.
type Slot = Arc<Mutex<Option<Arc<Connection>>>>;

/// Where the key is that logs in to the hosts; `~` is the home of whoever runs us.
pub(super) fn identity_file(hosts: &Hosts) -> PathBuf {
    let file = &hosts.identity_file;
    let home = file.strip_prefix("~/").zip(std::env::home_dir());
    home.map_or_else(|| file.into(), |(rest, home)| home.join(rest))
}

fn identity(hosts: &Hosts) -> Result<Identity> {
    let file = identity_file(hosts);
    let field = format!("spec.infrastructure.hosts.identityFile ({})", file.display());
    let pem = std::fs::read_to_string(&file)
        .map_err(|error| Refusal::new(Exit::NotFound, format!("{field} cannot be read: {error}")))?;
    let hint = "give a key in OpenSSH's own format and without a passphrase, as `ssh-keygen -t ed25519 -N ''` makes it";
    Ok(Identity::from_openssh(&field, &pem)
        .map_err(|error| Refusal::new(Exit::Topology, error.to_string()).hint(hint))?)
}

impl Ways {
    /// Connects only when asked to.
    pub(super) fn new(hosts: &Hosts, state: &StateDir) -> Result<Self> {
        Ok(Self {
            identity: identity(hosts)?,
            hosts: hosts.clone(),
            state: state.clone(),
            bastion: OnceCell::new(),
            open: Mutex::default(),
        })
    }

    pub(super) fn host(&self, name: &str) -> Result<&ExistingHost> {
        let host = self.hosts.machines.iter().find(|host| host.name == name);
        host.with_context(|| format!("spec.infrastructure.hosts has no machine {name}"))
    }

    pub(super) fn machines(&self) -> &[ExistingHost] {
        &self.hosts.machines
    }

    /// The key that the machine must show.
    pub(super) fn host_key(&self, name: &str) -> Result<HostKey> {
        Ok(HostKey::parse(&format!("the host key of {name}"), &self.host(name)?.host_key)?)
    }

    /// A connection that everybody shares.
    pub(super) async fn shared(&self, name: &str) -> Result<Arc<Connection>> {
        let slot = Arc::clone(self.open.lock().await.entry(name.to_owned()).or_default());
        let mut slot = slot.lock().await;
        if let Some(connection) = slot.as_ref().filter(|connection| !connection.is_closed()) {
            return Ok(Arc::clone(connection));
        }
        let endpoint = self.endpoint(name, &self.hosts.user, self.host_key(name)?);
        let connection = Arc::new(open(self.dial(name, SSH_PORT).await?, &endpoint).await?);
        *slot = Some(Arc::clone(&connection));
        Ok(connection)
    }

    /// Closes the connection to a machine that is no longer ours.
    pub(super) async fn forget(&self, name: &str) {
        self.open.lock().await.remove(name);
    }

    /// A port of a machine; that of its sshd is 22 to all who ask.
    pub(super) async fn dial(&self, name: &str, port: u16) -> Result<Stream> {
        let host = self.host(name)?;
        let port = if port == SSH_PORT { host.port } else { port };
        let context = || format!("{name} ({}:{port}) cannot be reached", host.address);
        if let Some(bastion) = self.bastion().await? {
            let tunnel = timeout(DIAL_PATIENCE, bastion.tunnel(&host.address.to_string(), port)).await;
            return Ok(Box::new(tunnel.with_context(context)?.with_context(context)?));
        }
        let stream = timeout(DIAL_PATIENCE, TcpStream::connect((host.address, port))).await;
        Ok(Box::new(stream.with_context(context)?.with_context(context)?))
    }

    async fn bastion(&self) -> Result<Option<&Arc<Connection>>> {
        let Some(bastion) = &self.hosts.bastion else { return Ok(None) };
        let connect = async {
            let key = HostKey::parse("spec.infrastructure.hosts.bastion.hostKey", &bastion.host_key)?;
            let endpoint = self.endpoint(&format!("the bastion {}", bastion.address), &bastion.user, key);
            let stream = timeout(DIAL_PATIENCE, TcpStream::connect((bastion.address.as_str(), bastion.port))).await;
            let context = || format!("the bastion {}:{} cannot be reached", bastion.address, bastion.port);
            open(Box::new(stream.with_context(context)?.with_context(context)?), &endpoint).await.map(Arc::new)
        };
        self.bastion.get_or_try_init(|| connect).await.map(Some)
    }

    fn endpoint(&self, name: &str, user: &str, host_key: HostKey) -> Endpoint {
        Endpoint { name: name.to_owned(), user: user.to_owned(), host_key, identity: self.identity.clone() }
    }

    /// The way to the bastion for OpenSSH, which stays when we end.
    pub(super) fn to_bastion(&self) -> Result<Option<Remote>> {
        let Some(bastion) = &self.hosts.bastion else { return Ok(None) };
        let known = self.state.path("ssh/known_hosts-bastion");
        write_private(&known, known_hosts(bastion).as_bytes())?;
        let options = [
            "-F".to_owned(),
            "none".to_owned(),
            "-oIdentitiesOnly=yes".to_owned(),
            format!("-oUserKnownHostsFile={}", known.display()),
            "-oStrictHostKeyChecking=yes".to_owned(),
            "-i".to_owned(),
            identity_file(&self.hosts).display().to_string(),
            "-l".to_owned(),
            bastion.user.clone(),
            "-p".to_owned(),
            bastion.port.to_string(),
        ];
        Ok(Some(Remote::new(options, &bastion.address)))
    }
}

#[async_trait]
impl crate::world::Hosts for Ways {
    async fn connect(&self, name: &str, _: Duration) -> Result<Arc<dyn Host>> {
        // These machines run already: there is no boot to wait for.
        Ok(self.shared(name).await?)
    }
}

fn known_hosts(bastion: &Bastion) -> String {
    let Bastion { address, port, host_key, .. } = bastion;
    let place = if *port == SSH_PORT { address.clone() } else { format!("[{address}]:{port}") };
    format!("{place} {}\n", host_key.trim())
}

async fn open(stream: Stream, endpoint: &Endpoint) -> Result<Connection> {
    let opened = timeout(LOGIN_PATIENCE, Connection::open(stream, endpoint)).await;
    let opened = opened.with_context(|| format!("{} does not finish its part of an SSH handshake", endpoint.name))?;
    opened.map_err(|error| advise(error, &endpoint.user))
}

/// The keys of these machines stand in the topology, and who may log in is their owner's business.
fn advise(error: SshError, user: &str) -> anyhow::Error {
    let hint = match &error {
        SshError::HostKeyChanged { .. } => {
            "if the machine was reinstalled on purpose, write its new key into the topology; otherwise find out who answers"
                .to_owned()
        }
        SshError::Refused { .. } => {
            format!("add the public half of spec.infrastructure.hosts.identityFile to the authorized_keys of {user} there")
        }
        _ => return error.into(),
    };
    Refusal::new(Exit::Identity, error.to_string()).hint(hint).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bastion_is_known_by_its_port_too() {
        let bastion =
            |port| Bastion { address: "b.example".into(), port, user: "me".into(), host_key: "k v \n".into() };
        assert_eq!(known_hosts(&bastion(22)), "b.example k v\n");
        assert_eq!(known_hosts(&bastion(2222)), "[b.example]:2222 k v\n");
    }

    #[test]
    fn a_key_that_cannot_be_read_is_named_by_its_field_and_file() {
        let refused = |file: &str, exit: Exit, says: &str| {
            let hosts = Hosts { user: "root".into(), identity_file: file.into(), bastion: None, machines: vec![] };
            let error = identity(&hosts).unwrap_err();
            assert_eq!(crate::exit::classify(&error), exit);
            assert!(error.to_string().contains(says) && error.to_string().contains(file), "{error}");
        };
        refused("/nonexistent/key", Exit::NotFound, "cannot be read");
        let pem = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(&pem, "-----BEGIN RSA PRIVATE KEY-----\n").unwrap();
        refused(pem.path().to_str().unwrap(), Exit::Topology, "is not a usable SSH key");
    }
}
