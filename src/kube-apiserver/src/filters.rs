//! The chain a request passes. [`serve`] is the list; each step may answer instead of the ones behind it.

mod in_flight;
mod route;

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use apimachinery::Status;
use component_base::health::Checks;
use futures::FutureExt;
use http::{HeaderName, HeaderValue, Method, Request, StatusCode};
use hyper::body::Incoming;

use crate::app::App;
use crate::authn::impersonation;
use crate::authz;
use crate::error;
use crate::negotiate;
use crate::reply::{self, Response};
use crate::request_info::RequestInfo;
use crate::user::User;

pub use in_flight::InFlight;

const AUDIT_ID: HeaderName = HeaderName::from_static("audit-id");

/// Answers one request.
pub async fn serve(app: Arc<App>, mut request: Request<Incoming>) -> Response {
    let began = Instant::now();
    // 1. The request gets a name, so that logs of clients and servers can be put together.
    let audit_id = audit_id(&request);
    request.headers_mut().insert(AUDIT_ID, audit_id.clone());
    // 2. What is asked is read once.
    let info = RequestInfo::parse(request.method(), request.uri().path(), request.uri().query().unwrap_or_default());
    let head = request.method() == Method::HEAD;
    // 3. A bug in a handler costs one request, not the server.
    let handled = AssertUnwindSafe(guarded(&app, &info, request)).catch_unwind().await;
    let mut response = handled.unwrap_or_else(|_| {
        tracing::error!(verb = info.verb, path = info.path, "a handler panicked");
        error::respond(&Status::internal("this request made a part of the server fail"))
    });
    // Streams must not be touched any more than this: their head is not sent yet.
    response.headers_mut().insert(AUDIT_ID, audit_id);
    if head {
        // HTTP/2 clients break off when a body comes all the same.
        *response.body_mut() = reply::full("");
    }
    // 9. What happened is counted.
    let code = response.status();
    let known = info.is_resource && code != StatusCode::NOT_FOUND;
    app.metrics.finished(&info, known, code.as_u16(), began.elapsed());
    tracing::debug!(verb = info.verb, path = info.path, code = code.as_u16(), took = ?began.elapsed(), "request");
    response
}

async fn guarded(app: &Arc<App>, info: &RequestInfo, request: Request<Incoming>) -> Response {
    // 4. Whatever does not stay open has to end in time.
    if info.is_long_running() {
        return answer(app, info, request).await;
    }
    match tokio::time::timeout(app.config.limits.request_timeout, answer(app, info, request)).await {
        Ok(response) => response,
        Err(_) => error::respond(&Status::timeout("request did not complete within the allotted timeout", 1)),
    }
}

async fn answer(app: &Arc<App>, info: &RequestInfo, request: Request<Incoming>) -> Response {
    let encoding = negotiate::accept_failure(request.headers());
    match pass(app, info, request).await {
        Ok(response) => response,
        Err(status) => error::respond_in(&status, encoding),
    }
}

async fn pass(app: &Arc<App>, info: &RequestInfo, request: Request<Incoming>) -> Result<Response, Status> {
    let (parts, body) = request.into_parts();
    // 5. Who is it?
    let caller = app.authenticator.authenticate(&parts).await?;
    // 6. Do they act for somebody else?
    let user = match impersonation::impersonated(&caller, &parts.headers, &app.authorizer)? {
        Some(user) => user,
        None => caller,
    };
    // 7. Is there room? Leases and nodes have room of their own: heartbeats must get through any load.
    let _room = app.in_flight.enter(info, &user, &app.metrics).await?;
    // 8. May they?
    authorize(app, info, &user)?;
    route::run(app, info, &user, Request::from_parts(parts, body)).await
}

fn authorize(app: &App, info: &RequestInfo, user: &User) -> Result<(), Status> {
    // Until the policy is there nobody could ask how the server is, and it would be restarted for that.
    if !app.started.load(Ordering::Acquire) && Checks::serves(&info.path) {
        return Ok(());
    }
    app.authorizer.require(&authz::Attributes::of(user, info))
}

/// The id a front server gave, if it is one, or a new one.
fn audit_id(request: &Request<Incoming>) -> HeaderValue {
    let given = request.headers().get(&AUDIT_ID).filter(|id| (1..=64).contains(&id.len()));
    given.cloned().unwrap_or_else(|| {
        let id = uuid::Uuid::new_v4().to_string();
        HeaderValue::try_from(id).expect("a uuid is a header value")
    })
}
