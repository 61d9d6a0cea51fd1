//! Creates an object.

use std::sync::Arc;
use std::time::Duration;

use apimachinery::{Object, Status};
use http::StatusCode;
use storage::StorageError;

use super::options::WriteOptions;
use super::{Call, body, managers, metadata};
use crate::admission::{Attributes, Charges, Operation};
use crate::app::App;
use crate::error;
use crate::present;
use crate::registry::Resource;
use crate::reply::Response;
use crate::stored::Stored;

/// How often a generated name is tried.
const GENERATE_TRIES: usize = 8;

pub(super) async fn run(call: &Call<'_>) -> Result<Response, Status> {
    call.accept()?;
    let options = WriteOptions::parse(&call.info.query)?;
    let object = body::object(call)?;
    answer(call, create(call, &options, object).await?)
}

/// Answers with what a create came to.
pub(super) fn answer(call: &Call<'_>, created: Created) -> Result<Response, Status> {
    match created {
        Created::Stored(object) => call.written(StatusCode::CREATED, &object),
        Created::Dry(mut object) => {
            present::to_served(call.resource, &mut object);
            call.shown(StatusCode::CREATED, &object)
        }
    }
}

/// A new object, or what it would be.
pub(super) enum Created {
    /// It is in etcd.
    Stored(Arc<Stored>),
    /// It would be this.
    Dry(Object),
}

/// Creates an object in the version it was sent in.
pub(super) async fn create(call: &Call<'_>, options: &WriteOptions, mut object: Object) -> Result<Created, Status> {
    let resource = call.resource;
    metadata::place(call, &mut object)?;
    if !object.resource_version().is_empty() {
        return Err(Status::bad_request("resourceVersion should not be set on objects to be created"));
    }
    present::to_stored(resource, &mut object);
    let generated = object.name().is_empty() && !object.generate_name().is_empty();
    let mut tries = if generated { GENERATE_TRIES } else { 1 };
    loop {
        let mut next = if tries > 1 { object.clone() } else { std::mem::take(&mut object) };
        if generated {
            let name = metadata::generate_name(next.generate_name());
            next.set_name(&name);
        }
        let charges = Charges::default();
        prepare(call, options, &mut next, &charges).await?;
        if options.dry_run {
            return dry(call, next).await.map(Created::Dry);
        }
        let reservation = match call.app.allocators.reserve_create(call.app, resource, &mut next).await {
            Ok(reservation) => reservation,
            Err(status) => {
                charges.refund(call.app).await;
                return Err(status);
            }
        };
        let error = match insert(call.app, resource, &next).await {
            Ok(stored) => {
                reservation.keep();
                call.prepare_answer(&stored, next);
                return Ok(Created::Stored(stored));
            }
            Err(error) => error,
        };
        if error.is_unclear() {
            // Whoever counts finds out later whether they are used.
            reservation.keep();
            return Err(error::from_storage(&error));
        }
        reservation.release().await;
        charges.refund(call.app).await;
        if !matches!(error, StorageError::Exists { .. }) {
            return Err(error::from_storage(&error));
        }
        tries -= 1;
        if tries == 0 {
            return Err(exists(call, &next, generated));
        }
    }
}

fn exists(call: &Call<'_>, object: &Object, generated: bool) -> Status {
    let (group, resource, name) = (&call.info.group, &call.info.resource, object.name());
    if generated {
        Status::generate_name_conflict(group, resource, name)
    } else {
        Status::already_exists(group, resource, name)
    }
}

/// A dry run still tells of a name that is taken.
async fn dry(call: &Call<'_>, object: Object) -> Result<Object, Status> {
    let store = call.store()?;
    let key = store.key(object.namespace(), object.name());
    match store.read(&key).await.map_err(|error| error::from_storage(&error))? {
        Some(_) => Err(exists(call, &object, false)),
        None => Ok(object),
    }
}

/// Stamps, defaults, admits and checks a new object of the stored version.
async fn prepare(
    call: &Call<'_>,
    options: &WriteOptions,
    object: &mut Object,
    charges: &Charges,
) -> Result<(), Status> {
    let descriptor = call.resource.descriptor;
    let strategy = descriptor.strategy;
    if descriptor.subresource("status").is_some() && descriptor.plural != "nodes" {
        // A new object has no status yet; nodes tell theirs with their first word.
        object.remove_at(&["status"]);
    }
    metadata::stamp(object, descriptor);
    (strategy.default)(object);
    let mut attributes = Attributes {
        app: call.app,
        info: call.info,
        user: call.user,
        resource: call.resource,
        operation: Operation::Create,
        object: Some(object),
        old: None,
        dry_run: options.dry_run,
        warnings: &call.warnings,
        charges,
    };
    call.app.admission.mutate(&mut attributes).await?;
    let object = attributes.object.take().ok_or_else(|| Status::internal("admission lost the object"))?;
    (strategy.default)(object);
    // What follows from the rest of the object, as its quality of service, is worked out when plugins have had their say.
    (strategy.prepare_create)(object);
    metadata::complete(object, descriptor);
    // What was applied brings its account with it.
    if call.info.verb != "patch" {
        *object = managers::track(call, options, std::mem::take(object), None);
    }
    let mut errors = metadata::check(object, descriptor);
    errors.extend((strategy.validate)(object));
    errors.extend((strategy.validate_create)(object));
    if !errors.is_empty() {
        return Err(Status::invalid(descriptor.group, descriptor.kind, object.name(), errors));
    }
    for warning in (strategy.warnings)(object) {
        call.warnings.add(warning);
    }
    attributes.object = Some(object);
    call.app.admission.validate(&attributes).await
}

/// How long objects of a kind are kept.
pub(super) fn ttl(app: &App, resource: &Resource) -> Option<Duration> {
    let events = resource.descriptor.group.is_empty() && resource.descriptor.plural == "events";
    events.then_some(app.config.etcd.event_ttl)
}

async fn insert(app: &App, resource: &Resource, object: &Object) -> Result<Arc<Stored>, StorageError> {
    let Some(store) = &resource.store else { return Err(StorageError::Malformed("kind is not stored")) };
    let key = store.key(object.namespace(), object.name());
    store.create(&key, object, ttl(app, resource)).await
}
