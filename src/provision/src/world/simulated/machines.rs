//! The simulated hypervisor; its steps are those of the libvirt side, in the same order.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use async_trait::async_trait;

use super::{Disk, Machine, World};
use crate::image::ContainerPrograms;
use crate::world::{Infrastructure, Power, Report, Stream, Survey};

const SEED: &str = "seed";
const LOG: &str = "log";

/// One of the last changes to a machine.
type Taking = (&'static str, fn(&mut Machine));

/// What is left of a machine that is no longer defined, in the order in which it goes.
const LEFT: [Taking; 4] = [
    ("take its address back", |machine| machine.promised = false),
    ("remove the disk", |machine| machine.disk = None),
    ("remove the seed", |machine| machine.files.retain(|end| *end != SEED)),
    ("remove the log", |machine| machine.files.retain(|end| *end != LOG)),
];

#[async_trait]
impl Infrastructure for World {
    async fn preflight(&self) -> Result<()> {
        Ok(())
    }

    async fn survey(&self) -> Result<Survey> {
        self.point("look at the machines", |state| {
            let defined = state.machines.iter().filter(|(_, machine)| machine.defined);
            let power = |on| if on { Power::On } else { Power::Off };
            Ok(Survey {
                image: state.image,
                stocked: self.release().is_none_or(|(release, _)| state.stocked.as_ref() == Some(&release)),
                network: state.network,
                machines: defined.map(|(name, machine)| (name.clone(), power(machine.on))).collect(),
            })
        })
        .await
    }

    async fn prepare_image(&self, report: Report<'_>) -> Result<()> {
        report("[1/1] simulate".to_owned());
        self.change("image: build", |state| {
            state.image = true;
            Ok(())
        })
        .await?;
        let Some((release, true)) = self.release() else { return Ok(()) };
        self.change("image: put the components in place", |state| {
            state.stocked = Some(release);
            Ok(())
        })
        .await
    }

    async fn create_network(&self) -> Result<()> {
        self.change("network: forward the API's port", |state| {
            state.forward = true;
            Ok(())
        })
        .await?;
        self.change("network: start", |state| {
            state.network = true;
            Ok(())
        })
        .await
    }

    async fn create_machine(&self, name: &str) -> Result<()> {
        self.change(format!("{name}: promise its address"), |state| {
            ensure!(state.network, "{name} was promised an address before there was a network");
            state.machines.entry(name.to_owned()).or_default().promised = true;
            Ok(())
        })
        .await?;
        self.change(format!("{name}: make the disk"), |state| {
            ensure!(state.image, "{name} was made before its image");
            let machine = state.machines.entry(name.to_owned()).or_default();
            if machine.disk.is_none() {
                state.disks_made += 1;
                let host_key = host_key(existed(name).unwrap_or(state.disks_made));
                machine.disk = Some(Disk { host_key, ..Disk::carrying(state.stocked.as_deref()) });
            }
            Ok(())
        })
        .await?;
        self.change(format!("{name}: make the seed"), |state| {
            state.machines.entry(name.to_owned()).or_default().files.insert(SEED);
            Ok(())
        })
        .await?;
        self.change(format!("{name}: define"), |state| {
            let machine = state.machines.entry(name.to_owned()).or_default();
            // One that exists already runs when it is claimed.
            (machine.defined, machine.on) = (true, machine.on || existed(name).is_some());
            machine.files.extend(machine.on.then_some(LOG));
            Ok(())
        })
        .await?;
        self.switch_on(name).await
    }

    async fn stop_machine(&self, name: &str, _: Duration) -> Result<()> {
        self.point(format!("{name}: ask it to shut down"), |_| Ok(())).await?;
        self.change(format!("{name}: power off"), |state| {
            if let Some(machine) = state.machines.get_mut(name) {
                machine.power_off();
            }
            Ok(())
        })
        .await
    }

    async fn start_machine(&self, name: &str) -> Result<()> {
        self.change(format!("{name}: define"), |state| {
            let machine = state.machines.get_mut(name).filter(|machine| machine.disk.is_some());
            machine.context("there is no machine to switch on")?.defined = true;
            Ok(())
        })
        .await?;
        self.switch_on(name).await
    }

    async fn remove_machine(&self, name: &str) -> Result<()> {
        self.change(format!("{name}: undefine"), |state| {
            if let Some(machine) = state.machines.get_mut(name) {
                (machine.defined, machine.on) = (false, false);
            }
            Ok(())
        })
        .await?;
        for (what, take) in LEFT {
            self.change(format!("{name}: {what}"), |state| {
                if let Some(machine) = state.machines.get_mut(name) {
                    take(machine);
                    if *machine == Machine::default() {
                        state.machines.remove(name);
                    }
                }
                if state.machines.is_empty() {
                    state.etcd = None;
                }
                Ok(())
            })
            .await?;
        }
        Ok(())
    }

    async fn remove_network(&self) -> Result<()> {
        self.change("network: remove", |state| {
            let left = state.machines.iter().find(|(_, machine)| machine.on);
            ensure!(left.is_none(), "the network was removed under {left:?}");
            (state.network, state.forward) = (false, false);
            Ok(())
        })
        .await
    }

    async fn remove_store(&self) -> Result<()> {
        Ok(())
    }

    async fn console(&self, name: &str) -> Result<Vec<u8>> {
        anyhow::bail!("{name} is simulated: it has no console")
    }

    async fn host_key(&self, name: &str) -> Result<String> {
        self.point(format!("{name}: read the host key"), |state| {
            let machine = state.machines.get(name).filter(|machine| machine.on).context("the machine does not run")?;
            Ok(machine.disk.as_ref().context("a machine without a disk")?.host_key.clone())
        })
        .await
    }

    async fn dial(&self, name: &str, port: u16) -> Result<Stream> {
        let door = super::lock(&self.doors).get(&(name.to_owned(), port)).copied();
        let address = door.with_context(|| format!("{name} is simulated: there is nothing to dial"))?;
        Ok(Box::new(tokio::net::TcpStream::connect(address).await?))
    }

    fn container_programs(&self) -> Option<ContainerPrograms> {
        let layer = || self.etcd_layer.clone();
        self.state().image.then(|| ContainerPrograms { etcd: layer(), netfilter: layer() })
    }

    fn has_node_software(&self) -> bool {
        true
    }
}

impl World {
    async fn switch_on(&self, name: &str) -> Result<()> {
        self.change(format!("{name}: switch on"), |state| {
            ensure!(state.network, "{name} was switched on before there was a network");
            let machine = state.machines.get_mut(name).context("no such machine")?;
            machine.on = true;
            machine.files.insert(LOG);
            // systemd starts what was enabled.
            machine.disk.as_mut().map_or(Ok(()), Disk::boot)
        })
        .await
    }

    /// Somebody takes a machine away behind our back, with its disk.
    pub(crate) fn lose_machine(&self, name: &str) {
        self.state().machines.remove(name).expect("the machine is there");
    }

    /// Somebody switches a machine off.
    pub(crate) fn switch_off(&self, name: &str) {
        let mut state = self.state();
        state.machines.get_mut(name).expect("the machine is there").power_off();
    }

    /// Somebody switches one of the machines off, if there are so many.
    pub(crate) fn switch_any_off(&self, number: u64) {
        let mut state = self.state();
        let machine = state.machines.values_mut().nth(usize::try_from(number).expect("a small number"));
        machine.into_iter().for_each(Machine::power_off);
    }

    /// Somebody switches a machine off and takes its disk away; what describes it stays.
    pub(crate) fn lose_disk(&self, name: &str) {
        let mut state = self.state();
        let machine = state.machines.get_mut(name).expect("the machine is there");
        (machine.on, machine.disk) = (false, None);
    }

    /// One of the machines is too busy to let anybody in for so many times, if there are so many.
    pub(crate) fn slow_any_down(&self, number: u64, times: usize) {
        let mut state = self.state();
        let name = state.machines.keys().nth(usize::try_from(number).expect("a small number")).cloned();
        state.slow.extend(name.map(|name| (name, times)));
    }

    /// No machine is too busy any more.
    pub(crate) fn all_are_quick(&self) {
        self.state().slow.clear();
    }

    /// The machine goes on, and lets nobody in by SSH.
    pub(crate) fn mute(&self, name: &str) {
        self.state().mute.insert(name.to_owned());
    }

    /// It lets people in again.
    pub(crate) fn unmute(&self, name: &str) {
        self.state().mute.remove(name);
    }

    /// The machine is too busy to let anybody in for so many times.
    pub(crate) fn slow_down(&self, name: &str, times: usize) {
        self.state().slow.insert(name.to_owned(), times);
    }

    /// Somebody puts another machine in the place of one of ours.
    pub(crate) fn replace_disk(&self, name: &str) {
        let mut state = self.state();
        let disk = state.machines.get_mut(name).and_then(|machine| machine.disk.as_mut());
        disk.expect("the machine has a disk").host_key = "ssh-ed25519 somebody-else".to_owned();
    }

    /// Bytes of all files on all disks; those that several hosts share are counted once.
    pub(crate) fn weight(&self) -> usize {
        let state = self.state();
        let disks = state.machines.values().filter_map(|machine| machine.disk.as_ref());
        let files = disks.flat_map(|disk| disk.files.values());
        let parts: std::collections::BTreeMap<*const u8, usize> =
            files.map(|(_, content)| (content.as_ptr(), content.len())).collect();
        parts.values().sum()
    }

    /// Files that were made for machines.
    pub(crate) fn volume_names(&self) -> BTreeSet<String> {
        let state = self.state();
        let of = |(name, machine): (&String, &Machine)| {
            let ends = machine.disk.iter().map(|_| "qcow2").chain(machine.files.iter().copied());
            ends.map(|end| format!("{name}.{end}")).collect::<Vec<_>>()
        };
        state.machines.iter().flat_map(of).collect()
    }

    /// Machines for which the network keeps an address.
    pub(crate) fn promised_names(&self) -> BTreeSet<String> {
        let state = self.state();
        state.machines.iter().filter(|(_, machine)| machine.promised).map(|(name, _)| name.clone()).collect()
    }

    /// Names of the machines that run.
    pub(crate) fn running(&self) -> Vec<String> {
        let state = self.state();
        state.machines.iter().filter(|(_, machine)| machine.on).map(|(name, _)| name.clone()).collect()
    }

    /// Removing the state directory removes what lies in it: disks that belong to no machine any more.
    pub(super) fn state_directory_is_gone(&self) {
        let mut state = self.state();
        state.machines.retain(|_, machine| machine.defined);
        if state.machines.is_empty() {
            state.etcd = None;
        }
    }

    /// Nothing of the cluster is left; the image is everybody's.
    pub(crate) fn is_bare(&self) -> bool {
        let state = self.state();
        !state.network && !state.forward && state.machines.is_empty()
    }
}

impl Machine {
    /// What is in memory is lost.
    fn power_off(&mut self) {
        self.on = false;
        if let Some(disk) = &mut self.disk {
            disk.kubelet = None;
            disk.running.clear();
        }
    }
}

/// The number of a machine that exists before anybody claims it, as its name says: it has its key, and runs.
fn existed(name: &str) -> Option<usize> {
    name.strip_prefix("host-").and_then(|number| number.parse().ok())
}

fn host_key(number: usize) -> String {
    format!("ssh-ed25519 key-{number}")
}
