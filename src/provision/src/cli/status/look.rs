//! One look at everything: machines, hosts, etcd's members and the API, all at once. Whatever does not answer is a fact too.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use anyhow::{Context as _, Result};
use futures::future::join_all;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{Api, ListParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use ssh::Script;
use tokio::time::{Instant, timeout_at};

use super::host::{self, HostLook};
use crate::context::Context;
use crate::exit::{Exit, classify};
use crate::world::etcd::EtcdError;
use crate::world::{EtcdLook, Power, Survey};

/// How long a machine may take to let us in.
const PATIENCE: Duration = Duration::from_secs(8);

/// How long a machine, its member of etcd or the API may take to tell everything. Several at once are slow where processors
/// are emulated.
const LIMIT: Duration = Duration::from_secs(20);

/// What was seen, and why the rest was not.
pub(crate) struct Raw {
    pub(super) survey: Result<Survey, String>,
    pub(super) hosts: BTreeMap<String, Result<HostLook, Unseen>>,
    /// What the members of etcd say, by their machines.
    pub(super) etcd: BTreeMap<String, Result<EtcdLook, Unseen>>,
    pub(super) api: Result<ApiLook, Unseen>,
}

/// Why something was not seen.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Unseen {
    /// It took too long to tell, and may be well.
    Late(String),
    /// It is not there, or does not talk to us.
    Failed(String),
}

/// What the API says.
#[derive(Clone, Debug)]
pub(crate) struct ApiLook {
    pub(super) version: String,
    /// Whether it is ready.
    pub(super) ready: Result<bool, Unseen>,
    pub(super) objects: Result<Objects, Unseen>,
}

/// What the API knows.
#[derive(Clone, Debug, Default)]
pub(crate) struct Objects {
    pub(super) nodes: Vec<Node>,
    /// Those of the system.
    pub(super) pods: Vec<Pod>,
}

impl Unseen {
    /// What to show in place of what was not seen, if `failed` is what it is when it is not there.
    pub(super) fn word(&self, failed: &'static str) -> &'static str {
        match self {
            Self::Late(_) => "unknown",
            Self::Failed(_) => failed,
        }
    }

    fn late() -> Self {
        Self::Late(format!("no answer within {LIMIT:?}"))
    }
}

impl From<anyhow::Error> for Unseen {
    fn from(error: anyhow::Error) -> Self {
        let late = matches!(error.downcast_ref(), Some(EtcdError::Late { .. }))
            || matches!(error.downcast_ref(), Some(ssh::SshError::TimedOut { .. }));
        let why = format!("{error:#}");
        match (late, classify(&error)) {
            (true, _) => Self::Late(why),
            (false, Exit::Identity) => Self::Failed(format!("it is not who it should be: {why}")),
            _ => Self::Failed(why),
        }
    }
}

impl fmt::Display for Unseen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::Late(why) | Self::Failed(why)) = self;
        f.write_str(why)
    }
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
        let api = Err(Unseen::Failed("no machine runs".to_owned()));
        return Raw { survey, hosts: BTreeMap::new(), etcd: BTreeMap::new(), api };
    }
    let members: Vec<String> = names.iter().filter(|name| has_member(context, name)).cloned().collect();
    let hosts = join_all(names.iter().map(|name| look_at_host(context, name)));
    let etcd = join_all(members.iter().map(|name| look_at_member(context, name)));
    let api = look_at_api(&context.desired.kubeconfig);
    let (hosts, etcd, api) = tokio::join!(hosts, etcd, api);
    Raw { survey, hosts: names.into_iter().zip(hosts).collect(), etcd: members.into_iter().zip(etcd).collect(), api }
}

/// Whether a member of etcd is at home on this machine, also if nobody asks for it any more.
fn has_member(context: &Context, name: &str) -> bool {
    let desired = &context.desired;
    let leaves = |leaver: &crate::desired::Leaver| leaver.name == name && desired.topology.has_etcd(&leaver.role);
    desired.etcd().iter().any(|member| member == name) || desired.leavers.iter().any(leaves)
}

async fn look_at_host(context: &Context, name: &str) -> Result<HostLook, Unseen> {
    if !context.host_key_known(name) {
        return Err(Unseen::Failed("it has not told its SSH host key yet".to_owned()));
    }
    let script = Script::new(host::script()).with_limit(LIMIT);
    let output = async { anyhow::Ok(context.hosts.connect(name, PATIENCE).await?.run(&script).await?) };
    Ok(host::parse(&output.await?.text()))
}

async fn look_at_member(context: &Context, name: &str) -> Result<EtcdLook, Unseen> {
    Ok(tokio::time::timeout(LIMIT, context.etcd.look(name)).await.map_err(|_| Unseen::late())??)
}

async fn look_at_api(kubeconfig: &str) -> Result<ApiLook, Unseen> {
    let client = client(kubeconfig).await?;
    let deadline = Instant::now() + LIMIT;
    let late = |_| Unseen::late();
    let version = timeout_at(deadline, client.apiserver_version()).await.map_err(late)?;
    let version = version.map_err(|error| Unseen::from(anyhow::Error::from(error)))?.git_version;
    let request = http::Request::get("/readyz").body(Vec::new()).context("a constant request")?;
    let ready = match timeout_at(deadline, client.request_text(request)).await.map_err(late) {
        Ok(Ok(_)) => Ok(true),
        // It was asked, and this is its answer.
        Ok(Err(kube::Error::Api(_))) => Ok(false),
        Ok(Err(error)) => Err(Unseen::from(anyhow::Error::from(error))),
        Err(late) => Err(late),
    };
    let nodes: Api<Node> = Api::all(client.clone());
    let pods: Api<Pod> = Api::namespaced(client, "kube-system");
    let everything = ListParams::default();
    let lists = async { tokio::try_join!(nodes.list(&everything), pods.list(&everything)) };
    let objects = match timeout_at(deadline, lists).await.map_err(late) {
        Ok(Ok((nodes, pods))) => Ok(Objects { nodes: nodes.items, pods: pods.items }),
        Ok(Err(error)) => Err(Unseen::from(anyhow::Error::from(error))),
        Err(late) => Err(late),
    };
    Ok(ApiLook { version, ready, objects })
}

/// A client with the rights of the administrator.
pub(crate) async fn client(kubeconfig: &str) -> Result<kube::Client> {
    let kubeconfig = Kubeconfig::from_yaml(kubeconfig).context("the cluster's kubeconfig cannot be read")?;
    let config = kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await;
    kube::Client::try_from(config.context("the cluster's kubeconfig cannot be used")?)
        .context("cannot make an API client")
}
