//! `TokenReview` (whose token is this?) and `SelfSubjectReview` (who am I?).

use std::collections::BTreeMap;

use apimachinery::{Map, Object, Status, Value};

use crate::authn::Authenticator;
use crate::user::User;

/// Answers a `TokenReview`.
pub async fn token_review(authenticator: &Authenticator, mut question: Object) -> Result<Object, Status> {
    let token = question.str_at(&["spec", "token"]).to_owned();
    if token.is_empty() {
        return Err(Status::bad_request("token is required for TokenReview in authentication"));
    }
    let asked: Vec<String> =
        question.list_at(&["spec", "audiences"]).iter().filter_map(Value::as_str).map(str::to_owned).collect();
    let audiences = if asked.is_empty() { authenticator.service_accounts.audiences().to_vec() } else { asked };
    // The token is a secret; the answer does not repeat it.
    question.remove_at(&["spec", "token"]);
    match authenticator.authenticate_token(&token, &audiences).await {
        Some(owner) => {
            question.set_at(&["status", "authenticated"], true);
            question.set_at(&["status", "user"], user_value(&owner.user));
            question.set_at(&["status", "audiences"], strings(owner.audiences));
        }
        None => question.set_at(&["status"], Map::new()),
    }
    Ok(question)
}

/// Answers a `SelfSubjectReview`.
pub fn self_subject_review(user: &User, mut question: Object) -> Object {
    question.set_at(&["status", "userInfo"], user_value(user));
    question
}

/// A user as the API shows one.
pub fn user_value(user: &User) -> Value {
    let mut value = Map::new();
    value.insert("username", user.name.as_str());
    if !user.uid.is_empty() {
        value.insert("uid", user.uid.as_str());
    }
    if !user.groups.is_empty() {
        value.insert("groups", strings(user.groups.clone()));
    }
    if !user.extra.is_empty() {
        let extra: Map = user.extra.iter().map(|(key, values)| (key.clone(), strings(values.clone()))).collect();
        value.insert("extra", extra);
    }
    Value::Map(value)
}

/// A user as a review names one.
pub fn user_of(spec: &Value) -> User {
    let texts = |value: Option<&Value>| -> Vec<String> {
        let list = value.and_then(Value::as_list).unwrap_or_default();
        list.iter().filter_map(Value::as_str).map(str::to_owned).collect()
    };
    let extra: BTreeMap<String, Vec<String>> = spec
        .get("extra")
        .and_then(Value::as_map)
        .map(|extra| extra.iter().map(|(key, value)| (key.as_str().to_lowercase(), texts(Some(value)))).collect())
        .unwrap_or_default();
    User {
        name: spec.str("user").to_owned(),
        uid: spec.str("uid").to_owned(),
        groups: texts(spec.get("groups")),
        extra,
    }
}

fn strings(texts: Vec<String>) -> Value {
    Value::List(texts.into_iter().map(Value::from).collect())
}
