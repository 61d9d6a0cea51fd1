//! Changes an object by a patch: JSON patch, merge patch, strategic merge patch, apply.

use apimachinery::field::FieldError;
use apimachinery::patch::{self, PatchError};
use apimachinery::{Object, Status, Value, json};

use super::managers::Configuration;
use super::options::{FieldValidation, WriteOptions};
use super::update::{self, Change, Part, Source};
use super::{Call, create, metadata};
use crate::decode;
use crate::negotiate;
use crate::present;
use crate::registry::Resource;
use crate::reply::Response;

/// The media type of a configuration to be applied.
const APPLY: &str = "application/apply-patch+yaml";

/// The media types of patches.
const PATCH_TYPES: &[&str] =
    &["application/json-patch+json", "application/merge-patch+json", "application/strategic-merge-patch+json", APPLY];

pub(super) async fn run(call: &Call<'_>, part: Part) -> Result<Response, Status> {
    call.accept()?;
    let options = WriteOptions::parse(&call.info.query)?;
    if negotiate::body_type(call.headers) == APPLY {
        return apply(call, part, &options).await;
    }
    if options.force {
        let error = FieldError::forbidden("force", "may not be specified for non-apply patch");
        return Err(Status::invalid("meta.k8s.io", "PatchOptions", "", vec![error]));
    }
    let patch = Patch::of(call)?;
    let candidate = |old: &Object| {
        let mut object = old.clone();
        present::to_served(call.resource, &mut object);
        let patched = patch.apply(&object, call.resource)?;
        let mut patched = conform(call, patched, options.validation)?;
        metadata::place(call, &mut patched)?;
        present::to_stored(call.resource, &mut patched);
        Ok(patched)
    };
    let change = Change { part, options: &options, candidate: &candidate, source: Source::Patch };
    update::answer(call, change.run(call).await?)
}

/// Applies a configuration, making the object if there is none.
async fn apply(call: &Call<'_>, part: Part, options: &WriteOptions) -> Result<Response, Status> {
    let configuration = Configuration::read(call, options)?;
    let finish = |mut object: Object| {
        metadata::place(call, &mut object)?;
        present::to_stored(call.resource, &mut object);
        Ok(object)
    };
    let candidate = |old: &Object| {
        let mut live = old.clone();
        present::to_served(call.resource, &mut live);
        finish(configuration.apply(call, options, Some(&live))?)
    };
    let change = Change { part, options, candidate: &candidate, source: Source::Apply };
    match change.run(call).await {
        Err(status) if status.code() == 404 && part == Part::Main => {
            let object = configuration.apply(call, options, None)?;
            create::answer(call, create::create(call, options, object).await?)
        }
        outcome => update::answer(call, outcome?),
    }
}

/// Drops what the schema does not know, and tells of it.
fn conform(call: &Call<'_>, object: Object, validation: FieldValidation) -> Result<Object, Status> {
    let (group, version) = (call.resource.group(), call.resource.version());
    let Some(of) = api::schema().type_for_gvk(group, version, object.kind()) else { return Ok(object) };
    let decoded = decode::conform(&object, of, validation)?;
    for warning in decoded.warnings {
        call.warnings.add(warning);
    }
    Ok(decoded.object)
}

/// A patch as it was sent.
pub(super) enum Patch {
    /// RFC 6902.
    Json(bytes::Bytes),
    /// RFC 7386.
    Merge(bytes::Bytes),
    /// Merge with the keys of lists.
    Strategic(Value),
}

impl Patch {
    /// Reads the body of a patch.
    ///
    /// # Errors
    /// 415 for other media types, 400 for what cannot be read.
    pub(super) fn of(call: &Call<'_>) -> Result<Self, Status> {
        let body = call.body.clone();
        match negotiate::body_type(call.headers) {
            "application/json-patch+json" => Ok(Self::Json(body)),
            "application/merge-patch+json" => Ok(Self::Merge(body)),
            "application/strategic-merge-patch+json" => {
                let tree = json::decode_value(&body)
                    .map_err(|error| Status::bad_request(format!("error decoding patch: {error}")))?;
                Ok(Self::Strategic(tree))
            }
            _ => Err(Status::unsupported_media_type(PATCH_TYPES)),
        }
    }

    /// The object after the patch.
    ///
    /// # Errors
    /// 400 or 422 if the patch does not fit.
    pub(super) fn apply(&self, object: &Object, resource: &Resource) -> Result<Object, Status> {
        let patched = match self {
            Self::Json(body) => patch::json_patch(object, body),
            Self::Merge(body) => patch::merge_patch(object, body),
            Self::Strategic(tree) => {
                let schema = api::schema();
                let descriptor = resource.descriptor;
                let id = schema
                    .type_for_gvk(resource.group(), resource.version(), object.kind())
                    .or_else(|| schema.type_of(object.api_version(), object.kind()))
                    .ok_or_else(|| Status::internal(format!("no schema of {}", descriptor.kind)))?;
                patch::strategic_merge_patch(object, tree, schema, id)
            }
        };
        patched.map_err(|error| refused(&error))
    }
}

fn refused(error: &PatchError) -> Status {
    if let PatchError::TooLong { .. } = error {
        return Status::request_entity_too_large(error);
    }
    Status::bad_request(error.to_string())
}
