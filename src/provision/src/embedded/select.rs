//! Which libvirt daemon a cluster uses when its topology leaves the choice to us.

use std::time::Duration;

use libvirt::{Daemon, HypervisorError};

use super::kvm::{self, Kvm};
use super::{EmbeddedError, EmbeddedHandle, Options};

/// The address of the system's daemon.
pub const SYSTEM: &str = "qemu:///system";

/// A system daemon answers at once or not at all.
const SYSTEM_PATIENCE: Duration = Duration::from_secs(10);

/// What a topology asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// The system's daemon if there is one that is of use, else a private one.
    Auto,
    /// A private one.
    Embedded,
    /// This one.
    Uri(String),
}

impl Wanted {
    /// Reads `auto`, `embedded` or a connection URI.
    pub fn parse(text: &str) -> Self {
        match text {
            "" | "auto" => Wanted::Auto,
            "embedded" => Wanted::Embedded,
            uri => Wanted::Uri(uri.to_owned()),
        }
    }
}

/// A daemon that answers.
#[derive(Clone)]
pub struct Selected {
    /// The connection.
    pub daemon: Daemon,
    /// Set if it is a private one: guests are reached through it.
    pub embedded: Option<EmbeddedHandle>,
}

/// No daemon can be used.
#[derive(Debug, thiserror::Error)]
pub enum SelectError {
    /// The daemon that was asked for does not answer.
    #[error(transparent)]
    Hypervisor(#[from] HypervisorError),
    /// The private daemon does not start.
    #[error(transparent)]
    Embedded(#[from] EmbeddedError),
}

impl SelectError {
    /// One sentence on what to do, where we know it.
    pub fn cure(&self) -> Option<String> {
        match self {
            SelectError::Hypervisor(error) => error.cure(),
            SelectError::Embedded(error) => error.cure(),
        }
    }
}

/// Connects to what is wanted, starting a private daemon if that is the choice.
///
/// A cluster that has a private daemon keeps it, whatever else has come up since.
pub async fn connect(wanted: &Wanted, options: &Options) -> Result<Selected, SelectError> {
    match wanted {
        Wanted::Uri(uri) => Ok(Selected { daemon: Daemon::connect(uri).await?, embedded: None }),
        Wanted::Embedded => embedded(options).await,
        Wanted::Auto if super::state_exists(&options.dir) => embedded(options).await,
        Wanted::Auto => match system().await {
            Some(daemon) => Ok(Selected { daemon, embedded: None }),
            None => embedded(options).await,
        },
    }
}

async fn embedded(options: &Options) -> Result<Selected, SelectError> {
    let handle = super::start(options).await?;
    let daemon = Daemon::connect(&handle.uri).await?;
    Ok(Selected { daemon, embedded: Some(handle) })
}

/// The system's daemon, if it answers and does not stumble over a KVM that does not work.
pub async fn system() -> Option<Daemon> {
    let daemon = tokio::time::timeout(SYSTEM_PATIENCE, Daemon::connect(SYSTEM)).await.ok()?.ok()?;
    let stumbles = std::path::Path::new("/dev/kvm").exists() && matches!(kvm::probe().await, Kvm::Unusable(_));
    (!stumbles).then_some(daemon)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_addresses_are_told_apart() {
        assert_eq!(Wanted::parse("auto"), Wanted::Auto);
        assert_eq!(Wanted::parse("embedded"), Wanted::Embedded);
        assert_eq!(Wanted::parse(SYSTEM), Wanted::Uri(SYSTEM.into()));
    }
}
