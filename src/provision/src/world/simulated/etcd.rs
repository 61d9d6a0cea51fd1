//! The simulated etcd: members with disks, votes and a majority, which refuse to begin twice.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use async_trait::async_trait;
use bytes::Bytes;

use super::{Cluster, Disk, Member, State, World};
use crate::world::etcd::{EtcdError, UNSETTLED};
use crate::world::{EtcdLook, EtcdMember, EtcdMembers};

const MANIFEST: &str = "/etc/kubernetes/manifests/etcd.yaml";
const UNIT: &str = "/etc/systemd/system/etcd.service";

impl Cluster {
    fn list(&self) -> Vec<EtcdMember> {
        let member = |(id, member): (&u64, &Member)| EtcdMember {
            id: *id,
            name: member.name.clone(),
            peer: member.peer.clone(),
            learner: member.learner,
            leader: *id == self.leader,
        };
        self.members.iter().map(member).collect()
    }

    /// What differs between two ways to the same end.
    pub(super) fn forget_history(&mut self) {
        let members = std::mem::take(&mut self.members);
        let mut members: Vec<Member> = members.into_values().collect();
        members.sort_by(|a, b| a.name.cmp(&b.name));
        self.members = (0..).zip(members).collect();
        (self.leader, self.next) = (0, 0);
        self.connected.clear();
        self.founded_as.clear();
    }

    fn voters(&self) -> impl Iterator<Item = (&u64, &Member)> {
        self.members.iter().filter(|(_, member)| !member.learner)
    }
}

impl Disk {
    /// The file that etcd's member is started from, if there is one and it is.
    pub(super) fn etcd_file(&self) -> Option<&Bytes> {
        let stacked = self.files.get(MANIFEST).filter(|_| self.kubelet.is_some());
        let external = || self.files.get(UNIT).filter(|_| self.running.contains_key("etcd"));
        stacked.or_else(external).map(|(_, content)| content)
    }

    /// How a member began stands in its files for ever, and matters only once.
    pub(super) fn forget_how_etcd_began(&mut self) {
        let mask = |content: &mut Bytes| {
            let text = String::from_utf8_lossy(content);
            let lines = text.lines().filter(|line| !line.contains("--initial-cluster"));
            *content = lines.collect::<Vec<_>>().join("\n").into();
        };
        for path in [MANIFEST, UNIT] {
            if let Some((_, content)) = self.files.get_mut(path) {
                mask(content);
            }
        }
        self.running.values_mut().filter_map(|files| files.get_mut(UNIT)).for_each(mask);
    }
}

fn unsettled(via: &str) -> anyhow::Error {
    EtcdError::Refused { machine: via.to_owned(), message: UNSETTLED.to_owned() }.into()
}

impl State {
    /// Every member that can start does; one that would begin a second etcd, or come in where it is not expected, is a
    /// mistake that no test may pass over.
    pub(super) fn start_members(&mut self) -> Result<()> {
        let names: Vec<String> = self.machines.keys().cloned().collect();
        for name in names {
            let Some(machine) = self.machines.get(&name).filter(|machine| machine.on) else { continue };
            let Some(disk) = machine.disk.as_ref().filter(|disk| disk.member.is_none()) else { continue };
            let Some(file) = disk.etcd_file() else { continue };
            let text = String::from_utf8_lossy(file).into_owned();
            let id = self.first_start(&name, &text)?;
            if let Some(disk) = self.machines.get_mut(&name).and_then(|machine| machine.disk.as_mut()) {
                disk.member = Some(id);
            }
        }
        Ok(())
    }

    fn first_start(&mut self, name: &str, text: &str) -> Result<u64> {
        let flag = |flag: &str| {
            let line = text.lines().find_map(|line| line.split_once(&format!("--{flag}=")));
            line.map(|(_, value)| value.trim_end_matches([' ', '\\']).to_owned())
                .with_context(|| format!("no --{flag}"))
        };
        let (list, state, peer) =
            (flag("initial-cluster")?, flag("initial-cluster-state")?, flag("initial-advertise-peer-urls")?);
        let named: Vec<(&str, &str)> = list.split(',').filter_map(|pair| pair.split_once('=')).collect();
        ensure!(named.contains(&(name, peer.as_str())), "{name} is not in its own list {list}");
        match (&mut self.etcd, state.as_str()) {
            (None, "new") => {
                let member = |(name, peer): &(&str, &str)| Member {
                    name: (*name).to_owned(),
                    peer: (*peer).to_owned(),
                    learner: false,
                };
                let members = (1..).zip(named.iter().map(member)).collect();
                let next = u64::try_from(named.len())? + 1;
                let founded_as = list.clone();
                self.etcd = Some(Cluster { founded_as, members, leader: 1, next, ..Cluster::default() });
            }
            (Some(cluster), "new") => {
                assert!(
                    cluster.founded_as == list,
                    "{name} would begin a second etcd: {list}, not {}",
                    cluster.founded_as
                );
            }
            (Some(cluster), "existing") => {
                let known: BTreeSet<&str> = cluster.members.values().map(|member| member.peer.as_str()).collect();
                let listed: BTreeSet<&str> = named.iter().map(|(_, peer)| *peer).collect();
                assert!(known == listed, "{name} joins {listed:?}, and etcd is {known:?}");
            }
            (_, state) => bail!("{name} cannot begin as {state}"),
        }
        let cluster = self.etcd.as_mut().context("etcd")?;
        let own = cluster.members.iter_mut().find(|(_, member)| member.peer == peer);
        let (id, member) = own.with_context(|| format!("etcd does not know {name}"))?;
        name.clone_into(&mut member.name);
        Ok(*id)
    }

    /// Members that run.
    fn live_members(&self) -> BTreeSet<u64> {
        let on = self.machines.values().filter(|machine| machine.on).filter_map(|machine| machine.disk.as_ref());
        on.filter(|disk| disk.etcd_file().is_some()).filter_map(|disk| disk.member).collect()
    }

    /// What etcd keeps, if most voters run.
    pub(super) fn agreed(&mut self) -> Result<&mut Cluster> {
        self.start_members()?;
        let live = self.live_members();
        let cluster = self.etcd.as_mut().context("etcd has not begun")?;
        let (voters, running) =
            (cluster.voters().count(), cluster.voters().filter(|(id, _)| live.contains(id)).count());
        ensure!(running * 2 > voters, "etcd has no leader: {running} of {voters} voters run");
        if !live.contains(&cluster.leader) || cluster.members.get(&cluster.leader).is_none_or(|leader| leader.learner) {
            let leader = cluster.voters().map(|(id, _)| *id).find(|id| live.contains(id));
            cluster.leader = leader.unwrap_or_default();
        }
        Ok(cluster)
    }

    /// How many voters there are, and how many of them the member on `via` has seen for a while, itself among them. Who
    /// runs now has been seen for a while when it is asked again.
    fn connected(&mut self, via: &str) -> Result<(usize, usize)> {
        let live = self.live_members();
        let own = super::host::disk(self, via)?.member;
        let cluster = self.through(via)?;
        let voters: BTreeSet<u64> = cluster.voters().map(|(id, _)| *id).collect();
        let seen = |id: &&u64| Some(**id) == own || (cluster.connected.contains(id) && live.contains(id));
        let connected = voters.iter().filter(seen).count();
        cluster.connected = voters.intersection(&live).copied().collect();
        Ok((voters.len(), connected))
    }

    /// A majority, asked through the member on one machine, which has a vote.
    fn through(&mut self, via: &str) -> Result<&mut Cluster> {
        self.start_members()?;
        let member = super::host::disk(self, via)?.member.with_context(|| format!("{via} runs no member"))?;
        let cluster = self.agreed()?;
        let known = cluster.members.get(&member).with_context(|| format!("the member on {via} was removed"))?;
        ensure!(!known.learner, "rpc not supported for learner");
        Ok(cluster)
    }
}

#[async_trait]
impl EtcdMembers for World {
    async fn members(&self, via: &str) -> Result<Vec<EtcdMember>> {
        self.point(format!("{via}: list the members of etcd"), |state| {
            let list = state.through(via)?.list();
            if state.leaderless > 0 {
                state.leaderless -= 1;
                return Err(EtcdError::Leaderless { machine: via.to_owned() }.into());
            }
            Ok(list)
        })
        .await
    }

    async fn look(&self, machine: &str) -> Result<EtcdLook> {
        self.point(format!("{machine}: look at its member of etcd"), |state| {
            state.start_members()?;
            let id = super::host::disk(state, machine)?.member.with_context(|| format!("{machine} runs no member"))?;
            let leader = state.agreed().map_or(0, |cluster| cluster.leader);
            let cluster = state.etcd.as_ref().context("etcd has not begun")?;
            let own = cluster.members.get(&id).with_context(|| format!("the member on {machine} was removed"))?;
            let members = if own.learner { Vec::new() } else { cluster.list() };
            Ok(EtcdLook { id, version: "simulated".to_owned(), leader, members, ..EtcdLook::default() })
        })
        .await
    }

    fn pause(&self) -> Duration {
        Duration::ZERO
    }

    async fn try_add_learner(&self, via: &str, peer: &str) -> Result<()> {
        self.change(format!("{via}: add a learner to etcd"), |state| {
            let cluster = state.through(via)?;
            ensure!(!cluster.members.values().any(|member| member.peer == peer), "Peer URLs already exists");
            let learners = cluster.members.values().filter(|member| member.learner).count();
            ensure!(learners == 0, "too many learner members in cluster");
            let (voters, connected) = state.connected(via)?;
            if connected < voters {
                return Err(unsettled(via));
            }
            let cluster = state.through(via)?;
            let member = Member { peer: peer.to_owned(), learner: true, ..Member::default() };
            cluster.members.insert(cluster.next, member);
            cluster.next += 1;
            Ok(())
        })
        .await
    }

    async fn promote(&self, via: &str, id: u64) -> Result<()> {
        self.change(format!("{via}: promote a member of etcd"), |state| {
            state.through(via)?;
            let live = state.live_members();
            let cluster = state.through(via)?;
            let member = cluster.members.get_mut(&id).context("member not found")?;
            ensure!(live.contains(&id), "can only promote a learner member which is in sync with leader");
            member.learner = false;
            Ok(())
        })
        .await
    }

    async fn move_leader(&self, via: &str, to: u64) -> Result<()> {
        self.change(format!("{via}: move etcd's leader"), |state| {
            let cluster = state.through(via)?;
            ensure!(cluster.members.get(&to).is_some_and(|member| !member.learner), "bad leader transferee");
            cluster.leader = to;
            Ok(())
        })
        .await
    }

    async fn try_remove(&self, via: &str, id: u64) -> Result<()> {
        self.change(format!("{via}: remove a member of etcd"), |state| {
            state.through(via)?;
            let live = state.live_members();
            let cluster = state.through(via)?;
            let leaver = cluster.members.get(&id).context("member not found")?;
            ensure!(leaver.learner || cluster.voters().count() > 1, "nothing would be left");
            if !leaver.learner && live.contains(&id) {
                let (voters, connected) = state.connected(via)?;
                if connected - 1 < voters.div_ceil(2) {
                    return Err(unsettled(via));
                }
            }
            state.through(via)?.members.remove(&id);
            Ok(())
        })
        .await
    }
}

impl World {
    /// Names of the members with a vote.
    pub(crate) fn voter_names(&self) -> BTreeSet<String> {
        let state = self.state();
        let voters = state.etcd.iter().flat_map(Cluster::voters);
        voters.map(|(_, member)| member.name.clone()).collect()
    }

    /// How many members have no vote.
    pub(crate) fn learners(&self) -> usize {
        self.state().etcd.iter().map(|cluster| cluster.members.len() - cluster.voters().count()).sum()
    }

    /// One of the voters leads from now on.
    pub(crate) fn elect(&self, number: u64) {
        if let Some(cluster) = &mut self.state().etcd {
            let voters: Vec<u64> = cluster.voters().map(|(id, _)| *id).collect();
            let chosen = usize::try_from(number).expect("a small number") % voters.len().max(1);
            cluster.leader = voters.get(chosen).copied().unwrap_or_default();
        }
    }

    /// Members have no leader yet for so many questions.
    pub(crate) fn elect_late(&self, questions: usize) {
        self.state().leaderless = questions;
    }

    /// Somebody lets no new pods onto one of the Nodes.
    pub(crate) fn cordon_any(&self, number: u64) {
        if let Some(cluster) = &mut self.state().etcd {
            let name = cluster.content.nodes.keys().nth(usize::try_from(number).expect("a small number")).cloned();
            cluster.content.cordoned.extend(name);
        }
    }

    /// The member of that name leads from now on.
    pub(crate) fn let_lead(&self, name: &str) {
        let mut state = self.state();
        let cluster = state.etcd.as_mut().expect("etcd has begun");
        let found = cluster.members.iter().find(|(_, member)| member.name == name).map(|(id, _)| *id);
        cluster.leader = found.expect("a member");
    }

    /// Names of the Nodes.
    pub(crate) fn node_names(&self) -> BTreeSet<String> {
        self.state().etcd.iter().flat_map(|cluster| cluster.content.nodes.keys().cloned()).collect()
    }

    /// Names of the machines of which anything is left.
    pub(crate) fn machine_names(&self) -> BTreeSet<String> {
        self.state().machines.keys().cloned().collect()
    }
}
