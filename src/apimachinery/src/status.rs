//! The body of an answer that is not the object asked for: `v1.Status`.

use crate::{
    field::{FieldError, summary},
    gvk::qualified,
    object::Object,
    value::{Map, Value},
};
use std::fmt;

/// Why something failed, or that it succeeded.
#[derive(Clone, Debug, PartialEq)]
pub struct Status {
    code: u16,
    reason: &'static str,
    message: String,
    details: Option<Box<Details>>,
    next: Option<Box<str>>,
}

/// What a failure was about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Details {
    /// The name of the object.
    pub name: String,
    /// The group of the resource.
    pub group: String,
    /// The plural resource; the kind for validation errors.
    pub kind: String,
    /// The uid of the object.
    pub uid: String,
    /// The single causes.
    pub causes: Vec<Cause>,
    /// When to try again; 0 says nothing.
    pub retry_after_seconds: u32,
}

/// One cause of a failure.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cause {
    /// A word for programs.
    pub reason: String,
    /// A sentence for people.
    pub message: String,
    /// The path of the field.
    pub field: String,
}

impl Status {
    /// A failure of any code and reason.
    pub fn failure(code: u16, reason: &'static str, message: impl Into<String>) -> Self {
        Self { code, reason, message: message.into(), details: None, next: None }
    }

    /// Success without an object to show.
    pub fn success() -> Self {
        Self { code: 200, reason: "", message: String::new(), details: None, next: None }
    }

    /// The same with other details.
    #[must_use]
    pub fn with_details(mut self, details: Details) -> Self {
        self.details = Some(Box::new(details));
        self
    }

    /// The same with the token a list can go on with.
    #[must_use]
    pub fn with_continue(mut self, token: impl Into<Box<str>>) -> Self {
        self.next = Some(token.into());
        self
    }

    fn about(code: u16, reason: &'static str, (group, resource, name): (&str, &str, &str), message: String) -> Self {
        Self::failure(code, reason, message).with_details(Details {
            name: name.into(),
            group: group.into(),
            kind: resource.into(),
            ..Details::default()
        })
    }

    /// 404: the object is not there.
    pub fn not_found(group: &str, resource: &str, name: &str) -> Self {
        let message = format!("{} \"{name}\" not found", qualified(resource, group));
        Self::about(404, "NotFound", (group, resource, name), message)
    }

    /// 404: the path means nothing.
    pub fn unknown_path() -> Self {
        Self::failure(404, "NotFound", "the server could not find the requested resource")
            .with_details(Details::default())
    }

    /// 409: the object is there.
    pub fn already_exists(group: &str, resource: &str, name: &str) -> Self {
        let message = format!("{} \"{name}\" already exists", qualified(resource, group));
        Self::about(409, "AlreadyExists", (group, resource, name), message)
    }

    /// 409: no free name was found for `generateName`.
    pub fn generate_name_conflict(group: &str, resource: &str, name: &str) -> Self {
        let message = format!(
            "{} \"{name}\" already exists, the server was not able to generate a unique name for the object",
            qualified(resource, group)
        );
        let status = Self::about(409, "AlreadyExists", (group, resource, name), message);
        status.retry_after(1)
    }

    /// 409: somebody else was faster, or a precondition failed.
    pub fn conflict(group: &str, resource: &str, name: &str, why: impl fmt::Display) -> Self {
        let message = format!("Operation cannot be fulfilled on {} \"{name}\": {why}", qualified(resource, group));
        Self::about(409, "Conflict", (group, resource, name), message)
    }

    /// 409: an apply would take fields from other managers.
    pub fn apply_conflict(message: impl Into<String>, causes: Vec<Cause>) -> Self {
        Self::failure(409, "Conflict", message).with_details(Details { causes, ..Details::default() })
    }

    /// 422: the object breaks the rules of its kind.
    pub fn invalid(group: &str, kind: &str, name: &str, errors: Vec<FieldError>) -> Self {
        let mut message = format!("{} \"{name}\" is invalid", qualified(kind, group));
        if !errors.is_empty() {
            message = format!("{message}: {}", summary(&errors));
        }
        let causes = errors
            .into_iter()
            .map(|error| Cause {
                reason: error.kind.reason().into(),
                message: error.body(),
                field: error.path.as_str().into(),
            })
            .collect();
        let mut status = Self::about(422, "Invalid", (group, kind, name), message);
        status.details_mut().causes = causes;
        status
    }

    /// 400: the request makes no sense.
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::failure(400, "BadRequest", message)
    }

    /// 403: it is known who asks, and they may not.
    pub fn forbidden(group: &str, resource: &str, name: &str, why: impl fmt::Display) -> Self {
        let message = match (resource, name) {
            ("", _) => format!("forbidden: {why}"),
            (_, "") => format!("{} is forbidden: {why}", qualified(resource, group)),
            _ => format!("{} \"{name}\" is forbidden: {why}", qualified(resource, group)),
        };
        Self::about(403, "Forbidden", (group, resource, name), message)
    }

    /// 401: it is not known who asks.
    pub fn unauthorized() -> Self {
        Self::failure(401, "Unauthorized", "Unauthorized")
    }

    /// 410: the version asked for is no longer kept.
    pub fn expired(message: impl Into<String>) -> Self {
        Self::failure(410, "Expired", message)
    }

    /// 410: it was here and is gone for good.
    pub fn gone(message: impl Into<String>) -> Self {
        Self::failure(410, "Gone", message)
    }

    /// 429: try later.
    pub fn too_many_requests(message: impl Into<String>, retry_after_seconds: u32) -> Self {
        Self::failure(429, "TooManyRequests", message).retry_after(retry_after_seconds)
    }

    /// 413: the body is too large.
    pub fn request_entity_too_large(why: impl fmt::Display) -> Self {
        Self::failure(413, "RequestEntityTooLarge", format!("Request entity too large: {why}"))
    }

    /// 500: we failed.
    pub fn internal(why: impl fmt::Display) -> Self {
        let why = why.to_string();
        let causes = vec![Cause { message: why.clone(), ..Cause::default() }];
        Self::failure(500, "InternalError", format!("Internal error occurred: {why}"))
            .with_details(Details { causes, ..Details::default() })
    }

    /// 405: the resource has no such verb.
    pub fn method_not_allowed(group: &str, resource: &str, verb: &str) -> Self {
        let message = format!("{verb} is not supported on resources of kind \"{}\"", qualified(resource, group));
        Self::about(405, "MethodNotAllowed", (group, resource, ""), message)
    }

    /// 415: the body is in none of the formats accepted.
    pub fn unsupported_media_type(accepted: &[&str]) -> Self {
        let message = format!(
            "the body of the request was in an unknown format - accepted media types include: {}",
            accepted.join(", ")
        );
        Self::failure(415, "UnsupportedMediaType", message)
    }

    /// 406: none of the formats the client wants can be given.
    pub fn not_acceptable(accepted: &[&str]) -> Self {
        Self::failure(
            406,
            "NotAcceptable",
            format!("only the following media types are accepted: {}", accepted.join(", ")),
        )
    }

    /// 504: it took too long; it may still happen.
    pub fn timeout(message: impl fmt::Display, retry_after_seconds: u32) -> Self {
        Self::failure(504, "Timeout", format!("Timeout: {message}")).retry_after(retry_after_seconds)
    }

    /// 504: the server has not yet seen the version asked for.
    pub fn too_large_resource_version(requested: i64, current: i64) -> Self {
        let causes = vec![Cause {
            reason: "ResourceVersionTooLarge".into(),
            message: "Too large resource version".into(),
            ..Cause::default()
        }];
        Self::failure(504, "Timeout", format!("Timeout: Too large resource version: {requested}, current: {current}"))
            .with_details(Details { causes, retry_after_seconds: 1, ..Details::default() })
    }

    /// 500: the operation cannot be done just now.
    pub fn server_timeout(group: &str, resource: &str, operation: &str, retry_after_seconds: u32) -> Self {
        let resource_name = qualified(resource, group);
        let message = format!(
            "The {operation} operation against {resource_name} could not be completed at this time, please try again."
        );
        Self::about(500, "ServerTimeout", (group, resource, ""), message).retry_after(retry_after_seconds)
    }

    /// 503: a part that is needed is not there.
    pub fn service_unavailable(message: impl Into<String>) -> Self {
        Self::failure(503, "ServiceUnavailable", message)
    }

    /// The same, saying when to try again.
    #[must_use]
    pub fn retry_after(mut self, seconds: u32) -> Self {
        self.details_mut().retry_after_seconds = seconds;
        self
    }

    fn details_mut(&mut self) -> &mut Details {
        self.details.get_or_insert_default()
    }

    /// The HTTP status code.
    pub fn code(&self) -> u16 {
        self.code
    }

    /// The word programs look at.
    pub fn reason(&self) -> &str {
        self.reason
    }

    /// The sentence people read.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// What the failure was about.
    pub fn details(&self) -> Option<&Details> {
        self.details.as_deref()
    }

    /// Whether this reports success.
    pub fn is_success(&self) -> bool {
        self.code < 300
    }

    /// The object that goes over the wire.
    pub fn to_object(&self) -> Object {
        let mut object = Object::new("v1", "Status");
        object.set_at(&["metadata"], Value::map());
        if let Some(next) = &self.next {
            object.set_at(&["metadata", "continue"], &**next);
        }
        object.set_at(&["status"], if self.is_success() { "Success" } else { "Failure" });
        let fields = object.as_map_mut();
        set_text(fields, "message", &self.message);
        set_text(fields, "reason", self.reason);
        if let Some(details) = &self.details {
            fields.insert("details", details.to_map());
        }
        if !self.is_success() {
            fields.insert("code", self.code);
        }
        object
    }

    /// The tree that goes over the wire.
    pub fn to_value(&self) -> Value {
        self.to_object().into_value()
    }
}

impl Details {
    fn to_map(&self) -> Map {
        let mut map = Map::new();
        set_text(&mut map, "name", &self.name);
        set_text(&mut map, "group", &self.group);
        set_text(&mut map, "kind", &self.kind);
        set_text(&mut map, "uid", &self.uid);
        if !self.causes.is_empty() {
            map.insert("causes", self.causes.iter().map(Cause::to_map).collect::<Value>());
        }
        if self.retry_after_seconds != 0 {
            map.insert("retryAfterSeconds", self.retry_after_seconds);
        }
        map
    }
}

impl Cause {
    fn to_map(&self) -> Map {
        let mut map = Map::new();
        set_text(&mut map, "reason", &self.reason);
        set_text(&mut map, "message", &self.message);
        set_text(&mut map, "field", &self.field);
        map
    }
}

fn set_text(map: &mut Map, key: &'static str, text: &str) {
    if !text.is_empty() {
        map.insert(key, text);
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Status {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value;

    #[test]
    fn the_body_is_what_clients_parse() {
        let errors = vec![FieldError::required("spec.x", "")];
        assert_eq!(
            Status::invalid("apps", "Deployment", "web", errors).to_value(),
            value!({
                "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
                "message": "Deployment.apps \"web\" is invalid: spec.x: Required value", "reason": "Invalid",
                "details": {"name": "web", "group": "apps", "kind": "Deployment", "causes": [
                    {"reason": "FieldValueRequired", "message": "Required value", "field": "spec.x"}]},
                "code": 422,
            })
        );
    }

    #[test]
    fn messages_are_upstreams() {
        for (status, message) in [
            (Status::not_found("", "pods", "x"), r#"pods "x" not found"#),
            (Status::already_exists("apps", "deployments", "x"), r#"deployments.apps "x" already exists"#),
            (Status::conflict("", "pods", "x", "changed"), r#"Operation cannot be fulfilled on pods "x": changed"#),
            (Status::forbidden("", "pods", "", "no"), "pods is forbidden: no"),
            (Status::forbidden("", "", "", "no"), "forbidden: no"),
            (Status::internal("boom"), "Internal error occurred: boom"),
            (Status::method_not_allowed("", "pods", "watch"), r#"watch is not supported on resources of kind "pods""#),
        ] {
            assert_eq!(status.to_string(), message);
        }
    }

    #[test]
    fn success_has_no_code() {
        assert_eq!(
            Status::success().to_value(),
            value!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"})
        );
    }
}
