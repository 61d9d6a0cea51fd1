//! The API as pods see it, for real: one watch for each ConfigMap and Secret in use, and tokens kept until they are stale.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use controller_runtime::{Retry, Store};
use futures::StreamExt;
use k8s_openapi::api::authentication::v1::{BoundObjectReference, TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret, Service, ServiceAccount};
use kube::api::PostParams;
use kube::runtime::watcher::watch_object;
use kube::{Api, Client};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::cluster::{Answer, Cluster, ClusterError, Token, TokenQuery};
use crate::pod::{environment, identity};
use crate::volumes;

/// A token is exchanged after this part of its life, in percent.
const STALE: u64 = 80;
/// And never later than this.
const LONGEST: Duration = Duration::from_hours(24);
/// The longest rest between two tries of a watch that fails.
const LONGEST_REST: Duration = Duration::from_secs(2);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Kind {
    ConfigMap,
    Secret,
}

type Key = (Kind, String, String);

struct Watched {
    pods: BTreeSet<String>,
    task: JoinHandle<()>,
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[derive(Default)]
struct State {
    watched: HashMap<Key, Watched>,
    config_maps: HashMap<Key, Option<Arc<ConfigMap>>>,
    secrets: HashMap<Key, Option<Arc<Secret>>>,
    tokens: HashMap<TokenQuery, Token>,
}

/// The API, for the pods of this node.
pub struct ApiCluster {
    client: Client,
    services: Store<Service>,
    wake: mpsc::UnboundedSender<String>,
    state: Arc<Mutex<State>>,
}

impl ApiCluster {
    /// Tells uids of pods to look again through `wake`.
    pub fn new(client: Client, services: Store<Service>, wake: mpsc::UnboundedSender<String>) -> Self {
        Self { client, services, wake, state: Arc::default() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn watch(&self, key: Key) -> JoinHandle<()> {
        let (client, state, wake) = (self.client.clone(), Arc::clone(&self.state), self.wake.clone());
        tokio::spawn(async move {
            let mut retry = Retry::new(LONGEST_REST);
            loop {
                let heard = match key.0 {
                    Kind::ConfigMap => follow(&client, &key, &state, &wake, keep_config_map).await,
                    Kind::Secret => follow(&client, &key, &state, &wake, keep_secret).await,
                };
                if heard {
                    retry.answered();
                }
                retry.sleep().await;
            }
        })
    }

    async fn fetch_token(&self, query: &TokenQuery) -> Result<Token, ClusterError> {
        let request = TokenRequest {
            spec: TokenRequestSpec {
                audiences: query.audience.clone().into_iter().collect(),
                expiration_seconds: Some(query.expiration_seconds),
                bound_object_ref: Some(BoundObjectReference {
                    api_version: Some("v1".to_owned()),
                    kind: Some("Pod".to_owned()),
                    name: Some(query.pod_name.clone()),
                    uid: Some(query.pod_uid.clone()),
                }),
            },
            ..TokenRequest::default()
        };
        let accounts: Api<ServiceAccount> = Api::namespaced(self.client.clone(), &query.namespace);
        let answer = accounts
            .create_token_request(&query.service_account, &PostParams::default(), &request)
            .await
            .map_err(|error| refusal(&error))?;
        let status = answer.status.ok_or(ClusterError::Refused("the token request has no answer".to_owned()))?;
        let life = status.expiration_timestamp.0.as_second() - k8s_openapi::jiff::Timestamp::now().as_second();
        let life = Duration::from_secs(u64::try_from(life).unwrap_or(0) * STALE / 100).min(LONGEST);
        Ok(Token { value: status.token, refresh_at: Instant::now() + life })
    }
}

fn keep_config_map(state: &mut State, key: Key, object: Option<Arc<ConfigMap>>) {
    state.config_maps.insert(key, object);
}

fn keep_secret(state: &mut State, key: Key, object: Option<Arc<Secret>>) {
    state.secrets.insert(key, object);
}

/// Follows one object until its watch fails; whether anything was heard.
async fn follow<K>(
    client: &Client,
    key: &Key,
    state: &Mutex<State>,
    wake: &mpsc::UnboundedSender<String>,
    keep: fn(&mut State, Key, Option<Arc<K>>),
) -> bool
where
    K: kube::Resource<Scope = kube::core::NamespaceResourceScope, DynamicType = ()>
        + Clone
        + serde::de::DeserializeOwned
        + std::fmt::Debug
        + Send
        + 'static,
{
    let api: Api<K> = Api::namespaced(client.clone(), &key.1);
    let mut objects = std::pin::pin!(watch_object(api, &key.2));
    let mut heard = false;
    while let Some(object) = objects.next().await {
        let object = match object {
            Ok(object) => object,
            Err(error) => {
                tracing::debug!(namespace = key.1, name = key.2, %error, "the watch failed");
                return heard;
            }
        };
        heard = true;
        let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(pods) = state.watched.get(key).map(|watched| watched.pods.clone()) else { return heard };
        keep(&mut state, key.clone(), object.map(Arc::new));
        drop(state);
        for pod in pods {
            // Without a receiver the kubelet is ending.
            let _ = wake.send(pod);
        }
    }
    heard
}

fn refusal(error: &kube::Error) -> ClusterError {
    match error {
        kube::Error::Api(status) => ClusterError::Refused(status.message.clone()),
        _ => ClusterError::Unreachable,
    }
}

async fn get<K>(client: &Client, namespace: &str, name: &str) -> Result<Option<Arc<K>>, ClusterError>
where
    K: kube::Resource<Scope = kube::core::NamespaceResourceScope, DynamicType = ()>
        + Clone
        + serde::de::DeserializeOwned
        + std::fmt::Debug,
{
    let api: Api<K> = Api::namespaced(client.clone(), namespace);
    let object = api.get_opt(name).await.map_err(|error| refusal(&error))?;
    Ok(object.map(Arc::new))
}

impl Cluster for ApiCluster {
    fn config_map<'a>(&'a self, namespace: &'a str, name: &'a str) -> Answer<'a, Option<Arc<ConfigMap>>> {
        let known = self.lock().config_maps.get(&(Kind::ConfigMap, namespace.to_owned(), name.to_owned())).cloned();
        Box::pin(async move {
            match known {
                Some(object) => Ok(object),
                None => get(&self.client, namespace, name).await,
            }
        })
    }

    fn secret<'a>(&'a self, namespace: &'a str, name: &'a str) -> Answer<'a, Option<Arc<Secret>>> {
        let known = self.lock().secrets.get(&(Kind::Secret, namespace.to_owned(), name.to_owned())).cloned();
        Box::pin(async move {
            match known {
                Some(object) => Ok(object),
                None => get(&self.client, namespace, name).await,
            }
        })
    }

    fn token(&self, query: TokenQuery) -> Answer<'_, Token> {
        Box::pin(async move {
            if let Some(token) = self.lock().tokens.get(&query).filter(|token| token.refresh_at > Instant::now()) {
                return Ok(token.clone());
            }
            let token = self.fetch_token(&query).await?;
            self.lock().tokens.insert(query, token.clone());
            Ok(token)
        })
    }

    fn services<'a>(&'a self, pod: &'a Pod) -> Answer<'a, Vec<Arc<Service>>> {
        Box::pin(async move {
            if identity::is_static(pod) && !self.services.is_synced() {
                // The pods that make the API server must not wait for it.
                return Ok(Vec::new());
            }
            self.services.synced().await;
            Ok(self.services.list())
        })
    }

    fn follow(&self, pod: &Pod) {
        let (mut config_maps, mut secrets) = volumes::references(pod);
        for container in identity::init_containers(pod).iter().chain(identity::containers(pod)) {
            let (more_config_maps, more_secrets) = environment::references(container);
            config_maps.extend(more_config_maps);
            secrets.extend(more_secrets);
        }
        let of = |kind: Kind, names: BTreeSet<String>| {
            names.into_iter().map(move |name| (kind, identity::namespace(pod).to_owned(), name))
        };
        for key in of(Kind::ConfigMap, config_maps).chain(of(Kind::Secret, secrets)) {
            let mut state = self.lock();
            if let Some(watched) = state.watched.get_mut(&key) {
                watched.pods.insert(identity::uid(pod).to_owned());
            } else {
                let task = self.watch(key.clone());
                state.watched.insert(key, Watched { pods: [identity::uid(pod).to_owned()].into(), task });
            }
        }
    }

    fn release(&self, pod_uid: &str) {
        let mut state = self.lock();
        state.tokens.retain(|query, _| query.pod_uid != pod_uid);
        for watched in state.watched.values_mut() {
            watched.pods.remove(pod_uid);
        }
        state.watched.retain(|_, watched| !watched.pods.is_empty());
        let State { watched, config_maps, secrets, .. } = &mut *state;
        config_maps.retain(|key, _| watched.contains_key(key));
        secrets.retain(|key, _| watched.contains_key(key));
    }
}
