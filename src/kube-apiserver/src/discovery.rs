//! What this server serves, told to clients: `/api`, `/apis`, their groups and versions, and all of it in one answer.

mod aggregated;
mod legacy;

use apimachinery::Status;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use sha2::{Digest, Sha512};

use crate::app::App;
use crate::negotiate;
use crate::present;
use crate::registry::{Registry, Resource};
use crate::reply::{self, Response};

/// Answers a path below `/api` or `/apis` that names no resource; `None` if it is no discovery path.
pub fn respond(app: &App, path: &str, headers: &HeaderMap) -> Option<Result<Response, Status>> {
    let segments: Vec<&str> = path.split('/').filter(|segment| !segment.is_empty()).collect();
    if let (["api" | "apis"], Some(version)) = (segments.as_slice(), aggregated::wanted(headers)) {
        let document = aggregated::document(&app.registry, segments[0] == "api", version);
        return Some(Ok(tagged(&document, version, headers)));
    }
    let document = match segments.as_slice() {
        ["api"] => legacy::versions(app),
        ["apis"] => legacy::groups(&app.registry),
        ["api", version] => return Some(resources(app, "", version, headers)),
        ["apis", group] => match legacy::group(&app.registry, group) {
            Some(group) => group,
            None => return Some(Err(Status::unknown_path())),
        },
        ["apis", group, version] => return Some(resources(app, group, version, headers)),
        _ => return None,
    };
    Some(negotiate::accept(headers).map(|form| present::encoded(form.encoding, StatusCode::OK, &document)))
}

fn resources(app: &App, group: &str, version: &str, headers: &HeaderMap) -> Result<Response, Status> {
    let document = legacy::resources(&app.registry, group, version).ok_or_else(Status::unknown_path)?;
    let form = negotiate::accept(headers)?;
    Ok(present::encoded(form.encoding, StatusCode::OK, &document))
}

/// Clients keep the document and ask only whether it has changed.
fn tagged(document: &apimachinery::Value, version: &str, headers: &HeaderMap) -> Response {
    let bytes = present::to_json(document);
    let tag = format!("\"{}\"", hex::encode_upper(Sha512::digest(&bytes)));
    let known = headers.get(header::IF_NONE_MATCH).and_then(|value| value.to_str().ok());
    let mut response = if known == Some(tag.as_str()) {
        reply::respond(StatusCode::NOT_MODIFIED, reply::JSON, reply::full(""))
    } else {
        reply::json(StatusCode::OK, bytes)
    };
    let media = format!("application/json;g=apidiscovery.k8s.io;v={version};as=APIGroupDiscoveryList");
    let headers = response.headers_mut();
    for (name, value) in [(header::CONTENT_TYPE, media.as_str()), (header::ETAG, &tag), (header::VARY, "Accept")] {
        if let Ok(value) = HeaderValue::from_str(value) {
            headers.insert(name, value);
        }
    }
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("public"));
    response
}

/// The groups in their order, each with its versions, the preferred one first.
fn group_versions(registry: &Registry) -> Vec<(&'static str, Vec<&'static str>)> {
    let mut groups: Vec<(&str, Vec<&str>)> = Vec::new();
    for resource in registry.all() {
        let (group, version) = (resource.group(), resource.version());
        match groups.iter_mut().find(|(name, _)| *name == group) {
            Some((_, versions)) if versions.contains(&version) => {}
            Some((_, versions)) => versions.push(version),
            None => groups.push((group, vec![version])),
        }
    }
    groups
}

/// The resources of a group and version, by name.
fn in_version<'a>(registry: &'a Registry, group: &str, version: &str) -> Vec<&'a Resource> {
    let mut found: Vec<&Resource> = registry
        .all()
        .iter()
        .filter(|resource| resource.group() == group && resource.version() == version)
        .map(|resource| &**resource)
        .collect();
    found.sort_by_key(|resource| resource.descriptor.plural);
    found
}
