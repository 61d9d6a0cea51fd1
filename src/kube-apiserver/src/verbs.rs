//! What a request may do to a resource. The same verbs serve every kind; the table says how kinds differ.

mod binding;
mod body;
mod component_statuses;
mod create;
mod delete;
mod delete_collection;
mod eviction;
mod get;
mod list;
mod managers;
mod metadata;
mod options;
mod page;
mod patch;
mod scale;
mod selection;
pub mod store;
mod update;
mod watch;

use std::sync::{Arc, Mutex, PoisonError};

use api::{Action, Subresource};
use apimachinery::{Object, Status};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, StatusCode, header};
use hyper::body::Incoming;

use crate::admission::{Attributes, Charges, Operation};
use crate::app::App;
use crate::audit::Trail;
use crate::negotiate::{self, Form};
use crate::registry::{Resource, Store};
use crate::reply::Response;
use crate::request_info::RequestInfo;
use crate::stored::Stored;
use crate::user::User;
use crate::{connect, present, reviews, token};

pub use metadata::generate_name;
pub use options::{FieldValidation, WriteOptions};

/// One request on its way through a verb.
pub struct Call<'a> {
    /// The server.
    pub app: &'a Arc<App>,
    /// What is asked.
    pub info: &'a RequestInfo,
    /// Who asks.
    pub user: &'a User,
    /// The headers of the request.
    pub headers: &'a HeaderMap,
    /// What it is about.
    pub resource: &'a Arc<Resource>,
    /// The body of a write; empty for reads.
    pub body: Bytes,
    /// What the client should be told beside the answer.
    pub warnings: Warnings,
}

/// Texts for `Warning` headers.
#[derive(Default)]
pub struct Warnings(Mutex<Vec<String>>);

impl Warnings {
    /// Adds a text, once.
    pub fn add(&self, text: impl Into<String>) {
        let text = text.into();
        let mut texts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !texts.contains(&text) {
            texts.push(text);
        }
    }

    fn write(&self, headers: &mut HeaderMap) {
        for text in self.0.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            let quoted: String = text.chars().filter(|letter| !letter.is_control()).collect();
            let quoted = quoted.replace('\\', "\\\\").replace('"', "\\\"");
            if let Ok(value) = HeaderValue::try_from(format!("299 - \"{quoted}\"")) {
                headers.append(header::WARNING, value);
            }
        }
    }
}

impl Call<'_> {
    /// The etcd part of the kind.
    ///
    /// # Errors
    /// 404 for kinds that are never stored.
    pub fn store(&self) -> Result<&Arc<Store>, Status> {
        self.resource.store.as_ref().ok_or_else(Status::unknown_path)
    }

    /// The etcd key of the object in the path.
    fn key(&self) -> Result<String, Status> {
        let namespace = if self.resource.descriptor.is_namespaced() { &*self.info.namespace } else { "" };
        Ok(self.store()?.key(namespace, &self.info.name))
    }

    /// 404 for the object in the path.
    pub fn not_found(&self) -> Status {
        Status::not_found(&self.info.group, &self.info.resource, &self.info.name)
    }

    /// 409 for the object in the path.
    pub fn conflict(&self, why: impl std::fmt::Display) -> Status {
        Status::conflict(&self.info.group, &self.info.resource, &self.info.name, why)
    }

    /// Lets admission look at what is created at a subresource and not stored as such.
    async fn admit_part(&self, object: &mut Object, old: Option<&Object>, dry_run: bool) -> Result<(), Status> {
        let charges = Charges::default();
        let mut attributes = Attributes {
            app: self.app,
            info: self.info,
            user: self.user,
            resource: self.resource,
            operation: Operation::Create,
            object: Some(object),
            old,
            dry_run,
            warnings: &self.warnings,
            charges: &charges,
        };
        self.app.admission.mutate(&mut attributes).await?;
        self.app.admission.validate(&attributes).await
    }

    /// Answers with an object that was just written.
    fn written(&self, code: StatusCode, object: &Arc<Stored>) -> Result<Response, Status> {
        let form = self.accept()?;
        Ok(present::stored(self.resource, form, code, object, &self.info.query))
    }

    /// Makes use of the tree an object was written from, if the client wants another form than JSON.
    fn prepare_answer(&self, written: &Stored, tree: Object) {
        if self.accept().is_ok_and(|form| form == Form::PROTOBUF) {
            written.make_message(tree);
        }
    }

    /// Answers with an object that is not stored as such.
    fn shown(&self, code: StatusCode, object: &Object) -> Result<Response, Status> {
        Ok(present::object(self.accept()?, code, object))
    }

    fn accept(&self) -> Result<Form, Status> {
        negotiate::accept(self.headers)
    }
}

/// Carries out a request on a resource.
///
/// # Errors
/// What the client is told if it cannot be done.
pub async fn dispatch(
    app: &Arc<App>,
    info: &RequestInfo,
    user: &User,
    request: Request<Incoming>,
) -> Result<Response, Status> {
    let resource =
        app.registry.resource(&info.group, &info.version, &info.resource).ok_or_else(Status::unknown_path)?;
    let sub = match info.subresource.as_str() {
        "" => None,
        name => Some(resource.descriptor.subresource(name).ok_or_else(Status::unknown_path)?),
    };
    check_shape(info, &resource, sub)?;
    if sub.is_some_and(|sub| sub.action == Action::Connect) {
        return Ok(Box::pin(connect::handle(app, info, user, request)).await);
    }
    let (parts, incoming) = request.into_parts();
    let body = if matches!(info.verb.as_str(), "get" | "list" | "watch") {
        Bytes::new()
    } else {
        body::read(incoming).await?
    };
    if let Some(trail) = parts.extensions.get::<Arc<Trail>>() {
        trail.body(&body, negotiate::body_type(&parts.headers));
    }
    let call =
        Call { app, info, user, headers: &parts.headers, resource: &resource, body, warnings: Warnings::default() };
    if !resource.descriptor.deprecated.is_empty() {
        call.warnings.add(resource.descriptor.deprecated);
    }
    let mut response = match sub {
        None => on_object(&call).await,
        Some(sub) => Box::pin(on_subresource(&call, sub)).await,
    };
    if let Ok(response) = &mut response {
        call.warnings.write(response.headers_mut());
    }
    response
}

/// Refuses verbs the kind does not have and namespaces where none belong.
fn check_shape(info: &RequestInfo, resource: &Resource, sub: Option<&Subresource>) -> Result<(), Status> {
    let descriptor = resource.descriptor;
    let verbs = sub.map_or(descriptor.verbs, |sub| sub.verbs);
    let on_object = sub.is_some() || !info.name.is_empty();
    let whole_collection = matches!(info.verb.as_str(), "list" | "watch");
    let known = verbs.contains(&info.verb.as_str());
    // Objects are created in collections, and only reads see those of all namespaces.
    let named_create = info.verb == "create" && sub.is_none() && on_object;
    let nowhere = descriptor.is_namespaced() && info.namespace.is_empty() && !whole_collection;
    if !known || named_create || (nowhere && !on_object) {
        return Err(Status::failure(
            405,
            "MethodNotAllowed",
            "the server does not allow this method on the requested resource",
        ));
    }
    let fits =
        if descriptor.is_namespaced() { !nowhere } else { info.namespace.is_empty() || info.resource == "namespaces" };
    if fits { Ok(()) } else { Err(Status::unknown_path()) }
}

async fn on_object(call: &Call<'_>) -> Result<Response, Status> {
    if !call.resource.descriptor.is_stored() {
        return Box::pin(on_question(call)).await;
    }
    match call.info.verb.as_str() {
        "get" => get::run(call).await,
        "list" => list::run(call).await,
        "watch" => watch::run(call).await,
        // Every request has room for its largest verb, so the large ones have room of their own.
        "create" => Box::pin(create::run(call)).await,
        "update" => Box::pin(update::put(call, update::Part::Main)).await,
        "patch" => Box::pin(patch::run(call, update::Part::Main)).await,
        "delete" => Box::pin(delete::run(call)).await,
        "deletecollection" => Box::pin(delete_collection::run(call)).await,
        _ => Err(Status::unknown_path()),
    }
}

/// Kinds that are asked and answered.
async fn on_question(call: &Call<'_>) -> Result<Response, Status> {
    match call.info.resource.as_str() {
        "bindings" => return binding::run(call).await,
        "componentstatuses" => return component_statuses::run(call).await,
        _ => {}
    }
    let question = body::object(call)?;
    let answer = reviews::create(call.app, call.info, call.user, question).await?;
    call.shown(StatusCode::CREATED, &answer)
}

async fn on_subresource(call: &Call<'_>, sub: &Subresource) -> Result<Response, Status> {
    let part = match sub.action {
        Action::Status => update::Part::Status,
        Action::EphemeralContainers => update::Part::EphemeralContainers,
        Action::Resize => update::Part::Resize,
        Action::Finalize => update::Part::Finalize,
        Action::Approval => update::Part::Approval,
        Action::Scale => return scale::run(call).await,
        Action::Binding => return binding::run(call).await,
        Action::Eviction => return eviction::run(call).await,
        Action::Token => {
            let mut question = body::object_of(call, sub.kind)?;
            call.admit_part(&mut question, None, WriteOptions::parse(&call.info.query)?.dry_run).await?;
            let answer = token::create(call.app, call.info, call.user, question).await?;
            return call.shown(StatusCode::CREATED, &answer);
        }
        Action::Connect => return Err(Status::unknown_path()),
    };
    match call.info.verb.as_str() {
        "get" => get::run(call).await,
        "update" => update::put(call, part).await,
        "patch" => patch::run(call, part).await,
        _ => Err(Status::unknown_path()),
    }
}

/// Success without an object to show.
fn success(call: &Call<'_>, code: StatusCode, status: &Status) -> Result<Response, Status> {
    let form = call.accept()?;
    Ok(present::encoded(form.encoding, code, &status.to_value()))
}
