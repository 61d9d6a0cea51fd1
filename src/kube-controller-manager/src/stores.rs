//! The objects all controllers read: one list and watch of each kind for the whole program.

use controller_runtime::{Informer, Store};
use k8s_openapi::api::apps::v1::{ControllerRevision, DaemonSet, Deployment, ReplicaSet, StatefulSet};
use k8s_openapi::api::batch::v1::{CronJob, Job};
use k8s_openapi::api::certificates::v1::CertificateSigningRequest;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{
    ConfigMap, Endpoints, Namespace, Node, PersistentVolume, PersistentVolumeClaim, Pod, ResourceQuota, Secret,
    Service, ServiceAccount,
};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::networking::v1::{IPAddress, ServiceCIDR};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::api::rbac::v1::ClusterRole;
use kube::{Api, Client, Resource};
use tokio_util::sync::CancellationToken;

use crate::ownership::controller_uid;

/// Index: objects by the uid of their controller.
pub(crate) const BY_OWNER: &str = "owner";
/// Index: objects without a controller, by namespace.
pub(crate) const ORPHANS: &str = "orphans";
/// Index: objects by namespace.
pub(crate) const BY_NAMESPACE: &str = "namespace";
/// Index: pods by the node they are bound to.
pub(crate) const BY_NODE: &str = "node";
/// Index: endpoint slices by `namespace/service`.
pub(crate) const BY_SERVICE: &str = "service";

/// Handles to all shared stores.
#[derive(Clone)]
pub(crate) struct Stores {
    pub(crate) pods: Store<Pod>,
    pub(crate) nodes: Store<Node>,
    pub(crate) node_leases: Store<Lease>,
    pub(crate) deployments: Store<Deployment>,
    pub(crate) replica_sets: Store<ReplicaSet>,
    pub(crate) daemon_sets: Store<DaemonSet>,
    pub(crate) stateful_sets: Store<StatefulSet>,
    pub(crate) budgets: Store<PodDisruptionBudget>,
    pub(crate) jobs: Store<Job>,
    pub(crate) cron_jobs: Store<CronJob>,
    pub(crate) revisions: Store<ControllerRevision>,
    pub(crate) services: Store<Service>,
    pub(crate) claims: Store<PersistentVolumeClaim>,
    pub(crate) volumes: Store<PersistentVolume>,
    pub(crate) quotas: Store<ResourceQuota>,
    pub(crate) endpoints: Store<Endpoints>,
    pub(crate) slices: Store<EndpointSlice>,
    pub(crate) service_cidrs: Store<ServiceCIDR>,
    pub(crate) ip_addresses: Store<IPAddress>,
    pub(crate) namespaces: Store<Namespace>,
    pub(crate) accounts: Store<ServiceAccount>,
    pub(crate) root_cas: Store<ConfigMap>,
    pub(crate) requests: Store<CertificateSigningRequest>,
    pub(crate) cluster_roles: Store<ClusterRole>,
    pub(crate) bootstrap_tokens: Store<Secret>,
}

impl Stores {
    /// Starts following everything.
    pub(crate) fn start(client: &Client, token: &CancellationToken) -> Self {
        let all = || client.clone();
        let run = || token.clone();
        Self {
            pods: owned(Api::all(all())).index(BY_NODE, pod_node).index(BY_NAMESPACE, namespace).start(run()),
            nodes: Informer::new(Api::all(all())).start(run()),
            node_leases: Informer::new(Api::namespaced(all(), "kube-node-lease")).start(run()),
            deployments: owned(Api::all(all())).index(BY_NAMESPACE, namespace).start(run()),
            replica_sets: owned(Api::all(all())).index(BY_NAMESPACE, namespace).start(run()),
            daemon_sets: Informer::new(Api::all(all())).index(BY_NAMESPACE, namespace).start(run()),
            stateful_sets: Informer::new(Api::all(all())).index(BY_NAMESPACE, namespace).start(run()),
            budgets: Informer::new(Api::all(all())).index(BY_NAMESPACE, namespace).start(run()),
            jobs: owned(Api::all(all())).index(BY_NAMESPACE, namespace).start(run()),
            cron_jobs: Informer::new(Api::all(all())).index(BY_NAMESPACE, namespace).start(run()),
            revisions: owned(Api::all(all())).start(run()),
            services: Informer::new(Api::all(all())).index(BY_NAMESPACE, namespace).start(run()),
            claims: Informer::new(Api::all(all())).index(BY_NAMESPACE, namespace).start(run()),
            volumes: Informer::new(Api::all(all())).start(run()),
            quotas: Informer::new(Api::all(all())).index(BY_NAMESPACE, namespace).start(run()),
            endpoints: Informer::new(Api::all(all())).start(run()),
            slices: Informer::new(Api::all(all())).index(BY_SERVICE, slice_service).start(run()),
            service_cidrs: Informer::new(Api::all(all())).start(run()),
            ip_addresses: Informer::new(Api::all(all())).start(run()),
            namespaces: Informer::new(Api::all(all())).start(run()),
            accounts: Informer::new(Api::all(all())).start(run()),
            root_cas: Informer::new(Api::all(all())).fields("metadata.name=kube-root-ca.crt").start(run()),
            requests: Informer::new(Api::all(all())).start(run()),
            cluster_roles: Informer::new(Api::all(all())).start(run()),
            bootstrap_tokens: Informer::new(Api::namespaced(all(), "kube-system"))
                .fields("type=bootstrap.kubernetes.io/token")
                .start(run()),
        }
    }
}

fn owned<K>(api: Api<K>) -> Informer<K>
where
    K: Resource + Clone + serde::de::DeserializeOwned + std::fmt::Debug + Send + Sync + 'static,
{
    Informer::new(api)
        .index(BY_OWNER, |object: &K| controller_uid(object).map(str::to_owned).into_iter().collect())
        .index(ORPHANS, |object: &K| match controller_uid(object) {
            Some(_) => Vec::new(),
            None => namespace(object),
        })
}

pub(crate) fn namespace<K: Resource>(object: &K) -> Vec<String> {
    object.meta().namespace.clone().into_iter().collect()
}

fn pod_node(pod: &Pod) -> Vec<String> {
    pod.spec.iter().filter_map(|spec| spec.node_name.clone()).filter(|name| !name.is_empty()).collect()
}

fn slice_service(slice: &EndpointSlice) -> Vec<String> {
    let service = slice.metadata.labels.as_ref().and_then(|labels| labels.get("kubernetes.io/service-name"));
    let namespace = slice.metadata.namespace.as_deref().unwrap_or_default();
    service.map(|service| format!("{namespace}/{service}")).into_iter().collect()
}
