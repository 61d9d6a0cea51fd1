//! The list of controllers: the story of this program.

mod certificate_approver;
mod certificate_cleaner;
mod certificate_signer;
mod clusterrole_aggregation;
mod cronjob;
mod daemonset;
mod deployment;
mod disruption;
mod endpointslice;
mod endpointslice_mirroring;
mod garbage_collector;
mod job;
mod namespace;
mod node_ipam;
mod node_lifecycle;
mod pod_garbage_collector;
mod replicaset;
mod resourcequota;
mod root_ca;
mod service_cidr;
mod serviceaccount;
mod statefulset;
mod storage_protection;
mod taint_eviction;
mod token_cleaner;

use std::sync::Arc;

use controller_runtime::Recorder;
use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::identity::Identities;
use crate::kinds::Kinds;
use crate::scope::Scope;
use crate::stores::Stores;

pub(crate) use namespace::is_terminating;

/// One controller.
pub struct Controller {
    /// Name, as in `--controllers`.
    pub name: &'static str,
    /// Other name in use for it.
    alias: &'static str,
    /// Service account it acts as.
    account: &'static str,
    /// Whether `*` includes it.
    by_default: bool,
    run: fn(Scope) -> BoxFuture<'static, ()>,
}

const fn row(
    name: &'static str,
    alias: &'static str,
    account: &'static str,
    run: fn(Scope) -> BoxFuture<'static, ()>,
) -> Controller {
    Controller { name, alias, account, by_default: true, run }
}

/// All controllers. A new one is a file, a line here and a test.
pub const CONTROLLERS: &[Controller] = &[
    row("serviceaccount-controller", "serviceaccount", "service-account-controller", |scope| {
        serviceaccount::run(scope).boxed()
    }),
    row("root-ca-certificate-publisher-controller", "root-ca-cert-publisher", "root-ca-cert-publisher", |scope| {
        root_ca::run(scope).boxed()
    }),
    row("namespace-controller", "namespace", "namespace-controller", |scope| namespace::run(scope).boxed()),
    row("garbage-collector-controller", "garbagecollector", "generic-garbage-collector", |scope| {
        garbage_collector::run(scope).boxed()
    }),
    row("node-ipam-controller", "nodeipam", "node-controller", |scope| node_ipam::run(scope).boxed()),
    row("node-lifecycle-controller", "nodelifecycle", "node-controller", |scope| node_lifecycle::run(scope).boxed()),
    row("taint-eviction-controller", "taint-eviction", "node-controller", |scope| taint_eviction::run(scope).boxed()),
    row("deployment-controller", "deployment", "deployment-controller", |scope| deployment::run(scope).boxed()),
    row("replicaset-controller", "replicaset", "replicaset-controller", |scope| replicaset::run(scope).boxed()),
    row("statefulset-controller", "statefulset", "statefulset-controller", |scope| statefulset::run(scope).boxed()),
    row("daemonset-controller", "daemonset", "daemon-set-controller", |scope| daemonset::run(scope).boxed()),
    row("job-controller", "job", "job-controller", |scope| job::run(scope).boxed()),
    row("cronjob-controller", "cronjob", "cronjob-controller", |scope| cronjob::run(scope).boxed()),
    row("ttl-after-finished-controller", "ttl-after-finished", "ttl-after-finished-controller", |scope| {
        job::run_ttl(scope).boxed()
    }),
    row("disruption-controller", "disruption", "disruption-controller", |scope| disruption::run(scope).boxed()),
    row("endpointslice-controller", "endpointslice", "endpointslice-controller", |scope| {
        endpointslice::run(scope).boxed()
    }),
    row("endpointslice-mirroring-controller", "endpointslicemirroring", "endpointslicemirroring-controller", |scope| {
        endpointslice_mirroring::run(scope).boxed()
    }),
    row("service-cidr-controller", "service-cidr", "service-cidrs-controller", |scope| {
        service_cidr::run(scope).boxed()
    }),
    row("persistentvolumeclaim-protection-controller", "pvc-protection", "pvc-protection-controller", |scope| {
        storage_protection::run_claims(scope).boxed()
    }),
    row("persistentvolume-protection-controller", "pv-protection", "pv-protection-controller", |scope| {
        storage_protection::run_volumes(scope).boxed()
    }),
    row("resourcequota-controller", "resourcequota", "resourcequota-controller", |scope| {
        resourcequota::run(scope).boxed()
    }),
    row("pod-garbage-collector-controller", "podgc", "pod-garbage-collector", |scope| {
        pod_garbage_collector::run(scope).boxed()
    }),
    row("certificatesigningrequest-approving-controller", "csrapproving", "certificate-controller", |scope| {
        certificate_approver::run(scope).boxed()
    }),
    row("certificatesigningrequest-signing-controller", "csrsigning", "certificate-controller", |scope| {
        certificate_signer::run(scope).boxed()
    }),
    row("certificatesigningrequest-cleaner-controller", "csrcleaner", "certificate-controller", |scope| {
        certificate_cleaner::run(scope).boxed()
    }),
    row(
        "clusterrole-aggregation-controller",
        "clusterrole-aggregation",
        "clusterrole-aggregation-controller",
        |scope| clusterrole_aggregation::run(scope).boxed(),
    ),
    Controller {
        by_default: false,
        ..row("token-cleaner-controller", "tokencleaner", "token-cleaner", |scope| token_cleaner::run(scope).boxed())
    },
];

/// Runs the chosen controllers until the token is cancelled.
pub(crate) async fn run(config: Arc<Config>, identities: Identities, stores: Stores, token: CancellationToken) {
    let mut running = JoinSet::new();
    let objects = identities.metadata().unwrap_or_else(|error| {
        tracing::warn!(%error, "whole objects are watched where metadata would do");
        identities.own.clone()
    });
    let kinds = Kinds::new((identities.own.clone(), objects), token.clone());
    for controller in CONTROLLERS.iter().filter(|controller| chosen(controller, &config.controllers)) {
        let seen = (stores.clone(), kinds.clone());
        running.spawn(start(controller, Arc::clone(&config), identities.clone(), (seen, token.clone())));
    }
    // Even with no controller at all the program leads until it is told to stop.
    token.cancelled().await;
    while running.join_next().await.is_some() {}
}

async fn start(
    controller: &'static Controller,
    config: Arc<Config>,
    identities: Identities,
    ((stores, kinds), token): ((Stores, Kinds), CancellationToken),
) {
    let client = tokio::select! {
        () = token.cancelled() => return,
        client = client_for(controller, &config, &identities) => client,
    };
    match client {
        Ok(client) => {
            let recorder = Recorder::new(client.clone(), controller.name, "");
            let scope = Scope { client, reader: identities.own, stores, kinds, recorder, config, token };
            tracing::debug!(controller = controller.name, "starting");
            (controller.run)(scope).await;
        }
        Err(error) => tracing::error!(controller = controller.name, %error, "cannot start"),
    }
}

async fn client_for(
    controller: &Controller,
    config: &Config,
    identities: &Identities,
) -> Result<kube::Client, component_base::client::ClientError> {
    if config.own_accounts { identities.client(controller.account).await } else { Ok(identities.own.clone()) }
}

/// Upstream's rules: a name chooses, `-name` refuses, `*` chooses what runs by default.
fn chosen(controller: &Controller, wanted: &[String]) -> bool {
    let names = [controller.name, controller.alias];
    for word in wanted {
        if names.contains(&word.as_str()) {
            return true;
        }
        if word.strip_prefix('-').is_some_and(|word| names.contains(&word)) {
            return false;
        }
    }
    controller.by_default && wanted.iter().any(|word| word == "*")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen_names(wanted: &[&str]) -> Vec<&'static str> {
        let wanted: Vec<String> = wanted.iter().map(|word| (*word).to_owned()).collect();
        CONTROLLERS.iter().filter(|controller| chosen(controller, &wanted)).map(|controller| controller.alias).collect()
    }

    #[test]
    fn a_star_chooses_what_runs_by_default() {
        assert!(chosen_names(&["*"]).contains(&"deployment"));
        assert!(!chosen_names(&["*"]).contains(&"tokencleaner"));
        assert!(chosen_names(&["*", "tokencleaner"]).contains(&"tokencleaner"));
    }

    /// A controller that is lost breaks clusters without a word, so what upstream runs and we have is written down here.
    #[test]
    fn no_controller_is_lost() {
        let upstream = "clusterrole-aggregation cronjob csrapproving csrcleaner csrsigning daemonset deployment disruption \
            endpointslice endpointslicemirroring garbagecollector job namespace nodeipam nodelifecycle podgc pv-protection \
            pvc-protection replicaset resourcequota root-ca-cert-publisher service-cidr serviceaccount statefulset \
            taint-eviction ttl-after-finished";
        let mut ours = chosen_names(&["*"]);
        ours.sort_unstable();
        assert_eq!(ours, upstream.split_whitespace().collect::<Vec<_>>());
    }

    #[test]
    fn a_minus_refuses_and_a_name_alone_is_alone() {
        assert!(!chosen_names(&["*", "-deployment-controller"]).contains(&"deployment"));
        assert_eq!(chosen_names(&["replicaset"]), ["replicaset"]);
    }
}
