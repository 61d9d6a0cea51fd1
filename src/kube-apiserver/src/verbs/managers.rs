//! Who owns which field: account is kept of every write, and apply decides by it.

use apimachinery::apply::{self, Manager};
use apimachinery::field::FieldError;
use apimachinery::json::Options;
use apimachinery::schema::TypeId;
use apimachinery::{Object, Status, Value, time, yaml};
use http::header;
use jiff::Timestamp;

use super::Call;
use super::options::WriteOptions;
use crate::decode;
use crate::registry::Resource;

/// The longest name of a manager.
const LONGEST: usize = 128;

/// The name of whoever makes a request: what they say, else the program they use.
fn name<'a>(call: &'a Call<'_>, options: &'a WriteOptions) -> &'a str {
    if !options.manager.is_empty() {
        return &options.manager;
    }
    let agent = call.headers.get(header::USER_AGENT).and_then(|agent| agent.to_str().ok()).unwrap_or_default();
    let program = agent.split('/').next().unwrap_or_default();
    let end = program.char_indices().nth(LONGEST).map_or(program.len(), |(at, _)| at);
    if program.is_empty() { "unknown" } else { &program[..end] }
}

/// The type of a kind in the version it is asked for in.
fn type_of(resource: &Resource) -> Option<TypeId> {
    api::schema().type_for_gvk(resource.group(), resource.version(), resource.descriptor.kind)
}

/// Writes down what a create or update changed; the object is of the stored version.
pub(super) fn track(call: &Call<'_>, options: &WriteOptions, new: Object, old: Option<&Object>) -> Object {
    let schema = api::schema();
    let Some(of) = schema.type_of(new.api_version(), new.kind()) else { return new };
    if old.is_some_and(|old| is_same(&new, old)) {
        return new;
    }
    let now = time::format(Timestamp::now());
    let manager = Manager { name: name(call, options), subresource: &call.info.subresource, time: &now };
    apply::update(old, new, manager, (schema, of))
}

/// A configuration to be applied.
pub(super) struct Configuration {
    object: Object,
    of: TypeId,
}

impl Configuration {
    /// Reads the body of an apply.
    ///
    /// # Errors
    /// 400 or 422 if it makes no sense.
    pub(super) fn read(call: &Call<'_>, options: &WriteOptions) -> Result<Self, Status> {
        if options.manager.is_empty() {
            let error = FieldError::required("fieldManager", "is required for apply patch");
            return Err(Status::invalid("meta.k8s.io", "PatchOptions", "", vec![error]));
        }
        let resource = call.resource;
        let (version, kind) = (resource.api_version(), resource.descriptor.kind);
        let of = type_of(resource).ok_or_else(|| Status::internal(format!("no schema of {kind}")))?;
        let rules = Options { validation: options.validation.into(), verbatim: true };
        let decoded = yaml::decode_with(&call.body, api::schema(), Some(of), rules);
        let decoded = decoded.map_err(|error| decode::refused(&error, kind, &version))?;
        for warning in decoded.warnings {
            call.warnings.add(warning);
        }
        let object = decoded.object;
        if object.kind() != kind || object.api_version() != version {
            return Err(Status::bad_request(format!(
                "the configuration is of {}, but {version}, Kind={kind} is asked for",
                object.gvk()
            )));
        }
        if !object.name().is_empty() && object.name() != call.info.name {
            return Err(Status::bad_request("the name of the configuration does not match the name on the URL"));
        }
        let mut configuration = Self { object, of };
        configuration.object.set_name(&call.info.name);
        configuration.leave_to_others(call);
        Ok(configuration)
    }

    /// Drops what a write of this part does not change anyway, so that it is not owned either.
    fn leave_to_others(&mut self, call: &Call<'_>) {
        let has_status = call.resource.descriptor.subresource("status").is_some();
        match call.info.subresource.as_str() {
            "" if has_status => drop(self.object.remove_at(&["status"])),
            "status" => self.object.as_map_mut().retain(|field, _| field != "spec"),
            _ => {}
        }
    }

    /// The object after the apply; without a live one, a new one.
    ///
    /// # Errors
    /// 409 if fields belong to others, or the object that is meant is not there.
    pub(super) fn apply(
        &self,
        call: &Call<'_>,
        options: &WriteOptions,
        live: Option<&Object>,
    ) -> Result<Object, Status> {
        let uid = self.object.uid();
        if live.is_none() && !uid.is_empty() {
            return Err(call.conflict(format_args!(
                "uid mismatch: the provided object specified uid {uid}, and no existing object was found"
            )));
        }
        let now = time::format(Timestamp::now());
        let manager = Manager { name: &options.manager, subresource: &call.info.subresource, time: &now };
        let schema = (api::schema(), self.of);
        let mut applied =
            apply::apply(live, &self.object, manager, options.force, schema).map_err(|error| error.to_status())?;
        if let Some(live) = live.filter(|live| without_times(live) == without_times(&applied)) {
            keep_managers(&mut applied, live);
        }
        Ok(applied)
    }
}

fn keep_managers(new: &mut Object, old: &Object) {
    if let Some(managers) = old.metadata().get("managedFields") {
        new.metadata_mut().insert("managedFields", managers.clone());
    }
}

/// True if two states differ at most in the version they were made from.
fn is_same(new: &Object, old: &Object) -> bool {
    new.as_map().equals_except(old.as_map(), &["metadata"])
        && new.metadata().equals_except(old.metadata(), &["resourceVersion"])
}

/// The accounts of an object without the times in them.
fn without_times(object: &Object) -> Vec<Value> {
    let mut managers = object.list_at(&["metadata", "managedFields"]).to_vec();
    for manager in &mut managers {
        manager.remove_at(&["time"]);
    }
    managers
}
