//! The way of one machine, for real: image, private libvirt, boot, host key, SSH port, and nothing left.
//!
//! `cargo run -p provision --example machine -- CACHE_DIR WORK_DIR` as root, on a machine with libvirtd and QEMU.

use std::ffi::OsString;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use libvirt::volume::{DiskFormat, create_overlay};
use libvirt::{Daemon, DhcpHost, DomainState, Hypervisor, Owner, subnet};
use provision::embedded::{self, EmbeddedHandle, Options, kvm};
use provision::image::{self, ImageSpec, NodeImage, Progress};
use provision::machines::{Disk, Domain, Interface, Kernel, Network, Seed, host_key};
use tokio::io::AsyncReadExt;

const SUPERVISOR: &str = "embedded-supervisor";
const MAC: &str = "52:54:00:87:00:0b";

fn main() -> Result<()> {
    let mut arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    if arguments.first().is_some_and(|first| first == SUPERVISOR) {
        arguments.remove(0);
        return embedded::supervisor_main(arguments);
    }
    let [cache, work] = &arguments[..] else { bail!("two directories are needed: a cache and one to work in") };
    if !nix::unistd::geteuid().is_root() {
        say("skipped: namespaces and devices need root");
        return Ok(());
    }
    let runtime = tokio::runtime::Runtime::new()?;
    runtime.block_on(run(&std::path::absolute(cache)?, &std::path::absolute(work)?))
}

fn say(line: &str) {
    use std::io::Write;
    let _ = writeln!(std::io::stdout(), "{line}");
}

async fn timed<T>(what: &str, doing: impl Future<Output = Result<T>>) -> Result<T> {
    let began = Instant::now();
    let done = doing.await.with_context(|| what.to_owned())?;
    say(&format!("{:7.2} s  {what}", began.elapsed().as_secs_f64()));
    Ok(done)
}

async fn run(cache: &Path, work: &Path) -> Result<()> {
    std::fs::create_dir_all(work)?;
    let show = |progress| {
        if let Progress::Step { number, of, title } = progress {
            say(&format!("           {number}/{of} {title}"));
        }
    };
    let image = timed("node image", async { Ok(image::build(&ImageSpec::default(), cache, &show).await?) }).await?;
    let options =
        Options { dir: work.join("libvirt"), program: std::env::current_exe()?, arguments: vec![SUPERVISOR.into()] };
    let proved = prove(&options, &image, work).await;
    timed("private libvirt gone", async { Ok(embedded::stop(&options.dir).await?) }).await?;
    proved?;
    for file in ["cp-1.qcow2", "seed.img", "console.log"] {
        libvirt::volume::remove(&work.join(file)).await?;
    }
    std::fs::remove_dir(work).context("something was left behind")?;
    let mine = work.to_string_lossy().into_owned();
    let left = std::fs::read_dir("/proc")?.flatten().filter(|process| {
        let line = std::fs::read(process.path().join("cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&line).contains(&format!("{mine}/"))
    });
    ensure!(left.count() == 0, "a process was left behind");
    say("           nothing is left");
    Ok(())
}

async fn prove(options: &Options, image: &NodeImage, work: &Path) -> Result<()> {
    let handle = timed("private libvirt", async { Ok(embedded::start(options).await?) }).await?;
    let daemon = timed("connection", async { Ok(Daemon::connect(&handle.uri).await?) }).await?;
    let host = timed("host facts", async { Ok(daemon.host().await?) }).await?;
    say(&format!("           {host:?}"));
    ensure!(embedded::start(options).await? == handle, "a second start must find the first");

    let network = network()?;
    let (owner, address) = (network.owner.clone(), network.hosts[0].address);
    let xml = network.to_xml()?;
    timed("network", async { Ok(daemon.ensure_network(&owner, &xml).await?) }).await?;
    let seed = Seed {
        hostname: "cp-1".into(),
        authorized_keys: std::fs::read_to_string(work.join("../machine.pub")).into_iter().collect(),
        address: Some((ipnet::Ipv4Net::with_netmask(address, network.netmask)?, network.gateway)),
        nameservers: vec![network.gateway.into()],
        domain: network.domain.clone(),
    };
    seed.write(&work.join("seed.img"))?;
    create_overlay(&work.join("cp-1.qcow2"), &image.disk, DiskFormat::Raw, 20 << 30).await?;
    let domain = domain(&owner, image, work, kvm::probe().await.is_usable());
    let xml = domain.to_xml()?;
    let began = Instant::now();
    timed("domain", async {
        daemon.define_domain(&owner, &xml).await?;
        Ok(daemon.start_domain(&owner, "proof-cp-1").await?)
    })
    .await?;
    let patience = Duration::from_mins(3);
    let key = timed("host key on the console", async { Ok(host_key(&domain.console_log, patience).await?) }).await?;
    say(&format!("           {key}"));
    timed("SSH banner", banner(&handle, address)).await?;
    say(&format!("{:7.2} s  from power on to SSH", began.elapsed().as_secs_f64()));
    visit(&handle, address, work).await?;
    let (handle, daemon) = timed("killed supervisor replaced", replace(options, &handle)).await?;
    ensure!(daemon.domains(&owner).await?[0].state == DomainState::Running, "the machine must go on");
    timed("SSH banner again", banner(&handle, address)).await?;
    timed("domain gone", async { Ok(daemon.remove_domain(&owner, "proof-cp-1").await?) }).await?;
    timed("network gone", async { Ok(daemon.remove_network(&owner, "proof").await?) }).await
}

/// Reaches the machine through a port of the host; waits there while a file `hold` exists.
async fn visit(handle: &EmbeddedHandle, address: Ipv4Addr, work: &Path) -> Result<()> {
    let any = ([127, 0, 0, 1], 0).into();
    let listen = embedded::forward(handle, any, (address, 22).into()).await?;
    let mut stream = tokio::net::TcpStream::connect(listen).await?;
    let mut greeting = [0; 4];
    stream.read_exact(&mut greeting).await?;
    ensure!(&greeting == b"SSH-", "the forwarded port must lead to the machine");
    let hold = work.join("../hold");
    if hold.exists() {
        say(&format!("           held at {listen}; remove {} to go on", hold.display()));
    }
    while hold.exists() {
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    Ok(())
}

/// Kills the supervisor as a crash would; the next run takes over what it left.
async fn replace(options: &Options, killed: &EmbeddedHandle) -> Result<(EmbeddedHandle, Daemon)> {
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(killed.pid), nix::sys::signal::Signal::SIGKILL)?;
    while embedded::find(&options.dir).is_some() {
        tokio::task::yield_now().await;
    }
    let handle = embedded::start(options).await?;
    ensure!(handle.pid != killed.pid, "a killed supervisor must not be found");
    let daemon = Daemon::connect(&handle.uri).await?;
    Ok((handle, daemon))
}

fn network() -> Result<Network> {
    let range = subnet::choose(&subnet::host_routes()?).context("no free range")?;
    let [a, b, c, _] = range.network().octets();
    Ok(Network {
        name: "proof".into(),
        uuid: "6b1f0f5e-0000-4000-8000-000000000002".into(),
        owner: Owner { cluster: "proof".into(), id: "1".into() },
        bridge: subnet::bridge_name("proof", &[]),
        nat: false,
        domain: "proof.internal".into(),
        gateway: [a, b, c, 1].into(),
        netmask: range.netmask(),
        range_start: [a, b, c, 200].into(),
        range_end: [a, b, c, 250].into(),
        hosts: vec![DhcpHost { name: "cp-1".into(), mac: MAC.into(), address: [a, b, c, 11].into() }],
    })
}

fn domain(owner: &Owner, image: &NodeImage, work: &Path, kvm: bool) -> Domain {
    Domain {
        name: "proof-cp-1".into(),
        uuid: "6b1f0f5e-0000-4000-8000-000000000001".into(),
        owner: owner.clone(),
        hostname: "cp-1".into(),
        kvm,
        cpus: 2,
        memory_mib: 2048,
        kernel: Some(Kernel::of(image)),
        disks: vec![Disk::root(work.join("cp-1.qcow2")), Disk::seed(work.join("seed.img"))],
        interfaces: vec![Interface { network: "proof".into(), mac: MAC.into() }],
        console_log: PathBuf::from(work).join("console.log"),
    }
}

/// Connects until the machine's sshd greets; the machine refuses until it listens.
async fn banner(handle: &EmbeddedHandle, address: Ipv4Addr) -> Result<()> {
    let deadline = Instant::now() + Duration::from_mins(1);
    loop {
        match embedded::connect_tcp(handle, (address, 22).into(), Duration::from_secs(2)).await {
            Ok(mut stream) => {
                let mut word = [0; 8];
                stream.read_exact(&mut word).await?;
                ensure!(&word == b"SSH-2.0-", "sshd must greet");
                return Ok(());
            }
            Err(e) if Instant::now() > deadline => return Err(e.into()),
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}
