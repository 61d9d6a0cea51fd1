//! The members of etcd, through `etcdctl` on the machine of a member: its certificates are there and nowhere else.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use async_trait::async_trait;
use serde::Deserialize;
use ssh::Script;

use super::{EtcdMember, EtcdMembers, Hosts};

/// How long a host that has been reached before may take to let us in again.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long a learner may take to catch up.
const CATCH_UP: Duration = Duration::from_mins(5);
/// How often a learner is looked at: etcd has no event for it.
const RETRY: Duration = Duration::from_millis(200);
const PKI: &str = "/etc/kubernetes/pki/etcd";

/// Members reached over SSH.
pub struct EtcdctlMembers {
    hosts: Arc<dyn Hosts>,
}

#[derive(Deserialize)]
struct Listed {
    #[serde(default)]
    members: Vec<ListedMember>,
}

#[derive(Deserialize)]
struct ListedMember {
    #[serde(rename = "ID")]
    id: u64,
    #[serde(default)]
    name: String,
    #[serde(rename = "peerURLs", default)]
    peers: Vec<String>,
    #[serde(rename = "isLearner", default)]
    learner: bool,
}

#[derive(Deserialize)]
struct Endpoint {
    #[serde(rename = "Status")]
    status: Status,
}

#[derive(Deserialize)]
struct Status {
    #[serde(default)]
    leader: u64,
}

impl EtcdctlMembers {
    /// Connects only when asked something.
    pub fn new(hosts: Arc<dyn Hosts>) -> Self {
        Self { hosts }
    }

    async fn etcdctl(&self, via: &str, command: &str) -> Result<String> {
        let host = self.hosts.connect(via, PATIENCE).await?;
        // Go starts slowly on an emulated machine, and a member without a leader answers late.
        let script = format!(
            "etcdctl() {{ command etcdctl --endpoints=https://127.0.0.1:2379 --cacert={PKI}/ca.crt \
             --cert={PKI}/healthcheck-client.crt --key={PKI}/healthcheck-client.key --dial-timeout=5s \
             --command-timeout=10s \"$@\"; }}\n{command}"
        );
        Ok(host.run(&Script::new(script)).await?.text())
    }
}

#[async_trait]
impl EtcdMembers for EtcdctlMembers {
    async fn members(&self, via: &str) -> Result<Vec<EtcdMember>> {
        let text = self.etcdctl(via, "etcdctl member list -w json\necho\netcdctl endpoint status -w json").await?;
        parse(&text).with_context(|| format!("etcd on {via} gave an answer that cannot be read"))
    }

    async fn add_learner(&self, via: &str, peer: &str) -> Result<()> {
        // The name is the machine's own to tell; the one given here is not kept.
        let command = format!("etcdctl member add joining --learner --peer-urls={} >/dev/null", ssh::quote(peer));
        self.etcdctl(via, &command).await.map(drop)
    }

    async fn promote(&self, via: &str, id: u64) -> Result<()> {
        let promote = async {
            loop {
                match self.etcdctl(via, &format!("etcdctl member promote {id:x} >/dev/null")).await {
                    Ok(_) => return Ok(()),
                    Err(error) if behind(&error) => tokio::time::sleep(RETRY).await,
                    Err(error) => return Err(error),
                }
            }
        };
        let waited = tokio::time::timeout(CATCH_UP, promote).await;
        waited.with_context(|| format!("the learner {id:x} did not catch up within {CATCH_UP:?}"))?
    }

    async fn move_leader(&self, via: &str, to: u64) -> Result<()> {
        self.etcdctl(via, &format!("etcdctl move-leader {to:x} >/dev/null")).await.map(drop)
    }

    async fn remove(&self, via: &str, id: u64) -> Result<()> {
        self.etcdctl(via, &format!("etcdctl member remove {id:x} >/dev/null")).await.map(drop)
    }
}

/// The learner needs more time, or has not even started.
fn behind(error: &anyhow::Error) -> bool {
    let text = format!("{error:#}");
    text.contains("in sync with leader") || text.contains("learner is not ready") || text.contains("unhealthy cluster")
}

fn parse(text: &str) -> Result<Vec<EtcdMember>> {
    let mut lines = text.lines().filter(|line| !line.trim().is_empty());
    let listed: Listed = serde_json::from_str(lines.next().context("no list of members")?)?;
    let endpoints: Vec<Endpoint> = serde_json::from_str(lines.next().context("no status")?)?;
    let leader = endpoints.first().map_or(0, |endpoint| endpoint.status.leader);
    if leader == 0 {
        bail!("there is no leader");
    }
    let members = listed.members.into_iter().map(|member| EtcdMember {
        leader: member.id == leader,
        id: member.id,
        name: member.name,
        peer: member.peers.into_iter().next().unwrap_or_default(),
        learner: member.learner,
    });
    Ok(members.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: &str = r#"{"header":{"cluster_id":1,"member_id":2,"raft_term":2},"members":[
{"ID":10276657743932975437,"name":"demo-control-plane-1","peerURLs":["https://10.80.0.10:2380"],"clientURLs":["https://10.80.0.10:2379"]},
{"ID":9,"peerURLs":["https://10.80.0.11:2380"],"isLearner":true}]}"#;

    #[test]
    fn members_are_told_apart_by_what_they_may_do() {
        let status = r#"[{"Endpoint":"https://127.0.0.1:2379","Status":{"leader":10276657743932975437,"raftTerm":2}}]"#;
        let members = parse(&format!("{}\n\n{status}\n", LIST.replace('\n', ""))).unwrap();
        let short: Vec<_> = members.iter().map(|it| (it.id, it.name.as_str(), it.learner, it.leader)).collect();
        assert_eq!(short, [(10_276_657_743_932_975_437, "demo-control-plane-1", false, true), (9, "", true, false)]);
        assert_eq!(members[1].peer, "https://10.80.0.11:2380");
    }

    #[test]
    fn a_member_without_a_leader_is_not_believed() {
        let status = r#"[{"Endpoint":"x","Status":{"raftTerm":2}}]"#;
        let error = parse(&format!("{}\n{status}", LIST.replace('\n', ""))).unwrap_err();
        assert!(error.to_string().contains("no leader"), "{error:#}");
        assert!(parse("").is_err() && parse("{}").is_err());
    }

    #[test]
    fn a_learner_that_is_behind_is_waited_for_and_other_errors_are_not() {
        assert!(behind(&anyhow::anyhow!("etcdserver: can only promote a learner member which is in sync with leader")));
        assert!(!behind(&anyhow::anyhow!("etcdserver: member not found")));
    }
}
