//! `pods/log`: what a container wrote, as a stream.

use apimachinery::Status;
use apimachinery::field::FieldError;
use http::{HeaderMap, Method, StatusCode};
use http_body_util::{BodyExt, Limited};

use super::{hop, pod, pod_and_node};
use crate::app::App;
use crate::reply::{self, Response};
use crate::request_info::RequestInfo;

/// What is passed on, by the same name.
const OPTIONS: &[&str] =
    &["follow", "previous", "sinceSeconds", "sinceTime", "timestamps", "tailLines", "limitBytes", "stream"];
/// The most that is read of a kubelet's error.
const ERROR_LIMIT: usize = 64 * 1024;

/// Streams a log.
pub(super) async fn run(app: &App, info: &RequestInfo) -> Result<Response, Status> {
    check(info)?;
    let (pod, node) = pod_and_node(app, info).await?;
    let container = pod::container(info.query.get("container").unwrap_or_default(), &pod)?;
    let Some(node) = node else {
        return Ok(reply::text(StatusCode::OK, ""));
    };
    let given = |name: &&&str| info.query.get(name).is_some_and(|value| !value.is_empty());
    let value = |name: &&'static str| (*name, info.query.get(name).unwrap_or_default().to_owned());
    let query: Vec<_> = OPTIONS.iter().filter(given).map(value).collect();
    let path = pod::assemble(&["containerLogs", pod.namespace(), pod.name(), container], &query)?;
    let target = app.kubelets.target(&node, info.query.flag("insecureSkipTLSVerifyBackend"))?;
    let request = hop::request(&target, Method::GET, path, &HeaderMap::new(), reply::full(""))?;
    let answer = hop::send(&target, request).await?;
    if answer.status() != StatusCode::OK {
        return Err(refusal(answer).await);
    }
    let body = answer.into_body().map_err(Into::into).boxed();
    Ok(reply::respond(StatusCode::OK, "text/plain", body))
}

/// A kubelet's refusal in its own words.
async fn refusal(answer: http::Response<hyper::body::Incoming>) -> Status {
    let code = answer.status();
    let body = Limited::new(answer.into_body(), ERROR_LIMIT).collect().await;
    let text = body.map(|body| String::from_utf8_lossy(&body.to_bytes()).trim().to_owned()).unwrap_or_default();
    match code {
        StatusCode::BAD_REQUEST => Status::bad_request(text),
        StatusCode::NOT_FOUND => Status::failure(404, "NotFound", text),
        StatusCode::FORBIDDEN | StatusCode::UNAUTHORIZED => {
            Status::internal(format!("the kubelet refuses this server: {text}"))
        }
        _ => Status::internal(text),
    }
}

fn check(info: &RequestInfo) -> Result<(), Status> {
    let mut errors = Vec::new();
    let mut number = |name: &str, least: i64| {
        let text = info.query.get(name).filter(|text| !text.is_empty());
        let Some(text) = text else { return };
        match text.parse::<i64>() {
            Ok(value) if value >= least => {}
            Ok(value) if least == 0 => {
                errors.push(FieldError::invalid(name, value, "must be greater than or equal to 0"));
            }
            Ok(value) => errors.push(FieldError::invalid(name, value, "must be greater than 0")),
            Err(_) => errors.push(FieldError::invalid(name, text, "must be a number")),
        }
    };
    number("tailLines", 0);
    number("sinceSeconds", 1);
    number("limitBytes", 1);
    let given = |name: &str| info.query.get(name).is_some_and(|value| !value.is_empty());
    if given("sinceSeconds") && given("sinceTime") {
        errors.push(FieldError::forbidden("", "at most one of `sinceTime` or `sinceSeconds` may be specified"));
    }
    if errors.is_empty() { Ok(()) } else { Err(Status::invalid("", "PodLogOptions", &info.name, errors)) }
}
