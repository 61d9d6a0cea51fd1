//! Changes an object: the way every update, patch and subresource takes.

use std::sync::Arc;

use apimachinery::field::FieldError;
use apimachinery::{Object, Status};
use http::StatusCode;

use super::create;
use super::options::WriteOptions;
use super::store::Cursor;
use super::{Call, body, managers, metadata};
use crate::admission::{Attributes, Charges, Operation};
use crate::present;
use crate::reply::Response;
use crate::stored::Stored;

mod part;

pub(super) use part::Part;

/// Makes the wanted object from the present one. May be called again when somebody else was faster.
pub(super) type Candidate<'a> = &'a (dyn Fn(&Object) -> Result<Object, Status> + Send + Sync);

/// What an update came to.
pub(super) enum Updated {
    /// The object as it is stored now.
    Stored(Arc<Stored>),
    /// What it would be.
    Dry(Object),
}

/// PUT.
pub(super) async fn put(call: &Call<'_>, part: Part) -> Result<Response, Status> {
    call.accept()?;
    let options = WriteOptions::parse(&call.info.query)?;
    let mut object = body::object(call)?;
    metadata::place(call, &mut object)?;
    if object.name() != call.info.name {
        return Err(Status::bad_request(format!(
            "the name of the object ({}) does not match the name on the URL ({})",
            object.name(),
            call.info.name
        )));
    }
    present::to_stored(call.resource, &mut object);
    let candidate = |_: &Object| Ok(object.clone());
    let change = Change { part, options: &options, candidate: &candidate, source: Source::Whole };
    match change.run(call).await {
        Err(status) if status.code() == 404 && may_create(call, part, &object) => {
            present::to_served(call.resource, &mut object);
            object.set_resource_version("");
            create::answer(call, create::create(call, &options, object).await?)
        }
        Ok(updated) => answer(call, updated),
        Err(status) => Err(status),
    }
}

fn may_create(call: &Call<'_>, part: Part, object: &Object) -> bool {
    let strategy = call.resource.descriptor.strategy;
    part == Part::Main && strategy.create_on_update && object.resource_version().is_empty()
}

/// Answers with what an update came to.
pub(super) fn answer(call: &Call<'_>, updated: Updated) -> Result<Response, Status> {
    match updated {
        Updated::Stored(object) => call.written(StatusCode::OK, &object),
        Updated::Dry(mut object) => {
            present::to_served(call.resource, &mut object);
            call.shown(StatusCode::OK, &object)
        }
    }
}

/// One change of one object.
pub(super) struct Change<'a> {
    pub(super) part: Part,
    pub(super) options: &'a WriteOptions,
    pub(super) candidate: Candidate<'a>,
    pub(super) source: Source,
}

/// Where the wanted object comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// The client sent all of it, so a kind may insist on its resourceVersion.
    Whole,
    /// The client sent a change, or it is made here.
    Patch,
    /// The client sent a configuration; the account of its fields is kept already.
    Apply,
}

impl Change<'_> {
    /// Carries it out on the object in the path.
    ///
    /// # Errors
    /// What the client is told if it cannot be done.
    pub(super) async fn run(&self, call: &Call<'_>) -> Result<Updated, Status> {
        let mut cursor = Cursor::open(call.store()?, call.key()?).await?;
        loop {
            let Some(current) = cursor.current() else { return Err(call.not_found()) };
            let old = current.object();
            let charges = Charges::default();
            let mut new = match self.attempt(call, &old, &charges).await {
                // The refusal may rest on an old state.
                Err(_) if cursor.may_be_stale() => {
                    cursor.refresh().await?;
                    continue;
                }
                attempt => attempt?,
            };
            if self.options.dry_run {
                new.set_resource_version(old.resource_version());
                return Ok(Updated::Dry(new));
            }
            if is_over(&new) {
                if let Some(last) = cursor.remove().await? {
                    call.app.allocators.release(call.app, call.resource, &old).await;
                    return Ok(Updated::Stored(last));
                }
                continue;
            }
            new.set_resource_version(old.resource_version());
            if new == old {
                charges.refund(call.app).await;
                if cursor.may_be_stale() {
                    cursor.refresh().await?;
                    continue;
                }
                // Writing the same again is how values get the newest key.
                if !current.stale {
                    return Ok(Updated::Stored(current));
                }
            }
            let outcome = self.write(call, &mut cursor, (&mut new, &old)).await;
            if !matches!(outcome, Ok(Some(_))) && !cursor.is_unclear() {
                charges.refund(call.app).await;
            }
            if let Some(written) = outcome? {
                call.prepare_answer(&written, new);
                return Ok(Updated::Stored(written));
            }
        }
    }

    /// Writes the next state with its addresses and ports; `None` if somebody was faster.
    async fn write(
        &self,
        call: &Call<'_>,
        cursor: &mut Cursor<'_>,
        (new, old): (&mut Object, &Object),
    ) -> Result<Option<Arc<Stored>>, Status> {
        let reservation = call.app.allocators.reserve_update(call.app, call.resource, new, old).await?;
        match cursor.write(new, create::ttl(call.app, call.resource)).await {
            Ok(Some(written)) => {
                reservation.keep();
                call.app.allocators.release_unused(call.app, call.resource, new, old).await;
                Ok(Some(written))
            }
            unwritten if cursor.is_unclear() => {
                // Whoever counts finds out later whether it is used.
                reservation.keep();
                unwritten
            }
            unwritten => {
                reservation.release().await;
                unwritten
            }
        }
    }

    /// The next state of an object, admitted and checked.
    async fn attempt(&self, call: &Call<'_>, old: &Object, charges: &Charges) -> Result<Object, Status> {
        let mut new = (self.candidate)(old)?;
        self.check_preconditions(call, &new, old)?;
        metadata::keep(&mut new, old);
        self.part.isolate(&mut new, old, call.resource.descriptor);
        let descriptor = call.resource.descriptor;
        let strategy = descriptor.strategy;
        (strategy.default)(&mut new);
        match self.part {
            Part::Main => (strategy.prepare_update)(&mut new, old),
            Part::Status => (strategy.prepare_status)(&mut new, old),
            _ => {}
        }
        let mut attributes = Attributes {
            app: call.app,
            info: call.info,
            user: call.user,
            resource: call.resource,
            operation: Operation::Update,
            object: Some(&mut new),
            old: Some(old),
            dry_run: self.options.dry_run,
            warnings: &call.warnings,
            charges,
        };
        call.app.admission.mutate(&mut attributes).await?;
        let object = attributes.object.take().ok_or_else(|| Status::internal("admission lost the object"))?;
        (strategy.default)(object);
        metadata::complete(object, descriptor);
        let errors = self.errors(call, object, old);
        if !errors.is_empty() {
            return Err(Status::invalid(descriptor.group, descriptor.kind, object.name(), errors));
        }
        if self.part == Part::Main {
            for warning in (strategy.warnings)(object) {
                call.warnings.add(warning);
            }
        }
        if strategy.generation && self.part != Part::Status && intent_differs(object, old) {
            object.set_generation(old.generation() + 1);
        }
        attributes.object = Some(object);
        call.app.admission.validate(&attributes).await?;
        if self.source == Source::Apply {
            return Ok(new);
        }
        Ok(managers::track(call, self.options, new, Some(old)))
    }

    fn check_preconditions(&self, call: &Call<'_>, new: &Object, old: &Object) -> Result<(), Status> {
        if !new.uid().is_empty() && new.uid() != old.uid() {
            return Err(call.conflict(format_args!(
                "Precondition failed: UID in precondition: {}, UID in object meta: {}",
                new.uid(),
                old.uid()
            )));
        }
        let version = new.resource_version();
        if version.is_empty() || version == "0" {
            if self.source == Source::Whole && !call.resource.descriptor.strategy.unconditional_update {
                let error = FieldError::invalid("metadata.resourceVersion", 0, "must be specified for an update");
                let descriptor = call.resource.descriptor;
                return Err(Status::invalid(descriptor.group, descriptor.kind, old.name(), vec![error]));
            }
            return Ok(());
        }
        if version == old.resource_version() {
            return Ok(());
        }
        Err(call
            .conflict("the object has been modified; please apply your changes to the latest version and try again"))
    }

    fn errors(&self, call: &Call<'_>, new: &Object, old: &Object) -> Vec<FieldError> {
        let strategy = call.resource.descriptor.strategy;
        let mut errors = metadata::check_update(new, old);
        for field in ["name", "namespace"] {
            let (wanted, is) = (new.metadata().str(field), old.metadata().str(field));
            if wanted != is {
                errors.push(FieldError::invalid(format!("metadata.{field}"), wanted, "field is immutable"));
            }
        }
        if self.part == Part::Main {
            errors.extend((strategy.validate)(new));
            errors.extend((strategy.validate_update)(new, old));
        } else if let Some(action) = self.part.action() {
            errors.extend((strategy.validate_part)(action, new, old));
        }
        errors
    }
}

/// True if the wish differs: anything but metadata and status.
fn intent_differs(new: &Object, old: &Object) -> bool {
    !new.as_map().equals_except(old.as_map(), &["metadata", "status"])
}

/// True for an object that waited for its finalizers and has none left.
pub(super) fn is_over(object: &Object) -> bool {
    object.deletion_timestamp().is_some()
        && object.deletion_grace_period_seconds().unwrap_or(0) == 0
        && object.finalizers().next().is_none()
        && !has_spec_finalizers(object)
}

/// Namespaces keep finalizers of another sort in their spec.
pub(super) fn has_spec_finalizers(object: &Object) -> bool {
    object.kind() == "Namespace" && !object.list_at(&["spec", "finalizers"]).is_empty()
}
