//! Request bodies: their size, their media type, and the object in them.

use apimachinery::{Object, Status};
use bytes::Bytes;
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;

use super::Call;
use super::options::{FieldValidation, WriteOptions};
use crate::decode;
use crate::negotiate;

/// The largest body of a write; etcd takes 1.5 MB, JSON may be wordier than what is stored.
const LIMIT: usize = 3 * 1024 * 1024;

/// Takes in a body.
///
/// # Errors
/// 413 if it is too large, 400 if the connection broke.
pub(super) async fn read(body: Incoming) -> Result<Bytes, Status> {
    match Limited::new(body, LIMIT).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<http_body_util::LengthLimitError>() => {
            Err(Status::request_entity_too_large(format_args!("limit is {LIMIT}")))
        }
        Err(error) => Err(Status::bad_request(format!("cannot read the body: {error}"))),
    }
}

/// The object in the body, of the kind the path names.
///
/// # Errors
/// 400 or 415 if there is none.
pub(super) fn object(call: &Call<'_>) -> Result<Object, Status> {
    let resource = call.resource;
    read_object(call, &resource.api_version(), resource.descriptor.kind)
}

/// The object in the body, of the kind a subresource takes.
///
/// # Errors
/// 400 or 415 if there is none.
pub(super) fn object_of(call: &Call<'_>, kind: &str) -> Result<Object, Status> {
    let sub = call.resource.descriptor.subresource(&call.info.subresource);
    let (group, version) = sub.map_or(("", "v1"), |sub| sub.group_version);
    read_object(call, &api::resource::join_group_version(group, version), kind)
}

fn read_object(call: &Call<'_>, api_version: &str, kind: &str) -> Result<Object, Status> {
    let validation = WriteOptions::parse(&call.info.query)?.validation;
    let media = negotiate::body_type(call.headers);
    let decoded = decode::body(&call.body, media, (api_version, kind), validation)?;
    let object = decoded.object;
    for warning in decoded.warnings {
        call.warnings.add(warning);
    }
    check_kind(&object, api_version, kind, &call.info.resource)?;
    Ok(object)
}

/// The options in the body of a delete; none if the body is empty.
///
/// # Errors
/// 400 or 415 if the body is no options object.
pub(super) fn delete_options(call: &Call<'_>) -> Result<Option<Object>, Status> {
    if call.body.is_empty() {
        return Ok(None);
    }
    let media = negotiate::body_type(call.headers);
    let kind = ("v1", "DeleteOptions");
    let decoded = decode::body(&call.body, media, kind, FieldValidation::Ignore)?;
    if decoded.object.kind() != kind.1 {
        return Err(Status::bad_request(format!("decoded object cannot be converted to {}", kind.1)));
    }
    Ok(Some(decoded.object))
}

fn check_kind(object: &Object, api_version: &str, kind: &str, resource: &str) -> Result<(), Status> {
    if object.kind() != kind {
        return Err(Status::bad_request(format!(
            "the object provided is unrecognized (must be of type {kind}): {} was sent to {resource}",
            object.gvk()
        )));
    }
    if object.api_version() != api_version {
        return Err(Status::bad_request(format!(
            "the API version in the data ({}) does not match the expected API version ({api_version})",
            object.api_version()
        )));
    }
    Ok(())
}
