//! Questions about identities and permissions that are asked by creating an object: answered, never stored.

pub mod access;
pub mod identity;
pub mod rules;

use std::sync::Arc;

use apimachinery::{Object, Status};

use crate::app::App;
use crate::request_info::RequestInfo;
use crate::user::User;

/// Answers a review of any kind.
pub async fn create(app: &Arc<App>, info: &RequestInfo, user: &User, question: Object) -> Result<Object, Status> {
    match info.resource.as_str() {
        "tokenreviews" => identity::token_review(&app.authenticator, question).await,
        "selfsubjectreviews" => Ok(identity::self_subject_review(user, question)),
        "subjectaccessreviews" => access::subject(&app.authorizer, question),
        "localsubjectaccessreviews" => access::local_subject(&app.authorizer, &info.namespace, question),
        "selfsubjectaccessreviews" => access::self_subject(&app.authorizer, user, question),
        "selfsubjectrulesreviews" => rules::self_subject(&app.authorizer, user, question),
        _ => Err(Status::unknown_path()),
    }
}
