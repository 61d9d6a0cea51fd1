//! A simulated host: it keeps files and obeys the few commands that provision gives, and refuses every other.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use async_trait::async_trait;
use bytes::Bytes;
use futures::future::BoxFuture;
use ssh::{Ended, File, Host, Input, Output, Script, Sink, SshError, Uploaded};

use super::{Disk, Kubelet, State, World};
use crate::context::Ledger;
use crate::image::oci::{NODE_PROGRAM, image_name, names};
use crate::inventory::{LOOK, SERVICES};
use crate::world::Hosts;

const UNIT: &str = "/etc/systemd/system/kubelet.service";
const SUFFIX: &str = ".provision-new";
/// What every simulated kernel says of its boot.
pub(super) const BOOT_ID: &str = "5f0c9d5e-0000-4000-8000-00000000b007";

/// Connections of one life.
pub(super) struct SimulatedHosts {
    pub(super) world: Arc<World>,
    pub(super) ledger: Arc<Ledger>,
}

struct SimulatedHost {
    world: Arc<World>,
    name: String,
}

#[async_trait]
impl Hosts for SimulatedHosts {
    async fn connect(&self, name: &str, _: Duration) -> Result<Arc<dyn Host>> {
        let known = self.ledger.host_key(name).with_context(|| format!("the SSH host key of {name} is not known"))?;
        self.world
            .point(format!("{name}: connect"), |state| {
                ensure!(!state.mute.contains(name) && !state.is_slow(name), "{name} does not answer on port 22");
                let seen = disk(state, name)?.host_key.clone();
                if seen != known {
                    return Err(SshError::HostKeyChanged { host: name.to_owned(), known, seen }.into());
                }
                Ok(())
            })
            .await?;
        Ok(Arc::new(SimulatedHost { world: Arc::clone(&self.world), name: name.to_owned() }))
    }
}

impl SimulatedHost {
    fn failed(&self, command: &str, error: &anyhow::Error) -> SshError {
        SshError::Failed {
            host: self.name.clone(),
            command: command.to_owned(),
            status: "1".to_owned(),
            stderr: format!("{error:#}"),
        }
    }

    async fn on_disk(&self, what: &str, act: impl FnOnce(&mut Disk) -> Result<()>) -> Result<(), SshError> {
        let changed = self.world.change(format!("{}: {what}", self.name), |state| act(disk(state, &self.name)?));
        changed.await.map_err(|error| self.failed(what, &error))
    }

    /// One line of a script; each is a point of its own.
    async fn obey(&self, line: &str, stdin: &Input, output: &mut Output) -> Result<(), SshError> {
        let words: Vec<&str> = line.split_whitespace().map(|word| word.trim_matches('\'')).collect();
        match words.as_slice() {
            ["mkdir", "-p", ..] => Ok(()),
            // What the image brings is not simulated: it is not there.
            ["[", "!", "-e", "/etc/systemd/system/provision-masquerade.service", "]", "||", ..] => Ok(()),
            ["ln", "-sfn", target, name] => {
                let target = Bytes::from(format!("-> {target}"));
                self.on_disk("link", |disk| disk.put(name, 0o777, target)).await
            }
            ["ctr" | "rm" | "cp" | "chmod" | "sync" | "umount", ..] | ["if", "mountpoint", ..] => {
                self.install(&words, stdin).await
            }
            ["printf", "%s\\n", word, file] if file.starts_with('>') => {
                let content = Bytes::from(format!("{word}\n"));
                self.on_disk("write a mark", |disk| disk.put(&file[1..], 0o644, content)).await
            }
            ["mv", "-f", from, to] | ["mv", from, to] => {
                self.on_disk("move a mark", |disk| disk.rename(from, to)).await
            }
            ["systemctl", "daemon-reload"] => self.on_disk("reload units", Disk::reload_units).await,
            ["systemctl", "enable", "--quiet", "--no-reload", services @ ..] => {
                self.on_disk("enable services", |disk| {
                    disk.enabled.extend(services.iter().map(|service| (*service).to_owned()));
                    Ok(())
                })
                .await
            }
            ["systemctl", "start", "containerd"] => Ok(()),
            ["systemctl", "start", service] => {
                self.on_disk(&format!("wait for {service}"), |disk| {
                    ensure!(disk.running.contains_key(*service), "{service} does not run");
                    Ok(())
                })
                .await
            }
            ["systemctl", "restart", "kubelet"] => self.on_disk("start the kubelet", Disk::start_kubelet).await,
            ["systemctl", "reload-or-restart", service] | ["systemctl", "restart", "--no-block", service] => {
                self.on_disk(&format!("start {service}"), |disk| disk.start_service(service)).await
            }
            _ if line == "if systemctl is-active --quiet kubelet; then systemctl restart kubelet; fi" => {
                let restart = |disk: &mut Disk| if disk.kubelet.is_some() { disk.start_kubelet() } else { Ok(()) };
                self.on_disk("restart the kubelet if it runs", restart).await
            }
            ["exec", "cat", "/proc/sys/kernel/random/boot_id"] => {
                let told = self.world.point(format!("{}: tell the boot", self.name), |state| {
                    disk(state, &self.name)?;
                    Ok(BOOT_ID)
                });
                output.stdout = told.await.map_err(|error| self.failed(line, &error))?.as_bytes().to_vec();
                Ok(())
            }
            ["exec", "/usr/local/lib/provision/hyperkube", "cluster-dns", "lookup", ..] => {
                let asked = self.world.point("look up a Service", World::resolve);
                output.stdout = asked.await.map_err(|error| self.failed(line, &error))?.into_bytes();
                Ok(())
            }
            _ => Err(self.failed(line, &anyhow::anyhow!("the simulated host does not know this command"))),
        }
    }

    /// What brings images, and the program that is one file of them: it is known by its image's name.
    async fn install(&self, words: &[&str], stdin: &Input) -> Result<(), SshError> {
        match words {
            ["ctr", "-n", "k8s.io", "images", "import", "-", ..] => {
                let archive = match stdin {
                    Input::Bytes(bytes) => bytes.to_vec(),
                    Input::File(path) => std::fs::read(path).unwrap_or_default(),
                };
                self.on_disk("import images", |disk| disk.import(&archive)).await
            }
            ["chmod" | "sync", ..] => Ok(()),
            ["rm", "-f", path] => {
                self.on_disk("take a mark away", |disk| {
                    disk.files.remove(*path);
                    Ok(())
                })
                .await
            }
            ["ctr", "-n", "k8s.io", "images", "mount", image, _, ..] => {
                self.on_disk("mount an image", |disk| disk.mount(image)).await
            }
            ["if", "mountpoint", ..] => {
                self.on_disk("tidy up after a run that was killed", |disk| {
                    disk.mounted = None;
                    Ok(())
                })
                .await
            }
            ["umount", ..] => self.on_disk("unmount the image", Disk::unmount).await,
            ["cp", _, path] => self.on_disk("copy the program", |disk| disk.copy_program(path)).await,
            _ => Err(self.failed(&words.join(" "), &anyhow::anyhow!("the simulated host does not know this command"))),
        }
    }

    async fn look(&self) -> Result<Output, SshError> {
        let looked = self.world.point(format!("{}: look at the host", self.name), |state| {
            let disk = disk(state, &self.name)?;
            let mark = |name: &str| match disk.files.get(&format!("/var/lib/provision/{name}")) {
                Some((_, content)) => String::from_utf8_lossy(content).trim().to_owned(),
                None => "-".to_owned(),
            };
            let runs =
                |name: &str| if name == "kubelet" { disk.kubelet.is_some() } else { disk.running.contains_key(name) };
            let services = SERVICES.map(|name| if runs(name) { "active" } else { "inactive" });
            let member = if disk.etcd_file().is_some() { "member" } else { "-" };
            let marks = ["components", "configured", "software"].map(mark).join("\n");
            Ok(format!("{marks}\n{}\n{member}\n", services.join("\n")))
        });
        let text = looked.await.map_err(|error| self.failed("look", &error))?;
        Ok(Output { stdout: text.into_bytes(), stderr: Vec::new() })
    }
}

impl Host for SimulatedHost {
    fn name(&self) -> &str {
        &self.name
    }

    fn stream<'a>(&'a self, script: &'a Script, sink: &'a mut dyn Sink) -> BoxFuture<'a, Result<Ended, SshError>> {
        Box::pin(async move {
            let mut output = Output::default();
            if script.text == LOOK {
                output = self.look().await?;
            } else {
                for line in script.text.lines() {
                    self.obey(line.trim(), &script.stdin, &mut output).await?;
                }
            }
            output.pour(&self.name, script, sink).await
        })
    }

    fn upload<'a>(&'a self, files: &'a [File]) -> BoxFuture<'a, Result<Uploaded, SshError>> {
        Box::pin(async move {
            let differing = self.world.point(format!("{}: compare files", self.name), |state| {
                let disk = disk(state, &self.name)?;
                let same = |file: &File| disk.files.get(&file.path) == Some(&(file.mode, file.content.clone()));
                Ok(files.iter().filter(|file| !same(file)).collect::<Vec<_>>())
            });
            let differing = differing.await.map_err(|error| self.failed("upload", &error))?;
            let unchanged = files.len() - differing.len();
            if differing.is_empty() {
                return Ok(Uploaded { written: Vec::new(), unchanged });
            }
            self.on_disk("unpack files", |disk| {
                let mut unpack =
                    differing.iter().map(|file| (format!("{}{SUFFIX}", file.path), file.mode, file.content.clone()));
                unpack.try_for_each(|(path, mode, content)| disk.put(&path, mode, content))
            })
            .await?;
            for file in &differing {
                let draft = format!("{}{SUFFIX}", file.path);
                self.on_disk(&format!("put {} in place", file.path), |disk| disk.rename(&draft, &file.path)).await?;
            }
            Ok(Uploaded { written: differing.iter().map(|file| file.path.clone()).collect(), unchanged })
        })
    }
}

impl Disk {
    #[expect(clippy::unnecessary_wraps, reason = "it stands where things can fail")]
    fn put(&mut self, path: &str, mode: u32, content: Bytes) -> Result<()> {
        self.files.insert(path.to_owned(), (mode, content));
        Ok(())
    }

    fn rename(&mut self, from: &str, to: &str) -> Result<()> {
        let file = self.files.remove(from).with_context(|| format!("{from} does not exist"))?;
        self.files.insert(to.to_owned(), file);
        Ok(())
    }

    #[expect(clippy::unnecessary_wraps, reason = "it stands where things can fail")]
    fn import(&mut self, archive: &[u8]) -> Result<()> {
        let text = String::from_utf8_lossy(archive);
        let names = text.split("\"io.containerd.image.name\":\"").skip(1);
        self.images.extend(names.filter_map(|rest| rest.split('"').next()).map(str::to_owned));
        Ok(())
    }

    /// A new disk over an image that has the components of this release in place, or over one that has none.
    pub(super) fn carrying(tag: Option<&str>) -> Self {
        let mut disk = Self::default();
        let Some(tag) = tag else { return disk };
        disk.images.extend(names(tag));
        let files = [
            (NODE_PROGRAM, 0o755, image_name("pause", tag)),
            ("/usr/bin/kubelet", 0o777, format!("-> {NODE_PROGRAM}")),
            ("/var/lib/provision/components", 0o644, format!("{tag}\n")),
        ];
        disk.files.extend(files.map(|(path, mode, text)| (path.to_owned(), (mode, Bytes::from(text)))));
        disk
    }

    fn mount(&mut self, image: &str) -> Result<()> {
        ensure!(self.images.contains(image), "image {image} not found");
        ensure!(self.mounted.is_none(), "something is mounted already");
        self.mounted = Some(image.to_owned());
        Ok(())
    }

    fn unmount(&mut self) -> Result<()> {
        self.mounted.take().map(drop).context("nothing is mounted")
    }

    fn copy_program(&mut self, path: &str) -> Result<()> {
        let image = self.mounted.clone().context("nothing is mounted")?;
        self.put(path, 0o755, image.into())
    }

    #[expect(clippy::unnecessary_wraps, reason = "it stands where things can fail")]
    pub(super) fn reload_units(&mut self) -> Result<()> {
        self.loaded_unit = self.files.get(UNIT).map(|(_, content)| content.clone()).unwrap_or_default();
        Ok(())
    }

    /// Starts a service, or lets it read its files anew.
    pub(super) fn start_service(&mut self, name: &str) -> Result<()> {
        let folders: &[&str] = match name {
            "etcd" => &["/etc/systemd/system/etcd.service", "/etc/kubernetes/pki/etcd/"],
            "haproxy" => &["/etc/haproxy/"],
            "keepalived" => &["/etc/keepalived/"],
            _ => anyhow::bail!("Unit {name}.service not found"),
        };
        let read = self.read_now(|path| folders.iter().any(|folder| path.starts_with(folder)));
        ensure!(!read.is_empty(), "{name} does not start without its files");
        self.running.insert(name.to_owned(), read);
        Ok(())
    }

    /// Services that were enabled start with the machine.
    pub(super) fn boot(&mut self) -> Result<()> {
        for name in self.enabled.clone() {
            if name == "kubelet" && self.kubelet.is_none() {
                self.reload_units()?;
                self.start_kubelet()?;
            } else if name != "kubelet" && !self.running.contains_key(&name) {
                self.start_service(&name)?;
            }
        }
        Ok(())
    }

    /// Starts the kubelet, or starts it anew: it reads its files now and never again.
    pub(super) fn start_kubelet(&mut self) -> Result<()> {
        ensure!(!self.loaded_unit.is_empty(), "Unit kubelet.service not found");
        let now = self.kubelet_files();
        for needed in ["/usr/bin/kubelet", "/etc/kubernetes/kubelet.conf", "/var/lib/kubelet/config.yaml"] {
            ensure!(now.contains_key(needed), "the kubelet does not start without {needed}");
        }
        self.kubelet = Some(Kubelet { unit: self.loaded_unit.clone(), files: now });
        Ok(())
    }

    /// What a kubelet that starts now would read.
    pub(super) fn kubelet_files(&self) -> BTreeMap<String, Bytes> {
        let file = ["/usr/bin/kubelet", "/usr/local/lib/provision/hyperkube", "/etc/kubernetes/kubelet.conf"];
        self.read_now(|path| {
            file.contains(&path) || path.starts_with("/var/lib/kubelet/") || path == "/etc/kubernetes/pki/ca.crt"
        })
    }

    fn read_now(&self, wanted: impl Fn(&str) -> bool) -> BTreeMap<String, Bytes> {
        let files = self.files.iter().filter(|(path, _)| wanted(path) && !path.ends_with(SUFFIX));
        files.map(|(path, (_, content))| (path.clone(), content.clone())).collect()
    }

    /// Something runs with other files than those that are there now.
    fn is_stale(&self) -> bool {
        let unit = self.files.get(UNIT).map(|(_, content)| content.clone()).unwrap_or_default();
        let node = self.files.contains_key(UNIT);
        let kubelet = node.then(|| Kubelet { unit, files: self.kubelet_files() });
        let same = |(name, read): (&String, &BTreeMap<String, Bytes>)| {
            let mut now = self.clone();
            now.start_service(name).is_ok() && now.running.get(name) == Some(read)
        };
        self.kubelet != kubelet || !self.running.iter().all(same)
    }
}

impl State {
    /// Whether the machine is too busy to let anybody in this time.
    fn is_slow(&mut self, name: &str) -> bool {
        match self.slow.get_mut(name) {
            Some(0) | None => {
                self.slow.remove(name);
                false
            }
            Some(times) => {
                *times -= 1;
                true
            }
        }
    }
}

impl World {
    /// Somebody stops a service of a machine.
    pub(crate) fn stop_service(&self, machine: &str, service: &str) {
        disk(&mut self.state(), machine).expect("the machine runs").running.remove(service);
    }

    /// Somebody gives a machine another configuration.
    pub(crate) fn change_behind_our_back(&self, machine: &str) {
        let mut state = self.state();
        let disk = disk(&mut state, machine).expect("the machine runs");
        let mark = ("/var/lib/provision/configured".to_owned(), (0o644, Bytes::from("another\n")));
        disk.files.extend([mark]);
    }

    /// Machines where something runs with other files than those that are there now.
    pub(crate) fn stale_services(&self) -> Vec<String> {
        let state = self.state();
        let wrong = state.machines.iter().filter(|(_, machine)| machine.disk.as_ref().is_some_and(Disk::is_stale));
        wrong.map(|(name, _)| name.clone()).collect()
    }
}

/// The disk of a machine that runs.
pub(super) fn disk<'a>(state: &'a mut State, name: &str) -> Result<&'a mut Disk> {
    let machine = state.machines.get_mut(name).filter(|machine| machine.on);
    machine.and_then(|machine| machine.disk.as_mut()).with_context(|| format!("{name} does not answer"))
}
