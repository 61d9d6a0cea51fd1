//! Failures become HTTP here, and nowhere else.

use apimachinery::Status;
use http::{HeaderValue, StatusCode, header};
use storage::{LatestError, ReadError, StorageError, WaitError};

use crate::negotiate::Encoding;
use crate::present;
use crate::reply::{self, Response};

/// The response that tells a client of a failure (or of a success without an object).
pub fn respond(status: &Status) -> Response {
    respond_in(status, Encoding::Json)
}

/// [`respond`] in the encoding the client reads; JSON where a status has no such form.
pub fn respond_in(status: &Status, encoding: Encoding) -> Response {
    let code = StatusCode::from_u16(status.code()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = match encoding {
        Encoding::Json => reply::json(code, encode(status)),
        other => present::encoded(other, code, &status.to_value()),
    };
    let wait = status.details().map_or(0, |details| details.retry_after_seconds);
    if wait > 0 {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(wait));
    }
    if code == StatusCode::UNAUTHORIZED {
        let challenge = HeaderValue::from_static("Bearer realm=\"kubernetes\"");
        response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
    }
    response
}

/// The JSON of a status, with a line end as upstream.
pub fn encode(status: &Status) -> Vec<u8> {
    let mut bytes = status.to_value().to_string().into_bytes();
    bytes.push(b'\n');
    bytes
}

/// What a client is told when etcd failed. Conflicts are handled where they can be solved; here they are a surprise.
pub fn from_storage(error: &StorageError) -> Status {
    match error {
        StorageError::Compacted { .. } => {
            Status::expired("The provided resource version is too old and is no longer available.")
        }
        StorageError::TooLarge => Status::request_entity_too_large("limit is 1.5 MB per object"),
        StorageError::Timeout => Status::timeout("request did not complete within the allotted timeout", 1),
        StorageError::Unavailable(_) | StorageError::NoSpace | StorageError::WatchEnded { .. } => {
            tracing::warn!(%error, "etcd failed");
            Status::service_unavailable("the data store is not available").retry_after(1)
        }
        _ => {
            tracing::error!(%error, "etcd failed");
            Status::internal(error)
        }
    }
}

/// What a client is told when a cache cannot be read.
pub fn from_read(error: &ReadError) -> Status {
    match error {
        ReadError::NotReady => Status::too_many_requests("storage is (re)initializing", 1),
        ReadError::Undecodable(_) => {
            tracing::error!(%error, "an object cannot be read");
            Status::internal(error)
        }
    }
}

/// What a client is told when one object cannot be read.
pub fn from_latest(error: &LatestError) -> Status {
    match error {
        LatestError::Storage(error) => from_storage(error),
        LatestError::Read(error) => from_read(error),
    }
}

/// What a client is told when a cache did not become fresh enough.
pub fn from_wait(error: &WaitError) -> Status {
    match error {
        WaitError::TooLarge { wanted, reached } => Status::too_large_resource_version(*wanted, *reached),
        WaitError::Storage(error) => from_storage(error),
    }
}
