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

/// Whose machines they become.
#[derive(Debug, PartialEq, Eq)]
pub enum Choice<D> {
    /// A private daemon's.
    Embedded,
    /// The system's daemon's, which has answered.
    System(D),
    /// Those of the daemon with this address.
    Uri(String),
}

/// Chooses; `system` is asked only if it matters.
///
/// A cluster that has a private daemon keeps it, whatever else has come up since.
pub async fn choose<D>(wanted: &Wanted, has_embedded: bool, system: impl Future<Output = Option<D>>) -> Choice<D> {
    match wanted {
        Wanted::Uri(uri) => Choice::Uri(uri.clone()),
        Wanted::Embedded => Choice::Embedded,
        Wanted::Auto if has_embedded => Choice::Embedded,
        Wanted::Auto => system.await.map_or(Choice::Embedded, Choice::System),
    }
}

/// Connects to what is wanted, starting a private daemon if that is the choice.
pub async fn connect(wanted: &Wanted, options: &Options) -> Result<Selected, SelectError> {
    match choose(wanted, super::state_exists(&options.dir), Box::pin(system())).await {
        Choice::Uri(uri) => Ok(Selected { daemon: Daemon::connect(&uri).await?, embedded: None }),
        Choice::Embedded => embedded(options).await,
        Choice::System(daemon) => Ok(Selected { daemon, embedded: None }),
    }
}

async fn embedded(options: &Options) -> Result<Selected, SelectError> {
    let handle = super::start(options).await?;
    let daemon = Daemon::connect(&handle.uri).await?;
    Ok(Selected { daemon, embedded: Some(handle) })
}

/// The system's daemon, if it answers and does not stumble over a KVM that does not work.
pub async fn system() -> Option<Daemon> {
    let has_kvm = std::path::Path::new("/dev/kvm").exists();
    usable(SYSTEM_PATIENCE, Daemon::connect(SYSTEM), has_kvm, kvm::probe()).await
}

/// What answers in time, unless it would try a KVM that is there and does not work. A daemon without one emulates.
async fn usable<D, E>(
    patience: Duration,
    answer: impl Future<Output = Result<D, E>>,
    has_kvm: bool,
    probe: impl Future<Output = Kvm>,
) -> Option<D> {
    let daemon = tokio::time::timeout(patience, answer).await.ok()?.ok()?;
    let stumbles = has_kvm && matches!(probe.await, Kvm::Unusable(_));
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

    #[tokio::test]
    async fn the_systems_daemon_is_taken_if_it_is_of_use_and_a_private_one_else() {
        let auto = Wanted::Auto;
        assert_eq!(choose(&auto, false, async { Some("daemon") }).await, Choice::System("daemon"));
        assert_eq!(choose(&auto, false, async { None::<()> }).await, Choice::Embedded);
        let unasked = async || -> Option<()> { panic!("nobody needs to know") };
        assert_eq!(choose(&auto, true, unasked()).await, Choice::Embedded, "it keeps the one that it has");
        assert_eq!(choose(&Wanted::Embedded, false, unasked()).await, Choice::Embedded);
        assert_eq!(choose(&Wanted::Uri("qemu:///x".into()), true, unasked()).await, Choice::Uri("qemu:///x".into()));
    }

    #[tokio::test]
    async fn a_daemon_is_of_use_if_it_answers_in_time_and_does_not_stumble_over_kvm() {
        let answers = async || Ok::<_, ()>("daemon");
        let works = async || Kvm::Usable;
        let broken = async || Kvm::Unusable("no".into());
        assert_eq!(usable(SYSTEM_PATIENCE, answers(), true, works()).await, Some("daemon"));
        assert_eq!(usable(SYSTEM_PATIENCE, answers(), true, broken()).await, None);
        assert_eq!(usable(SYSTEM_PATIENCE, answers(), false, broken()).await, Some("daemon"), "it emulates");
        assert_eq!(usable(SYSTEM_PATIENCE, async { Err::<(), _>("refused") }, true, works()).await, None);
        let silent = std::future::pending::<Result<(), ()>>();
        assert_eq!(usable(Duration::from_millis(1), silent, true, works()).await, None);
    }
}
