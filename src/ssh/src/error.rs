//! What can go wrong between us and a host.

use std::time::Duration;

/// A command or an upload that did not come to its end; every variant names the host.
#[derive(Debug, thiserror::Error)]
pub enum SshError {
    /// The connection broke, or could not be made.
    #[error("cannot reach {host} by SSH")]
    Transport {
        /// The host.
        host: String,
        /// What the SSH library says.
        #[source]
        source: russh::Error,
    },
    /// The host showed a key that is not the one we know; nothing was sent to it.
    #[error(
        "{host} shows the SSH host key {seen}, but {known} is on record; either the machine was replaced or somebody is \
         in between"
    )]
    HostKeyChanged {
        /// The host.
        host: String,
        /// Fingerprint of the key that we know.
        known: String,
        /// Fingerprint of the key that was shown.
        seen: String,
    },
    /// The host does not accept our key.
    #[error("{host} does not accept the key of user {user}")]
    Refused {
        /// The host.
        host: String,
        /// The user.
        user: String,
    },
    /// A key is not one that can be used.
    #[error("{what} is not a usable SSH key")]
    Key {
        /// Which key.
        what: String,
        /// Why not.
        #[source]
        source: russh::keys::ssh_key::Error,
    },
    /// The command ran, and said that it failed.
    #[error("on {host}, `{command}` ended with {status}: {stderr}")]
    Failed {
        /// The host.
        host: String,
        /// First line of the command.
        command: String,
        /// Its exit status, or the signal that ended it.
        status: String,
        /// The end of what it wrote to standard error.
        stderr: String,
    },
    /// The command did not end in time; it was told to stop.
    #[error("on {host}, `{command}` took longer than {limit:?}")]
    TimedOut {
        /// The host.
        host: String,
        /// First line of the command.
        command: String,
        /// The limit.
        limit: Duration,
    },
    /// The command wrote more than is kept; it was told to stop.
    #[error("on {host}, `{command}` wrote more than {limit} bytes")]
    TooMuch {
        /// The host.
        host: String,
        /// First line of the command.
        command: String,
        /// The limit, in bytes.
        limit: usize,
    },
    /// What the command wrote could not be taken; it was told to stop.
    #[error("cannot take what `{command}` writes on {host}")]
    Sink {
        /// The host.
        host: String,
        /// First line of the command.
        command: String,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// A file arrived with another content than was sent.
    #[error("on {host}, {path} arrived with another SHA-256 than was sent; is its disk full or failing?")]
    Corrupt {
        /// The host.
        host: String,
        /// The file.
        path: String,
    },
}
