//! The audit log: who asked for what, when, and what came of it, as `audit.k8s.io/v1` events.
//!
//! A request only puts together what it knows and hands it on; a thread of its own makes the events and writes them in
//! batches. A full queue costs events, which are counted, never time. Bodies are looked at only for rules of the levels
//! `Request` and `RequestResponse`.

mod event;
mod log;
mod policy;
mod rotating;

use std::net::IpAddr;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use bytes::Bytes;
use component_base::serving::RemoteAddr;
use http::{HeaderMap, Request, StatusCode, header};
use http_body_util::BodyExt;
use jiff::Timestamp;
use prometheus_client::metrics::counter::Counter;

use crate::config::AuditArgs;
use crate::metrics::Metrics;
use crate::reply::{self, Body, Response};
use crate::request_info::RequestInfo;
use crate::settings_file::SettingsFileError;
use crate::user::User;
use event::Entry;
use log::Log;
use policy::Policy;
pub use policy::{Level, Stage};

/// The audit log, if there is one.
pub struct Audit {
    on: Option<On>,
}

struct On {
    policy: Policy,
    log: Log,
    lost: Counter,
}

/// Why the audit log cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// The policy cannot be used.
    #[error(transparent)]
    Policy(#[from] SettingsFileError),
    /// The log cannot be opened.
    #[error("cannot open the audit log {path}", path = path.display())]
    Open {
        /// Where.
        path: std::path::PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

impl Audit {
    /// Sets up what the flags ask for; a log without a policy, or a policy without a log, is silent as upstream.
    ///
    /// # Errors
    /// If the policy or the log cannot be used.
    pub fn new(args: &AuditArgs, metrics: &Metrics) -> Result<Self, AuditError> {
        let policy = args.audit_policy_file.as_deref().map(Policy::read).transpose()?;
        let (Some(policy), Some(path)) = (policy, &args.audit_log_path) else { return Ok(Self { on: None }) };
        let lost = metrics.audit_lost();
        let log =
            Log::open(path, args, lost.clone()).map_err(|source| AuditError::Open { path: path.clone(), source })?;
        Ok(Self { on: Some(On { policy, log, lost }) })
    }

    /// Begins the trail of a request; none if nothing is audited.
    pub fn begin<B>(&self, request: &Request<B>, id: &str) -> Option<Arc<Trail>> {
        self.on.as_ref()?;
        Some(Arc::new(Trail {
            id: id.to_owned(),
            uri: request.uri().to_string(),
            agent: text(request.headers(), &header::USER_AGENT),
            sources: sources(request),
            received: Timestamp::now(),
            rule: OnceLock::new(),
            facts: Mutex::default(),
        }))
    }

    /// Finds the rule for a request, now that it is known who asks, and tells of its arrival.
    pub fn received(&self, trail: &Trail, info: &RequestInfo, user: Option<&User>) {
        let Some(on) = &self.on else { return };
        let rule = on.policy.rule(info, user);
        if trail.rule.set(rule).is_err() {
            return;
        }
        trail.facts().user = user.cloned();
        on.tell(trail, info, Stage::RequestReceived, None);
    }

    /// Tells of the answer to a request.
    pub async fn answered(
        self: &Arc<Self>,
        trail: &Arc<Trail>,
        info: &Arc<RequestInfo>,
        response: Response,
    ) -> Response {
        // Whoever was not let in is told of here.
        self.received(trail, info, None);
        let Some(on) = &self.on else { return response };
        if trail.level() == Level::None {
            return response;
        }
        let code = response.status();
        if info.is_long_running() && code.is_success() || code == StatusCode::SWITCHING_PROTOCOLS {
            on.tell(trail, info, Stage::ResponseStarted, Some(code));
            let end = End { audit: Arc::clone(self), trail: Arc::clone(trail), info: Arc::clone(info), code };
            return response.map(|body| Ending { body, _end: end }.boxed());
        }
        let wanted = trail.level() == Level::RequestResponse || code.is_client_error() || code.is_server_error();
        let named = info.verb == "create" && info.name.is_empty();
        let response = if wanted || named { trail.keep_answer(response).await } else { response };
        on.tell(trail, info, Stage::ResponseComplete, Some(code));
        response
    }

    /// Tells of a handler that failed in a way nobody foresaw.
    pub fn panicked(&self, trail: &Trail, info: &RequestInfo) {
        if let Some(on) = &self.on {
            on.tell(trail, info, Stage::Panic, Some(StatusCode::INTERNAL_SERVER_ERROR));
        }
    }

    /// Writes what waits and ends the log.
    pub async fn close(&self) {
        if let Some(on) = &self.on {
            on.log.close().await;
        }
    }
}

impl On {
    fn tell(&self, trail: &Trail, info: &RequestInfo, stage: Stage, code: Option<StatusCode>) {
        let Some(rule) = trail.rule.get() else { return };
        if rule.level == Level::None || rule.omit.contains(&stage) {
            return;
        }
        let entry = Entry::new(trail, info, (stage, code));
        if !self.log.send(entry) && self.lost.inc() == 0 {
            tracing::warn!("the audit log does not keep up, events are lost");
        }
    }
}

/// What is known of one request.
pub struct Trail {
    id: String,
    uri: String,
    agent: String,
    sources: Vec<IpAddr>,
    received: Timestamp,
    rule: OnceLock<policy::Verdict>,
    facts: Mutex<Facts>,
}

/// What comes to be known.
#[derive(Clone, Default)]
struct Facts {
    user: Option<User>,
    impersonated: Option<User>,
    request: Option<Document>,
    response: Option<Document>,
    allowed: Option<(bool, String)>,
}

/// A body and its media type.
#[derive(Clone)]
struct Document {
    bytes: Bytes,
    media: String,
}

impl Trail {
    fn facts(&self) -> std::sync::MutexGuard<'_, Facts> {
        self.facts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn level(&self) -> Level {
        self.rule.get().map_or(Level::None, |rule| rule.level)
    }

    /// Takes note of whom the user acts for.
    pub fn acts_for(&self, user: &User) {
        self.facts().impersonated = Some(user.clone());
    }

    /// Takes note of what the authorizers said.
    pub fn authorized(&self, allowed: bool, reason: &str) {
        if self.level() > Level::None {
            self.facts().allowed = Some((allowed, reason.to_owned()));
        }
    }

    /// Keeps the body of a request if its rule wants it.
    pub fn body(&self, bytes: &Bytes, media: &str) {
        if self.level() >= Level::Request && !bytes.is_empty() {
            self.facts().request = Some(Document { bytes: bytes.clone(), media: media.to_owned() });
        }
    }

    async fn keep_answer(&self, response: Response) -> Response {
        let (parts, body) = response.into_parts();
        let media = text(&parts.headers, &header::CONTENT_TYPE);
        match body.collect().await {
            Ok(collected) => {
                let bytes = collected.to_bytes();
                self.facts().response = Some(Document { bytes: bytes.clone(), media });
                Response::from_parts(parts, reply::full(bytes))
            }
            // An answer at hand cannot fail; were it to, the client sees an empty one.
            Err(error) => {
                tracing::warn!(%error, "the answer to an audited request broke off");
                Response::from_parts(parts, reply::full(Bytes::new()))
            }
        }
    }
}

fn text(headers: &HeaderMap, name: &header::HeaderName) -> String {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned()
}

/// The client as proxies name it, then whoever opened the connection.
fn sources<B>(request: &Request<B>) -> Vec<IpAddr> {
    let forwarded = text(request.headers(), &header::HeaderName::from_static("x-forwarded-for"));
    let real = text(request.headers(), &header::HeaderName::from_static("x-real-ip"));
    let named = forwarded.split(',').chain([real.as_str()]).filter_map(|text| text.trim().parse().ok());
    let mut sources: Vec<IpAddr> = named.collect();
    sources.extend(request.extensions().get::<RemoteAddr>().map(|remote| remote.0.ip()));
    sources.dedup();
    sources
}

/// Tells of the end of a stream when it is dropped.
struct End {
    audit: Arc<Audit>,
    trail: Arc<Trail>,
    info: Arc<RequestInfo>,
    code: StatusCode,
}

impl Drop for End {
    fn drop(&mut self) {
        if let Some(on) = &self.audit.on {
            on.tell(&self.trail, &self.info, Stage::ResponseComplete, Some(self.code));
        }
    }
}

/// A body that is passed on as it is, with something to be done at its end.
struct Ending {
    body: Body,
    _end: End,
}

impl http_body::Body for Ending {
    type Data = Bytes;
    type Error = reply::BoxError;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<http_body::Frame<Bytes>, reply::BoxError>>> {
        std::pin::Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> http_body::SizeHint {
        self.body.size_hint()
    }
}
