//! What can go wrong with etcd, sorted by what the caller can do about it.

use crate::KeyValue;

/// A refused or failed operation on the store.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// A create found the key taken.
    #[error("key exists already")]
    Exists {
        /// What is stored now.
        current: Option<Box<KeyValue>>,
    },
    /// A guarded update or delete found another revision, or nothing.
    #[error("revision has changed")]
    Conflict {
        /// What is stored now; `None` when the key is gone.
        current: Option<Box<KeyValue>>,
    },
    /// The history asked for has been compacted away.
    #[error("revision has been compacted (oldest kept: {oldest})")]
    Compacted {
        /// The oldest revision still kept, 0 if etcd did not tell.
        oldest: i64,
    },
    /// The revision asked for lies in the future.
    #[error("revision is in the future")]
    FutureRevision,
    /// The value is larger than etcd takes.
    #[error("value is too large for etcd")]
    TooLarge,
    /// The database of etcd is full.
    #[error("etcd is out of space")]
    NoSpace,
    /// etcd did not answer in time; a write may or may not have happened.
    #[error("etcd did not answer in time")]
    Timeout,
    /// etcd cannot be reached or has no leader; a write may or may not have happened.
    #[error("etcd is not available")]
    Unavailable(#[source] Box<etcd_client::Error>),
    /// The stream of a watch has ended; it can be opened again where it stopped.
    #[error("watch ended: {reason}")]
    WatchEnded {
        /// What etcd said, if anything.
        reason: String,
    },
    /// The settings of the client are wrong.
    #[error("etcd client is set up wrongly: {what}")]
    Config {
        /// Which setting.
        what: String,
    },
    /// A file named in the settings cannot be read.
    #[error("cannot read {path}")]
    File {
        /// The file.
        path: std::path::PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// etcd answered with something that fits no case above.
    #[error("etcd refused the request")]
    Refused(#[source] Box<etcd_client::Error>),
    /// A response lacks a part that etcd always sends.
    #[error("etcd sent a malformed response: {0}")]
    Malformed(&'static str),
}

impl StorageError {
    /// Whether trying again later may help without any other change.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Timeout | Self::Unavailable(_) | Self::WatchEnded { .. } | Self::NoSpace)
    }

    /// Whether the write may have happened all the same: what was set aside for it must stay so.
    pub fn is_unclear(&self) -> bool {
        matches!(self, Self::Timeout | Self::Unavailable(_))
    }
}

impl From<etcd_client::Error> for StorageError {
    fn from(error: etcd_client::Error) -> Self {
        let etcd_client::Error::GRpcStatus(status) = &error else {
            return match error {
                etcd_client::Error::TransportError(_) | etcd_client::Error::IoError(_) => {
                    Self::Unavailable(Box::new(error))
                }
                etcd_client::Error::WatchError(reason) => Self::WatchEnded { reason },
                other => Self::Refused(Box::new(other)),
            };
        };
        // etcd's codes are coarse; its messages are stable and say which case it is.
        let message = status.message();
        match status.code() {
            tonic::Code::OutOfRange if message.contains("compacted") => Self::Compacted { oldest: 0 },
            tonic::Code::OutOfRange if message.contains("future revision") => Self::FutureRevision,
            tonic::Code::InvalidArgument if message.contains("request is too large") => Self::TooLarge,
            tonic::Code::ResourceExhausted if message.contains("database space exceeded") => Self::NoSpace,
            tonic::Code::ResourceExhausted if message.contains("larger than max") => Self::TooLarge,
            tonic::Code::DeadlineExceeded => Self::Timeout,
            tonic::Code::Unavailable if message.contains("request timed out") => Self::Timeout,
            tonic::Code::Unavailable
            | tonic::Code::Cancelled
            | tonic::Code::Unknown
            | tonic::Code::Aborted
            | tonic::Code::ResourceExhausted
            | tonic::Code::Internal => Self::Unavailable(Box::new(error)),
            _ => Self::Refused(Box::new(error)),
        }
    }
}
