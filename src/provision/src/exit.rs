//! Exit codes: one class of outcome each, so that scripts can tell them apart.

use std::io;
use std::process::ExitCode;

use crate::world::etcd::EtcdError;

/// What the program tells its caller; the numbers are part of the interface and listed in the README.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Done, or nothing to do.
    Done,
    /// A step failed; `apply` or `destroy` can go on from here.
    Failed,
    /// `plan`: there is something to do.
    Changes,
    /// The topology file is wrong; nothing was touched.
    Topology,
    /// This host cannot do what is asked (memory, disk, libvirt, ports); nothing was changed.
    Host,
    /// A machine is not who it should be, or does not let us in.
    Identity,
    /// Another run holds the cluster.
    Locked,
    /// The cluster, machine or file that was named does not exist.
    NotFound,
    /// Nobody agreed to a change that destroys, or a plan that was kept no longer fits; nothing was changed.
    Unconfirmed,
    /// The command line is wrong.
    Usage,
    /// Ctrl-C or a termination signal; `apply` or `destroy` can go on from here.
    Interrupted,
    /// `ssh`: what the command on the machine ended with; 255 if OpenSSH could not reach it.
    Remote(u8),
}

impl Exit {
    /// The number.
    pub const fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::Changes => 2,
            Self::Topology => 3,
            Self::Host => 4,
            Self::Identity => 5,
            Self::Locked => 6,
            Self::NotFound => 7,
            Self::Unconfirmed => 8,
            Self::Usage => 64,
            Self::Interrupted => 130,
            Self::Remote(code) => code,
        }
    }
}

/// An error with its class, and a cure where we know one.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    /// The class.
    pub exit: Exit,
    /// What is wrong, and where.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
}

impl Refusal {
    /// An error of this class without a cure.
    pub fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, message: message.into(), hint: None }
    }

    /// The same error with what to do about it.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// The class of an error, found anywhere in its chain.
pub fn classify(error: &anyhow::Error) -> Exit {
    error.chain().find_map(class_of).unwrap_or(Exit::Failed)
}

fn class_of(cause: &(dyn std::error::Error + 'static)) -> Option<Exit> {
    if let Some(refusal) = cause.downcast_ref::<Refusal>() {
        return Some(refusal.exit);
    }
    if cause.is::<topology::InvalidTopology>() {
        return Some(Exit::Topology);
    }
    if let Some(EtcdError::Stranger { .. }) = cause.downcast_ref() {
        return Some(Exit::Identity);
    }
    match cause.downcast_ref::<ssh::SshError>()? {
        ssh::SshError::HostKeyChanged { .. } | ssh::SshError::Refused { .. } => Some(Exit::Identity),
        _ => None,
    }
}

/// What to do if a disk is full, whatever was written to it: every file is whole or as it was.
const FULL: &str = "free space on that disk and run the same command again: it goes on where it stopped";

fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// What to do about an error, if some part of its chain knows.
pub fn hint(error: &anyhow::Error) -> Option<String> {
    error.chain().find_map(|cause| {
        if let Some(refusal) = cause.downcast_ref::<Refusal>() {
            return refusal.hint.clone();
        }
        if let Some(error) = cause.downcast_ref::<libvirt::HypervisorError>() {
            return error.cure();
        }
        if let Some(error) = cause.downcast_ref::<crate::image::BuildError>() {
            return error.cure();
        }
        if let Some(error) = cause.downcast_ref::<crate::image::DownloadError>() {
            return error.cure().map(str::to_owned);
        }
        if let Some(error) = cause.downcast_ref::<EtcdError>() {
            return error.cure();
        }
        if let Some(error) = cause.downcast_ref::<libvirt::volume::VolumeError>() {
            return error.cure().map(str::to_owned);
        }
        if let Some(error) = cause.downcast_ref::<io::Error>() {
            return is_full(error).then(|| FULL.to_owned());
        }
        match cause.downcast_ref::<ssh::SshError>()? {
            ssh::SshError::HostKeyChanged { .. } => Some(
                "if the machine was rebuilt on purpose, destroy it and apply again; otherwise find out who answers"
                    .into(),
            ),
            ssh::SshError::Refused { .. } => {
                Some("check that the machine's authorized_keys has the cluster's key".into())
            }
            _ => None,
        }
    })
}

#[cfg(test)]
mod tests;
