//! `ComponentStatus`: how the scheduler, the controllers and etcd are, looked up on this machine when somebody asks.
//!
//! The kind has been deprecated since v1.19, but people still type `kubectl get cs`.

use std::time::Duration;

use apimachinery::{Object, Status, Value, value};
use futures::future::join_all;
use http::uri::PathAndQuery;
use http::{HeaderMap, Method, StatusCode};
use http_body_util::{BodyExt, Limited};

use super::Call;
use super::selection::Selection;
use crate::connect::hop::{self, Target};
use crate::present;
use crate::reply::{self, Response};

/// The data store; it is asked the way `/readyz` does.
const ETCD: &str = "etcd-0";
/// The components beside this server and their ports, in the order of names.
const COMPONENTS: &[(&str, Option<u16>)] =
    &[("controller-manager", Some(10257)), (ETCD, None), ("scheduler", Some(10259))];
/// How long a component may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// The most of an answer that is shown.
const MESSAGE_LIMIT: usize = 1024;

pub(super) async fn run(call: &Call<'_>) -> Result<Response, Status> {
    let form = call.accept()?;
    if call.info.verb == "get" {
        let known = COMPONENTS.iter().find(|(name, _)| *name == call.info.name).ok_or_else(|| call.not_found())?;
        let object = look(call, known).await;
        return Ok(present::made(call.resource, form, object, &call.info.query));
    }
    let selection = Selection::parse(call.resource, &call.info.query)?;
    let mut looks = Vec::new();
    for known in COMPONENTS.iter().filter(|(name, _)| selection.takes_in(name)) {
        looks.push(look(call, known));
    }
    let objects = join_all(looks).await;
    let meta = Object::default();
    Ok(present::made_list(call.resource, form, &meta, objects, &call.info.query))
}

async fn look(call: &Call<'_>, (name, port): &(&str, Option<u16>)) -> Object {
    let found = match port {
        None => {
            call.app.data_store.look().await;
            call.app.data_store.verdict().map(|()| "ok".to_owned())
        }
        Some(port) => {
            let asked = tokio::time::timeout(PATIENCE, ask(call, *port)).await;
            asked.unwrap_or_else(|_| Err("the component does not answer in time".to_owned()))
        }
    };
    let (status, message) = match found {
        Ok(message) => ("True", message),
        Err(why) => ("False", why),
    };
    let condition = value!({"type": "Healthy", "status": status, "message": message});
    let mut object = Object::new("v1", "ComponentStatus");
    object.set_name(name);
    object.set_at(&["conditions"], Value::List(vec![condition]));
    object
}

/// What a component says of itself.
async fn ask(call: &Call<'_>, port: u16) -> Result<String, String> {
    let tls = Some(call.app.kubelets.anonymous_tls());
    let target = Target { host: "127.0.0.1".to_owned(), port, tls, dial_limit: hop::DIAL_LIMIT };
    let path = PathAndQuery::from_static("/healthz");
    let request = hop::request(&target, Method::GET, path, &HeaderMap::new(), reply::full(""));
    let answer = hop::send(&target, request.map_err(|status| status.message().to_owned())?).await;
    let (parts, body) = answer.map_err(|status| status.message().to_owned())?.into_parts();
    let body = Limited::new(body, MESSAGE_LIMIT).collect().await.map_err(|error| error.to_string())?;
    let text = String::from_utf8_lossy(&body.to_bytes()).trim().to_owned();
    if parts.status == StatusCode::OK { Ok(text) } else { Err(format!("{}: {text}", parts.status)) }
}
