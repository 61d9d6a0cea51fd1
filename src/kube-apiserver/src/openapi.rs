//! The OpenAPI documents: what clients validate with, what `kubectl explain` shows.
//!
//! All are generated from the schema and the table of resources, when first asked for, and then kept as bytes.

mod definitions;
mod gnostic;
mod paths;

use std::collections::{BTreeMap, HashMap};
use std::sync::{LazyLock, Mutex, OnceLock, PoisonError};

use bytes::Bytes;
use component_base::version::GIT_VERSION;
use http::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE, ETAG, HeaderMap, HeaderValue, IF_NONE_MATCH, LOCATION, VARY};
use http::{Response as HttpResponse, StatusCode};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use crate::query::Query;
use crate::reply::{self, Response};
use definitions::{Definitions, Dialect};

const JSON: &str = "application/json";
const PROTOBUF: [&str; 2] = [
    "application/com.github.proto-openapi.spec.v2.v1.0+protobuf",
    "application/com.github.proto-openapi.spec.v2@v1.0+protobuf",
];

/// The documents made so far.
static V3: LazyLock<Mutex<HashMap<String, Bytes>>> = LazyLock::new(Mutex::default);
static V2_JSON: OnceLock<Bytes> = OnceLock::new();
static V2_PROTOBUF: OnceLock<Bytes> = OnceLock::new();

/// Identifies all documents of this build: they are made from constants.
static HASH: LazyLock<String> = LazyLock::new(|| {
    let mut digest = Sha256::new();
    digest.update(GIT_VERSION);
    for (_, of) in api::schema().types() {
        digest.update(format!("{of:?}"));
    }
    hex::encode_upper(digest.finalize())
});

/// Answers a request below `/openapi`; `None` for a path that is not there.
pub fn respond(path: &str, query: &Query, headers: &HeaderMap) -> Option<Response> {
    match path.strip_prefix("/openapi/")?.trim_end_matches('/') {
        "v2" => Some(v2(headers)),
        "v3" => Some(if wants_json(headers) { document(v3_index(), headers, false) } else { not_acceptable() }),
        rest => {
            let group_version = rest.strip_prefix("v3/")?;
            let bytes = v3_document(group_version)?;
            let hash = query.get("hash");
            if hash.is_some_and(|hash| hash != *HASH) {
                return Some(moved(path));
            }
            Some(if wants_json(headers) { document(bytes, headers, hash.is_some()) } else { not_acceptable() })
        }
    }
}

/// `/openapi/v3`: where the document of each group and version is.
pub fn v3_index() -> Bytes {
    let paths: BTreeMap<String, Value> = group_versions()
        .into_iter()
        .map(|path| {
            let url = format!("/openapi/v3/{path}?hash={}", *HASH);
            (path, json!({ "serverRelativeURL": url }))
        })
        .collect();
    json!({ "paths": paths }).to_string().into()
}

/// `/openapi/v3/api/v1` or `/openapi/v3/apis/GROUP/VERSION`, by the part after `v3/`.
pub fn v3_document(path: &str) -> Option<Bytes> {
    let kept = || V3.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(bytes) = kept().get(path) {
        return Some(bytes.clone());
    }
    let (group, version) = match path.split('/').collect::<Vec<_>>().as_slice() {
        ["api", version] => ("", *version),
        ["apis", group, version] => (*group, *version),
        _ => return None,
    };
    let (paths, roots) = paths::of(Dialect::V3, |g, v| (g, v) == (group, version));
    if paths.is_empty() {
        return None;
    }
    let mut schemas = Definitions::new(Dialect::V3);
    for root in roots {
        schemas.add(root);
    }
    let bytes: Bytes = json!({
        "openapi": "3.0.0",
        "info": info(),
        "paths": paths,
        "components": { "schemas": schemas.finish() },
    })
    .to_string()
    .into();
    kept().insert(path.to_owned(), bytes.clone());
    Some(bytes)
}

/// `/openapi/v2` as JSON.
pub fn v2_document() -> Bytes {
    V2_JSON.get_or_init(|| v2_tree().to_string().into()).clone()
}

fn v2_tree() -> Value {
    let (paths, _) = paths::of(Dialect::V2, |_, _| true);
    let mut definitions = Definitions::new(Dialect::V2);
    for (id, _) in api::schema().types() {
        definitions.add(id);
    }
    json!({ "swagger": "2.0", "info": info(), "paths": paths, "definitions": definitions.finish() })
}

fn v2(headers: &HeaderMap) -> Response {
    let protobuf = PROTOBUF.iter().any(|media_type| accepts(headers, media_type));
    if protobuf {
        let bytes = V2_PROTOBUF.get_or_init(|| gnostic::encode(&v2_tree()).into()).clone();
        let mut response = document(bytes, headers, false);
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(PROTOBUF[0]));
        return response;
    }
    if wants_json(headers) { document(v2_document(), headers, false) } else { not_acceptable() }
}

fn info() -> Value {
    json!({ "title": "Kubernetes", "version": GIT_VERSION })
}

/// All `api/v1` and `apis/GROUP/VERSION` with resources.
fn group_versions() -> Vec<String> {
    let mut all: Vec<String> = paths::served()
        .map(|(_, group, version)| paths::base(group, version).trim_start_matches('/').to_owned())
        .collect();
    all.sort();
    all.dedup();
    all
}

/// Whether a media type is named, and not with a weight of zero.
fn accepts(headers: &HeaderMap, media_type: &str) -> bool {
    let values = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|range| {
        let mut parts = range.split(';').map(str::trim);
        parts.next().is_some_and(|name| name.eq_ignore_ascii_case(media_type))
            && parts.all(|part| !matches!(part, "q=0" | "q=0.0" | "q=0.00" | "q=0.000"))
    })
}

fn wants_json(headers: &HeaderMap) -> bool {
    !headers.contains_key(ACCEPT)
        || [JSON, "*/*", "application/*"].iter().any(|media_type| accepts(headers, media_type))
}

/// A document, or word that the client has it already. One asked for by its hash never changes.
fn document(bytes: Bytes, headers: &HeaderMap, immutable: bool) -> Response {
    let tag = format!("\"{}\"", *HASH);
    let known = headers.get_all(IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    let known = known.flat_map(|value| value.split(',')).any(|value| value.trim() == tag);
    let mut response = if known {
        reply::respond(StatusCode::NOT_MODIFIED, JSON, reply::full(""))
    } else {
        reply::json(StatusCode::OK, bytes)
    };
    let kept = response.headers_mut();
    if let Ok(tag) = HeaderValue::try_from(tag) {
        kept.insert(ETAG, tag);
    }
    kept.insert(VARY, HeaderValue::from_static("Accept"));
    if immutable {
        kept.insert(CACHE_CONTROL, HeaderValue::from_static("public, immutable"));
    }
    response
}

fn moved(path: &str) -> Response {
    let mut response: Response = HttpResponse::new(reply::full(""));
    *response.status_mut() = StatusCode::MOVED_PERMANENTLY;
    if let Ok(location) = HeaderValue::try_from(format!("{path}?hash={}", *HASH)) {
        response.headers_mut().insert(LOCATION, location);
    }
    response
}

fn not_acceptable() -> Response {
    crate::error::respond(&apimachinery::Status::not_acceptable(&[JSON]))
}

/// A JSON object under construction.
type Tree = Map<String, Value>;

#[cfg(test)]
mod tests;
