//! The members of etcd, each asked by its own machine over HTTPS with a certificate that is made for the occasion.

mod gateway;
mod settle;

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use async_trait::async_trait;
use pki::CertificateAuthority;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};

use self::gateway::{Gateway, Patience};
pub(super) use self::settle::until_settled;
use super::{EtcdLook, EtcdMember, EtcdMembers, Infrastructure};

/// Who works with a member tries again for a while: its machine may be busy, or it may be starting. Etcd gives up by itself
/// after 5 s and two elections, which is 15 s where machines are emulated, and then says why.
const WORK: Patience = Patience { connect: Duration::from_secs(10), answer: Duration::from_secs(20) };
/// Who only looks sees a member that is not there.
const GLANCE: Patience = Patience { connect: Duration::ZERO, ..WORK };
/// How long a learner may take to catch up.
const CATCH_UP: Duration = Duration::from_mins(5);
/// Between two times that etcd is asked for the same: it has no event for what it waits for.
pub(super) const RETRY: Duration = Duration::from_millis(100);

/// Etcd's words for voters that are not, or not for long enough, connected.
pub(super) const UNSETTLED: &str = "etcdserver: unhealthy cluster";

const LIST: &str = "/v3/cluster/member/list";
const ADD: &str = "/v3/cluster/member/add";
const PROMOTE: &str = "/v3/cluster/member/promote";
const REMOVE: &str = "/v3/cluster/member/remove";
const STATUS: &str = "/v3/maintenance/status";
const TRANSFER: &str = "/v3/maintenance/transfer-leadership";

/// Members reached through their machines.
pub struct GatewayMembers {
    infrastructure: Arc<dyn Infrastructure>,
    authority: CertificateAuthority,
}

/// Why a member gave no answer that can be used; every variant names its machine.
#[derive(Debug, thiserror::Error)]
pub enum EtcdError {
    /// There is no connection, or it broke.
    #[error("no connection to etcd on {machine}: {why}")]
    Unreachable {
        /// The machine.
        machine: String,
        /// What stood in the way.
        why: String,
    },
    /// Its certificate is not that of the machine's member, or ours is not good enough for it.
    #[error("etcd on {machine} and this host do not accept each other's certificates")]
    Stranger {
        /// The machine.
        machine: String,
        /// Who refused whom, and why.
        source: rustls::Error,
    },
    /// It may yet do what it was asked to.
    #[error("etcd on {machine} does not answer within {limit:?}")]
    Late {
        /// The machine.
        machine: String,
        /// The limit.
        limit: Duration,
    },
    /// It answered, and the answer is no.
    #[error("etcd on {machine} refuses: {message}")]
    Refused {
        /// The machine.
        machine: String,
        /// Etcd's words.
        message: String,
    },
    /// What it says may be long past.
    #[error("etcd on {machine} sees no leader")]
    Leaderless {
        /// The machine.
        machine: String,
    },
    /// It answered something else than etcd does.
    #[error("etcd on {machine} gave an answer that cannot be read")]
    Garbled {
        /// The machine.
        machine: String,
        /// Where the answer goes wrong.
        source: serde_json::Error,
    },
}

impl EtcdError {
    /// What to do about it, where that is known.
    pub fn cure(&self) -> Option<String> {
        match self {
            Self::Unreachable { machine, .. } | Self::Late { machine, .. } => {
                Some(format!("`provision logs {machine} etcd` tells whether its member runs"))
            }
            Self::Stranger { machine, .. } => Some(format!(
                "compare the clock of {machine} with this host's; if both are right, find out who answers, or whether \
                 pki/etcd in the state directory is another cluster's"
            )),
            Self::Leaderless { .. } => Some("start the members that do not run: a majority must".to_owned()),
            Self::Refused { message, .. } if message.contains("not enough started members") => {
                Some("start the members that do not run, then try again".to_owned())
            }
            Self::Refused { .. } if self.is_unsettled() => Some(
                "etcd lets members come and go only while every voter has been connected to the others for 5 s: start \
                 those that do not run, look at the network between their machines, then try again"
                    .to_owned(),
            ),
            Self::Refused { .. } | Self::Garbled { .. } => None,
        }
    }

    /// The learner needs more time, or has not even started.
    fn is_behind(&self) -> bool {
        let Self::Refused { message, .. } = self else { return false };
        self.is_unsettled() || ["in sync with leader", "learner is not ready"].iter().any(|why| message.contains(why))
    }

    /// Some voter is not connected, or has not been for long enough.
    fn is_unsettled(&self) -> bool {
        matches!(self, Self::Refused { message, .. } if message.contains(UNSETTLED))
    }
}

#[derive(Deserialize)]
struct Listed {
    #[serde(default)]
    members: Vec<ListedMember>,
}

#[derive(Deserialize)]
struct ListedMember {
    #[serde(rename = "ID", default, deserialize_with = "number")]
    id: u64,
    #[serde(default)]
    name: String,
    #[serde(rename = "peerURLs", default)]
    peers: Vec<String>,
    #[serde(rename = "isLearner", default)]
    learner: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Status {
    header: Header,
    #[serde(default)]
    version: String,
    #[serde(default, deserialize_with = "number")]
    leader: u64,
    #[serde(default, deserialize_with = "number")]
    db_size: u64,
    #[serde(default)]
    is_learner: bool,
    #[serde(default)]
    errors: Vec<String>,
}

#[derive(Deserialize)]
struct Header {
    #[serde(deserialize_with = "number")]
    member_id: u64,
}

/// A 64-bit number as protobuf's JSON has it.
fn number<'de, D: Deserializer<'de>>(json: D) -> Result<u64, D::Error> {
    String::deserialize(json)?.parse().map_err(D::Error::custom)
}

impl Listed {
    fn members(self, leader: u64) -> Vec<EtcdMember> {
        let member = |listed: ListedMember| EtcdMember {
            leader: listed.id == leader,
            id: listed.id,
            name: listed.name,
            peer: listed.peers.into_iter().next().unwrap_or_default(),
            learner: listed.learner,
        };
        self.members.into_iter().map(member).collect()
    }
}

impl GatewayMembers {
    /// `authority` is etcd's. Connects only when asked something.
    pub fn new(infrastructure: Arc<dyn Infrastructure>, authority: CertificateAuthority) -> Self {
        Self { infrastructure, authority }
    }

    fn gateway(&self, machine: &str, patience: Patience) -> Result<Gateway> {
        Gateway::new(machine, &self.infrastructure, &self.authority, patience)
    }

    async fn order(&self, via: &str, path: &'static str, order: &Value) -> Result<()> {
        self.gateway(via, WORK)?.ask::<Value>(path, order).await?;
        Ok(())
    }
}

#[async_trait]
impl EtcdMembers for GatewayMembers {
    async fn members(&self, via: &str) -> Result<Vec<EtcdMember>> {
        let gateway = self.gateway(via, WORK)?;
        // Without a leader, a list that is certain would be waited for in vain.
        let status: Status = gateway.ask(STATUS, &json!({})).await?;
        if status.leader == 0 {
            return Err(EtcdError::Leaderless { machine: via.to_owned() }.into());
        }
        let listed: Listed = gateway.ask(LIST, &json!({ "linearizable": true })).await?;
        Ok(listed.members(status.leader))
    }

    async fn look(&self, machine: &str) -> Result<EtcdLook> {
        let gateway = self.gateway(machine, GLANCE)?;
        let status: Status = gateway.ask(STATUS, &json!({})).await?;
        let members = if status.is_learner {
            // Etcd lets learners answer nothing else.
            Vec::new()
        } else {
            gateway.ask::<Listed>(LIST, &json!({ "linearizable": false })).await?.members(status.leader)
        };
        Ok(EtcdLook {
            id: status.header.member_id,
            version: status.version,
            leader: status.leader,
            bytes: status.db_size,
            complaints: status.errors,
            members,
        })
    }

    async fn try_add_learner(&self, via: &str, peer: &str) -> Result<()> {
        self.order(via, ADD, &json!({ "peerURLs": [peer], "isLearner": true })).await
    }

    async fn promote(&self, via: &str, id: u64) -> Result<()> {
        let gateway = self.gateway(via, WORK)?;
        let order = json!({ "ID": id.to_string() });
        let promote = async {
            loop {
                match gateway.ask::<Value>(PROMOTE, &order).await {
                    Ok(_) => return Ok(()),
                    Err(error) if error.is_behind() => tokio::time::sleep(RETRY).await,
                    Err(error) => return Err(error),
                }
            }
        };
        let waited = tokio::time::timeout(CATCH_UP, promote).await;
        Ok(waited.with_context(|| format!("the learner {id:x} did not catch up within {CATCH_UP:?}"))??)
    }

    async fn move_leader(&self, via: &str, to: u64) -> Result<()> {
        self.order(via, TRANSFER, &json!({ "targetID": to.to_string() })).await
    }

    async fn try_remove(&self, via: &str, id: u64) -> Result<()> {
        self.order(via, REMOVE, &json!({ "ID": id.to_string() })).await
    }
}

#[cfg(test)]
mod tests;
