//! One look at everything: machines, hosts and the API, all at once. Whatever does not answer is a fact too.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, Result};
use futures::future::join_all;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{Api, ListParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use ssh::Script;

use super::host::{self, HostLook};
use crate::context::Context;
use crate::exit::{Exit, classify};
use crate::world::{Power, Survey};

/// How long a machine or the API may take to answer.
const PATIENCE: Duration = Duration::from_secs(8);

/// How long a machine may take to tell everything: `etcdctl` is slow where processors are emulated.
const LIMIT: Duration = Duration::from_secs(30);

/// What was seen, and why the rest was not.
pub(crate) struct Raw {
    pub(super) survey: Result<Survey, String>,
    pub(super) hosts: BTreeMap<String, Result<HostLook, String>>,
    pub(super) api: Result<ApiLook, String>,
}

/// What the API says.
#[derive(Clone, Debug, Default)]
pub(crate) struct ApiLook {
    pub(super) version: String,
    pub(super) ready: bool,
    pub(super) nodes: Vec<Node>,
    /// Those of the system.
    pub(super) pods: Vec<Pod>,
}

/// Looks at everything. Changes nothing, and fails never.
pub(crate) async fn look(context: &Context) -> Raw {
    let survey = context.infrastructure.survey().await.map_err(|error| format!("{error:#}"));
    let known = context.desired.machines.iter().map(|desired| desired.machine.name.clone());
    let mut names: Vec<String> = known.collect();
    if let Ok(survey) = &survey {
        names.extend(survey.machines.keys().cloned());
        // What is off cannot answer.
        names.retain(|name| survey.machines.get(name) == Some(&Power::On));
    }
    names.sort();
    names.dedup();
    if names.is_empty() {
        return Raw { survey, hosts: BTreeMap::new(), api: Err("no machine runs".to_owned()) };
    }
    let hosts = join_all(names.iter().map(|name| look_at_host(context, name)));
    let api = async {
        let answer = tokio::time::timeout(PATIENCE, ask_api(&context.desired.kubeconfig)).await;
        answer.map_err(|_| format!("it does not answer within {PATIENCE:?}"))?.map_err(|error| format!("{error:#}"))
    };
    let (hosts, api) = tokio::join!(hosts, api);
    Raw { survey, hosts: names.into_iter().zip(hosts).collect(), api }
}

async fn look_at_host(context: &Context, name: &str) -> Result<HostLook, String> {
    if !context.host_key_known(name) {
        return Err("it has not told its SSH host key yet".to_owned());
    }
    let script = Script::new(host::script()).with_limit(LIMIT);
    let output = async { anyhow::Ok(context.hosts.connect(name, PATIENCE).await?.run(&script).await?) };
    match output.await {
        Ok(output) => Ok(host::parse(&output.text())),
        Err(error) if classify(&error) == Exit::Identity => Err(format!("it is not who it should be: {error:#}")),
        Err(error) => Err(format!("{error:#}")),
    }
}

async fn ask_api(kubeconfig: &str) -> Result<ApiLook> {
    let client = client(kubeconfig).await?;
    let version = client.apiserver_version().await?.git_version;
    let request = http::Request::get("/readyz").body(Vec::new()).context("a constant request")?;
    let ready = client.request_text(request).await.is_ok();
    let nodes: Api<Node> = Api::all(client.clone());
    let pods: Api<Pod> = Api::namespaced(client, "kube-system");
    let everything = ListParams::default();
    let (nodes, pods) = tokio::try_join!(nodes.list(&everything), pods.list(&everything))?;
    Ok(ApiLook { version, ready, nodes: nodes.items, pods: pods.items })
}

/// A client with the rights of the administrator.
pub(crate) async fn client(kubeconfig: &str) -> Result<kube::Client> {
    let kubeconfig = Kubeconfig::from_yaml(kubeconfig).context("the cluster's kubeconfig cannot be read")?;
    let config = kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await;
    kube::Client::try_from(config.context("the cluster's kubeconfig cannot be used")?)
        .context("cannot make an API client")
}
