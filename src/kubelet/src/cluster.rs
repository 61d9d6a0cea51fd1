//! What pods need of the API: `ConfigMaps`, Secrets, Services and tokens.
//!
//! A trait, because a node also starts its static pods while no API server answers, and because tests have none.

use std::sync::Arc;

use futures::future::BoxFuture;
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret, Service};
use tokio::time::Instant;

/// Why an object could not be had.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ClusterError {
    /// No API server is known or reachable.
    #[error("the API server is not reachable")]
    Unreachable,
    /// The API server refused.
    #[error("{0}")]
    Refused(String),
}

/// Which token a pod wants.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TokenQuery {
    /// The namespace of the pod and the account.
    pub namespace: String,
    /// The account.
    pub service_account: String,
    /// For whom the token is, if not for the API server.
    pub audience: Option<String>,
    /// How long it should be good for.
    pub expiration_seconds: i64,
    /// The pod the token is bound to.
    pub pod_name: String,
    /// The uid of that pod.
    pub pod_uid: String,
}

/// A token and when to ask for the next.
#[derive(Debug, Clone)]
pub struct Token {
    /// The token itself; never logged.
    pub value: String,
    /// When it should be exchanged, well before it ends.
    pub refresh_at: Instant,
}

/// The answer of the API, some time later.
pub type Answer<'a, T> = BoxFuture<'a, Result<T, ClusterError>>;

/// The API as pods see it.
pub trait Cluster: Send + Sync + 'static {
    /// A ConfigMap, or nothing if there is none of this name.
    fn config_map<'a>(&'a self, namespace: &'a str, name: &'a str) -> Answer<'a, Option<Arc<ConfigMap>>>;
    /// A Secret, or nothing if there is none of this name.
    fn secret<'a>(&'a self, namespace: &'a str, name: &'a str) -> Answer<'a, Option<Arc<Secret>>>;
    /// A token of a ServiceAccount, bound to a pod; the last one while it is fresh.
    fn token(&self, query: TokenQuery) -> Answer<'_, Token>;
    /// The services a pod is told of in its environment.
    fn services<'a>(&'a self, pod: &'a Pod) -> Answer<'a, Vec<Arc<Service>>>;
    /// From now on the pod is woken when an object it refers to changes.
    fn follow(&self, pod: &Pod);
    /// The pod is gone: nobody needs its objects any more.
    fn release(&self, pod_uid: &str);
}

/// No API at all: pods that need nothing of it run.
#[derive(Debug, Default)]
pub struct Offline;

impl Cluster for Offline {
    fn config_map<'a>(&'a self, _: &'a str, _: &'a str) -> Answer<'a, Option<Arc<ConfigMap>>> {
        Box::pin(async { Err(ClusterError::Unreachable) })
    }

    fn secret<'a>(&'a self, _: &'a str, _: &'a str) -> Answer<'a, Option<Arc<Secret>>> {
        Box::pin(async { Err(ClusterError::Unreachable) })
    }

    fn token(&self, _: TokenQuery) -> Answer<'_, Token> {
        Box::pin(async { Err(ClusterError::Unreachable) })
    }

    fn services<'a>(&'a self, _: &'a Pod) -> Answer<'a, Vec<Arc<Service>>> {
        Box::pin(async { Ok(Vec::new()) })
    }

    fn follow(&self, _: &Pod) {}

    fn release(&self, _: &str) {}
}
