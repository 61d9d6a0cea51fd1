//! Service account tokens that this server issues: the `token` subresource, and what others need to verify them.
//!
//! Start at [`create`]; [`issuer`] makes the token, [`discovery`] publishes the keys.

pub mod discovery;
pub mod issuer;

use std::sync::Arc;

use apimachinery::field::FieldError;
use apimachinery::{Object, Status, Value};
use jiff::Timestamp;

use crate::app::App;
use crate::authn::service_account::{Bound, KubernetesClaims};
use crate::request_info::RequestInfo;
use crate::user::User;
use issuer::{Issuer, Lifetime};

const GROUP: &str = "authentication.k8s.io";
const KIND: &str = "TokenRequest";
/// Ten minutes, the least a token may be asked for.
const SHORTEST: i64 = 600;
const LONGEST: i64 = 1 << 32;
/// An hour, if the request says nothing.
const USUAL: i64 = 3600;

/// Answers a `TokenRequest` for the service account in the path.
pub async fn create(app: &Arc<App>, info: &RequestInfo, _user: &User, request: Object) -> Result<Object, Status> {
    let issuer = app.issuer.as_ref().ok_or_else(Status::unknown_path)?;
    let (namespace, name) = (info.namespace.as_str(), info.name.as_str());
    let account = app
        .registry
        .get_fresh("", "serviceaccounts", namespace, name)
        .await
        .ok_or_else(|| Status::not_found("", "serviceaccounts", name))?;
    check_metadata(&request, namespace, name)?;
    let wanted = Wanted::of(&request)?;
    let mut facts = KubernetesClaims {
        namespace: namespace.to_owned(),
        serviceaccount: Bound { name: name.to_owned(), uid: account.uid.to_string() },
        ..KubernetesClaims::default()
    };
    bind(app, &request, &mut facts).await?;
    answer(issuer, request, &wanted, facts)
}

fn answer(issuer: &Issuer, mut request: Object, wanted: &Wanted, facts: KubernetesClaims) -> Result<Object, Status> {
    let now = Timestamp::now();
    let audiences = if wanted.audiences.is_empty() { issuer.audiences().to_vec() } else { wanted.audiences.clone() };
    let lifetime = Lifetime { seconds: wanted.seconds, pod: facts.pod.is_some() };
    let namespace = facts.namespace.clone();
    let name = facts.serviceaccount.name.clone();
    let made = issuer.issue(facts, &audiences, lifetime, now).map_err(Status::internal)?;
    request.set_name(&name);
    request.set_namespace(&namespace);
    request.set_creation_timestamp(&apimachinery::time::format(now));
    let audiences = audiences.into_iter().map(Value::from).collect();
    request.set_at(&["spec", "audiences"], Value::List(audiences));
    request.set_at(&["spec", "expirationSeconds"], made.seconds);
    request.set_at(&["status", "token"], made.token.as_str());
    request.set_at(&["status", "expirationTimestamp"], apimachinery::time::format(made.expires).as_str());
    Ok(request)
}

fn check_metadata(request: &Object, namespace: &str, name: &str) -> Result<(), Status> {
    let differs = |written: &str, path: &str| !written.is_empty() && written != path;
    if differs(request.name(), name) {
        return Err(Status::bad_request("the name of the token request does not match the name on the URL"));
    }
    if differs(request.namespace(), namespace) {
        return Err(Status::bad_request("the namespace of the token request does not match the namespace on the URL"));
    }
    Ok(())
}

/// The checked part of the request's spec.
struct Wanted {
    audiences: Vec<String>,
    seconds: i64,
}

impl Wanted {
    fn of(request: &Object) -> Result<Self, Status> {
        let seconds = request.i64_at(&["spec", "expirationSeconds"]).unwrap_or(USUAL);
        let path = "spec.expirationSeconds";
        let wrong = match seconds {
            seconds if seconds < SHORTEST => {
                Some(FieldError::invalid(path, seconds, "may not specify a duration less than 10 minutes"))
            }
            seconds if seconds > LONGEST => {
                Some(FieldError::invalid(path, seconds, "may not specify a duration larger than 2^32 seconds"))
            }
            _ => None,
        };
        if let Some(error) = wrong {
            return Err(Status::invalid(GROUP, KIND, request.name(), vec![error]));
        }
        let audiences = request.list_at(&["spec", "audiences"]).iter();
        let audiences = audiences.filter_map(Value::as_str).filter(|text| !text.is_empty());
        Ok(Self { audiences: audiences.map(str::to_owned).collect(), seconds })
    }
}

/// Ties the token to the object the request names.
async fn bind(app: &App, request: &Object, facts: &mut KubernetesClaims) -> Result<(), Status> {
    let Some(reference) = request.at(&["spec", "boundObjectRef"]).filter(|reference| !reference.is_empty()) else {
        return Ok(());
    };
    let (kind, name) = (reference.str("kind"), reference.str("name"));
    let (resource, namespace) = match (reference.str("apiVersion"), kind) {
        ("v1", "Pod") => ("pods", facts.namespace.as_str()),
        ("v1", "Secret") => ("secrets", facts.namespace.as_str()),
        ("v1", "Node") => ("nodes", ""),
        (version, _) => {
            return Err(Status::bad_request(format!(
                "cannot bind token for serviceaccount {:?} to object of kind {kind:?} and version {version:?}",
                facts.serviceaccount.name
            )));
        }
    };
    let object = app
        .registry
        .get_fresh("", resource, namespace, name)
        .await
        .ok_or_else(|| Status::not_found("", resource, name))?
        .object();
    let wanted = reference.str("uid");
    if !wanted.is_empty() && wanted != object.uid() {
        let why = format!(
            "the UID in the bound object reference ({wanted}) does not match the UID in record. \
             The object might have been deleted and then recreated"
        );
        return Err(Status::conflict("", resource, name, why));
    }
    let bound = Bound { name: name.to_owned(), uid: object.uid().to_owned() };
    match resource {
        "pods" => {
            check_pod(&object, &facts.serviceaccount.name)?;
            facts.node = node_of(app, &object);
            facts.pod = Some(bound);
        }
        "secrets" => facts.secret = Some(bound),
        _ => facts.node = Some(bound),
    }
    Ok(())
}

fn check_pod(pod: &Object, account: &str) -> Result<(), Status> {
    let runs_as = pod.str_at(&["spec", "serviceAccountName"]);
    if runs_as == account {
        return Ok(());
    }
    Err(Status::bad_request(format!(
        "cannot bind token for serviceaccount {account:?} to pod running with different serviceaccount {runs_as:?}."
    )))
}

/// The node a pod runs on; one that is not known yet is named without a uid.
fn node_of(app: &App, pod: &Object) -> Option<Bound> {
    let name = pod.str_at(&["spec", "nodeName"]);
    if name.is_empty() {
        return None;
    }
    let uid = app.registry.get("", "nodes", "", name).map_or_else(String::new, |node| node.uid.to_string());
    Some(Bound { name: name.to_owned(), uid })
}
