//! The end of the chain: who answers a request that may be answered.

use std::sync::Arc;

use apimachinery::Status;
use component_base::health::Checks;
use http::{Method, Request, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;

use crate::app::App;
use crate::discovery;
use crate::openapi;
use crate::present;
use crate::reply::{self, Response};
use crate::request_info::RequestInfo;
use crate::token;
use crate::user::User;
use crate::verbs;

/// The paths told at `/`.
const PATHS: &[&str] = &[
    "/.well-known/openid-configuration",
    "/api",
    "/api/v1",
    "/apis",
    "/healthz",
    "/livez",
    "/metrics",
    "/openapi/v2",
    "/openapi/v3",
    "/openid/v1/jwks",
    "/readyz",
    "/version",
];

pub(super) async fn run(
    app: &Arc<App>,
    info: &RequestInfo,
    user: &User,
    request: Request<Incoming>,
) -> Result<Response, Status> {
    if info.is_resource {
        return verbs::dispatch(app, info, user, request).await;
    }
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return Err(Status::failure(
            405,
            "MethodNotAllowed",
            "the server does not allow this method on the requested resource",
        ));
    }
    let path = info.path.as_str();
    if Checks::serves(path) {
        if !path.starts_with("/livez") {
            app.data_store.look().await;
        }
        return Ok(app.checks.respond(path, request.uri().query()).map(boxed));
    }
    let headers = request.headers();
    match path.trim_end_matches('/') {
        "" => Ok(root(app)),
        "/version" => {
            let version = serde_json::to_vec_pretty(&component_base::version::info());
            Ok(reply::json(StatusCode::OK, version.map_err(Status::internal)?))
        }
        "/metrics" => Ok(app.metrics.respond().map(boxed)),
        "/.well-known/openid-configuration" => {
            let access = &app.config.access;
            let issuer = access.service_account_issuer.first().map_or("", String::as_str);
            let keys = app.authenticator.service_accounts.keys();
            let document = token::discovery::configuration(issuer, access.service_account_jwks_uri.as_deref(), &keys);
            Ok(reply::json(StatusCode::OK, document))
        }
        "/openid/v1/jwks" => {
            let keys = token::discovery::keys(&app.authenticator.service_accounts.keys());
            Ok(reply::respond(StatusCode::OK, "application/jwk-set+json", reply::full(keys)))
        }
        path if path.starts_with("/openapi/") => {
            openapi::respond(path, &info.query, headers).ok_or_else(Status::unknown_path)
        }
        path => match discovery::respond(app, path, headers) {
            Some(answer) => answer,
            None => Err(Status::unknown_path()),
        },
    }
}

fn root(app: &App) -> Response {
    let mut paths: Vec<String> = PATHS.iter().map(|path| (*path).to_owned()).collect();
    for resource in app.registry.all().iter().filter(|resource| !resource.group().is_empty()) {
        paths.push(format!("/apis/{}", resource.group()));
        paths.push(format!("/apis/{}/{}", resource.group(), resource.version()));
    }
    paths.sort();
    paths.dedup();
    let paths: apimachinery::Value = paths.iter().map(String::as_str).collect();
    reply::json(StatusCode::OK, present::to_json(&apimachinery::value!({"paths": (paths)})))
}

fn boxed(body: http_body_util::Full<bytes::Bytes>) -> reply::Body {
    body.map_err(|never| match never {}).boxed()
}
