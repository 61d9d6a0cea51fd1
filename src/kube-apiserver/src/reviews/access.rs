//! `SubjectAccessReview` and its kin: may this user do this?

use apimachinery::field::FieldError;
use apimachinery::{Map, Object, Status, Value};

use super::identity::user_of;
use crate::authz::{Attributes, Authorizer};
use crate::user::User;

const GROUP: &str = "authorization.k8s.io";

/// Answers a `SubjectAccessReview`.
pub fn subject(authorizer: &Authorizer, question: Object) -> Result<Object, Status> {
    let user = asked_user(&question)?;
    answer(authorizer, &user, question)
}

/// Answers a `LocalSubjectAccessReview`, which must ask about its own namespace.
pub fn local_subject(authorizer: &Authorizer, namespace: &str, question: Object) -> Result<Object, Status> {
    let user = asked_user(&question)?;
    let asked = question.str_at(&["spec", "resourceAttributes", "namespace"]);
    if question.at(&["spec", "nonResourceAttributes"]).is_some() {
        let error = FieldError::forbidden("spec.nonResourceAttributes", "disallowed on this kind of request");
        return Err(invalid(&question, error));
    }
    if asked != namespace {
        let error = FieldError::invalid(
            "spec.resourceAttributes.namespace",
            asked,
            format!("must match metadata.namespace: {namespace}"),
        );
        return Err(invalid(&question, error));
    }
    answer(authorizer, &user, question)
}

/// Answers a `SelfSubjectAccessReview`.
pub fn self_subject(authorizer: &Authorizer, user: &User, question: Object) -> Result<Object, Status> {
    answer(authorizer, user, question)
}

fn asked_user(question: &Object) -> Result<User, Status> {
    let user = question.get("spec").map(user_of).unwrap_or_default();
    if user.name.is_empty() && user.groups.is_empty() {
        let why = "at least one of user or group must be specified";
        return Err(invalid(question, FieldError::invalid("spec.user", user.name.as_str(), why)));
    }
    Ok(user)
}

fn answer(authorizer: &Authorizer, user: &User, mut question: Object) -> Result<Object, Status> {
    let resource = question.at(&["spec", "resourceAttributes"]).and_then(Value::as_map);
    let path = question.at(&["spec", "nonResourceAttributes"]).and_then(Value::as_map);
    let attributes = match (resource, path) {
        (Some(resource), None) => resource_attributes(user, resource),
        (None, Some(path)) => Attributes {
            is_resource: false,
            path: path.str("path"),
            ..Attributes::resource(user, path.str("verb"), ("", ""))
        },
        (both, _) => {
            let field = "spec.resourceAttributes";
            let error = if both.is_some() {
                FieldError::invalid(
                    "spec.nonResourceAttributes",
                    "",
                    "cannot be specified in combination with resourceAttributes",
                )
            } else {
                FieldError::invalid(
                    field,
                    "",
                    "exactly one of nonResourceAttributes or resourceAttributes must be specified",
                )
            };
            return Err(invalid(&question, error));
        }
    };
    let decision = authorizer.authorize(&attributes);
    let mut status = Map::new();
    status.insert("allowed", decision.allowed);
    if !decision.reason.is_empty() {
        status.insert("reason", decision.reason.as_str());
    }
    question.set_at(&["status"], status);
    Ok(question)
}

fn resource_attributes<'a>(user: &'a User, asked: &'a Map) -> Attributes<'a> {
    let selector = asked.get("fieldSelector").map_or("", |selector| selector.str("rawSelector"));
    Attributes {
        user,
        verb: asked.str("verb"),
        is_resource: true,
        group: asked.str("group"),
        version: asked.str("version"),
        resource: asked.str("resource"),
        subresource: asked.str("subresource"),
        namespace: asked.str("namespace"),
        name: asked.str("name"),
        path: "",
        field_selector: selector,
    }
}

fn invalid(question: &Object, error: FieldError) -> Status {
    Status::invalid(GROUP, question.kind(), question.name(), vec![error])
}

#[cfg(test)]
mod tests;
