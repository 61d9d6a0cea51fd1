//! The chain a request passes. [`serve`] is the list; each step may answer instead of the ones behind it.

mod gzip;
mod in_flight;
mod route;

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use apimachinery::Status;
use component_base::health::Checks;
use component_base::serving::LetGo;
use futures::FutureExt;
use http::header::STRICT_TRANSPORT_SECURITY;
use http::{HeaderName, HeaderValue, Method, Request, StatusCode, Version};
use hyper::body::Incoming;
use rand::RngExt;

use crate::app::App;
use crate::audit::Trail;
use crate::authn::impersonation;
use crate::authz;
use crate::error;
use crate::fairness::{Fairness, Place};
use crate::negotiate::{self, Encoding};
use crate::reply::{self, Response};
use crate::request_info::RequestInfo;
use crate::stages::Stage;
use crate::user::User;

pub use in_flight::InFlight;

/// So many listed objects are the work of one small request.
const OBJECTS_A_SEAT: usize = 500;
/// No request takes more seats than this, as upstream.
const MOST_SEATS: u32 = 10;
/// How long a request may wait for the end of the server's start: shorter than anybody's patience.
const START: Duration = Duration::from_secs(2);
const AUDIT_ID: HeaderName = HeaderName::from_static("audit-id");

/// Answers one request.
pub async fn serve(app: Arc<App>, mut request: Request<Incoming>) -> Response {
    let began = Instant::now();
    // 1. The request gets a name, so that logs of clients and servers can be put together.
    let audit_id = audit_id(&request);
    request.headers_mut().insert(AUDIT_ID, audit_id.clone());
    // 2. What is asked is read once.
    let uri = request.uri();
    let mut info = RequestInfo::parse(request.method(), uri.path(), uri.query().unwrap_or_default());
    info.applies = request.method() == Method::PATCH && negotiate::is_apply(request.headers());
    let head = request.method() == Method::HEAD;
    let info = Arc::new(info);
    send_elsewhere(&app, &request);
    let takes_gzip = gzip::is_wanted(request.headers());
    let trail = app.audit.begin(&request, audit_id.to_str().unwrap_or_default());
    if let Some(trail) = &trail {
        request.extensions_mut().insert(Arc::clone(trail));
    }
    // 3. A bug in a handler costs one request, not the server.
    let handled = AssertUnwindSafe(guarded(&app, &info, request)).catch_unwind().await;
    let mut response = handled.unwrap_or_else(|_| {
        tracing::error!(verb = info.verb, path = info.path, "a handler panicked");
        if let Some(trail) = &trail {
            app.audit.panicked(trail, &info);
        }
        error::respond(&Status::internal("this request made a part of the server fail"))
    });
    if let Some(trail) = &trail {
        response = app.audit.answered(trail, &info, response).await;
    }
    response = gzip::shrink(&info, takes_gzip, response).await;
    // Streams must not be touched any more than this: their head is not sent yet.
    response.headers_mut().insert(AUDIT_ID, audit_id);
    if let Some(directives) = &app.strict_transport_security {
        response.headers_mut().entry(STRICT_TRANSPORT_SECURITY).or_insert_with(|| directives.clone());
    }
    if head {
        // HTTP/2 clients break off when a body comes all the same.
        *response.body_mut() = reply::full("");
    }
    // 9. What happened is counted.
    let code = response.status();
    let known = info.is_resource && code != StatusCode::NOT_FOUND;
    let size = http_body::Body::size_hint(response.body()).exact();
    app.metrics.finished(&info, known, (code.as_u16(), size), began.elapsed());
    tracing::debug!(verb = info.verb, path = info.path, code = code.as_u16(), took = ?began.elapsed(), "request");
    response
}

/// Now and then a client is told to open a new connection, which a balancer may lead to another server: otherwise all
/// stay where they were when the others came.
fn send_elsewhere(app: &App, request: &Request<Incoming>) {
    let chance = app.config.limits.goaway_chance;
    if chance > 0.0
        && request.version() == Version::HTTP_2
        && let Some(connection) = request.extensions().get::<LetGo>()
        && rand::rng().random_bool(chance)
    {
        connection.tell();
    }
}

async fn guarded(app: &Arc<App>, info: &RequestInfo, request: Request<Incoming>) -> Response {
    // 4. Whatever does not stay open has to end in time.
    if info.is_long_running() {
        return answer(app, info, request).await;
    }
    let limit = app.config.limits.request_timeout;
    if let Ok(response) = tokio::time::timeout(limit, answer(app, info, request)).await {
        return response;
    }
    terminated(app, info, StatusCode::GATEWAY_TIMEOUT);
    error::respond(&Status::timeout("request did not complete within the allotted timeout", 1))
}

async fn answer(app: &Arc<App>, info: &RequestInfo, request: Request<Incoming>) -> Response {
    let encoding = negotiate::accept_failure(request.headers());
    match pass(app, info, encoding, request).await {
        Ok(response) => response,
        Err(status) => error::respond_in(&status, encoding),
    }
}

async fn pass(
    app: &Arc<App>,
    info: &RequestInfo,
    encoding: Encoding,
    request: Request<Incoming>,
) -> Result<Response, Status> {
    let (parts, body) = request.into_parts();
    // 5. Who is it?
    let caller = app.authenticator.authenticate(&parts).await;
    app.metrics.authenticated(caller.is_ok());
    let caller = caller?;
    let trail = parts.extensions.get::<Arc<Trail>>().cloned();
    if let Some(trail) = &trail {
        app.audit.received(trail, info, Some(&caller));
    }
    // 6. Do they act for somebody else?
    let user = match impersonation::impersonated(&caller, &parts.headers, &app.authorizer)? {
        Some(user) => {
            if let Some(trail) = &trail {
                trail.acts_for(&user);
            }
            user
        }
        None => caller,
    };
    start_over(app, info, &user).await;
    // 7. Is there room? Leases and nodes have room of their own: heartbeats must get through any load.
    let request = Request::from_parts(parts, body);
    let Some(fairness) = &app.fairness else {
        let _room = app.in_flight.enter(info, &user, &app.metrics).await.inspect_err(|_| sent_away(app, info))?;
        return allowed(app, info, &user, request).await;
    };
    let place = fairness.place(info, &user);
    let mut response = match in_turn(app, (fairness, &place), info, &user, request).await {
        Ok(response) => response,
        Err(status) => error::respond_in(&status, encoding),
    };
    place.mark(response.headers_mut());
    Ok(response)
}

/// Streams have other limits than seats; all others take theirs.
async fn in_turn(
    app: &Arc<App>,
    (fairness, place): (&Arc<Fairness>, &Place),
    info: &RequestInfo,
    user: &User,
    request: Request<Incoming>,
) -> Result<Response, Status> {
    if info.is_long_running() {
        return allowed(app, info, user, request).await;
    }
    let _room = app.metrics.running(info);
    let entered = fairness.enter(place, weight(app, info), &app.metrics).await;
    let _ticket = entered.inspect_err(|_| sent_away(app, info))?;
    allowed(app, info, user, request).await
}

/// The seats a request takes: a list of many objects is as much work as many requests.
fn weight(app: &App, info: &RequestInfo) -> u32 {
    if info.verb != "list" {
        return 1;
    }
    let resource = app.registry.stored(&info.group, &info.resource);
    let objects = resource.and_then(|resource| resource.store.as_ref()).map_or(0, |store| store.cacher.stats().objects);
    let limit = info.query.get("limit").and_then(|limit| limit.parse().ok()).filter(|limit| *limit > 0);
    let shown = objects.min(limit.unwrap_or(usize::MAX));
    u32::try_from(shown / OBJECTS_A_SEAT).unwrap_or(u32::MAX).clamp(1, MOST_SEATS)
}

fn sent_away(app: &App, info: &RequestInfo) {
    terminated(app, info, StatusCode::TOO_MANY_REQUESTS);
}

/// Counts a request that was ended to protect the server; what nobody serves makes no entry of its own.
fn terminated(app: &App, info: &RequestInfo, code: StatusCode) {
    let resource = app.registry.resource(&info.group, &info.version, &info.resource);
    let known = resource.is_some_and(|resource| {
        info.subresource.is_empty() || resource.descriptor.subresources.iter().any(|sub| sub.name == info.subresource)
    });
    app.metrics.terminated(info, known, code.as_u16());
}

/// 8. May they?
async fn allowed(
    app: &Arc<App>,
    info: &RequestInfo,
    user: &User,
    request: Request<Incoming>,
) -> Result<Response, Status> {
    let trail = request.extensions().get::<Arc<Trail>>().cloned();
    authorize(app, info, user, trail.as_deref())?;
    route::run(app, info, user, request).await
}

/// While the server starts it does not know who may what. Whoever is told so comes back at once, and all programs of a
/// cluster do: they rather wait here, before they take a seat, for what they would have to ask for again and again.
async fn start_over(app: &App, info: &RequestInfo, user: &User) {
    if app.progress.has(Stage::Complete) || Checks::serves(&info.path) {
        return;
    }
    if !app.authorizer.authorize(&authz::Attributes::of(user, info)).allowed {
        app.progress.wait_for(Stage::Complete, START).await;
    }
}

fn authorize(app: &App, info: &RequestInfo, user: &User, trail: Option<&Trail>) -> Result<(), Status> {
    // Until the policy is there nobody could ask how the server is, and it would be restarted for that.
    let started = app.progress.has(Stage::Complete);
    if !started && Checks::serves(&info.path) {
        return Ok(());
    }
    let attributes = authz::Attributes::of(user, info);
    let decision = app.authorizer.authorize(&attributes);
    app.metrics.authorized(decision.allowed);
    if let Some(trail) = trail {
        trail.authorized(decision.allowed, &decision.reason);
    }
    if decision.allowed {
        return Ok(());
    }
    // Nobody knows yet what they may: a 403 would make clients give up.
    Err(if started {
        attributes.denied(&decision.reason)
    } else {
        Status::service_unavailable("the server is starting, the policy is not loaded yet").retry_after(1)
    })
}

/// The id a front server gave, if it is one, or a new one.
fn audit_id(request: &Request<Incoming>) -> HeaderValue {
    let given = request.headers().get(&AUDIT_ID).filter(|id| (1..=64).contains(&id.len()));
    given.cloned().unwrap_or_else(|| {
        // Every request has one: a question to the system for each would be felt.
        let id = uuid::Builder::from_random_bytes(rand::rng().random()).into_uuid().to_string();
        HeaderValue::try_from(id).expect("a uuid is a header value")
    })
}
