//! Machines that exist already are looked at before they are claimed: an sshd on loopback plays them, and says of itself
//! what the test wants it to say.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use harness::{Lab, Ran};
use provision::allocate;
use provision::state::{StateDir, write_private};
use provision::world::existing;
use topology::Topology;

const SSHD: &str = "/usr/sbin/sshd";

/// A machine that answers every command with the same text; ended when dropped.
struct Machine {
    lab: Lab,
    process: Child,
    port: u16,
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Machine {
    /// A machine that says `facts` of itself; nothing, with the reason printed, where none can be played.
    fn saying(facts: &str) -> Option<Self> {
        Self::play(Some(facts))
    }

    /// A machine that does what it is told, or says always the same.
    fn play(facts: Option<&str>) -> Option<Self> {
        let lab = Lab::new("demo");
        if !lab.is_built() || !Path::new(SSHD).exists() || !nix::unistd::geteuid().is_root() {
            println!("skipped: provision is not built, {SSHD} is not installed or this is not root");
            return None;
        }
        for key in ["host", "user"] {
            let file = lab.path(key);
            let made = Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(file).status();
            assert!(made.unwrap().success());
        }
        lab.write("facts", facts.unwrap_or_default().as_bytes());
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let dir = lab.path("");
        // Its shell reads nobody's start-up files.
        let config = format!(
            "ListenAddress 127.0.0.1:{port}\nHostKey {0}host\nAuthorizedKeysFile {0}user.pub\nStrictModes no\nUsePAM no\n\
             PidFile none\nPermitRootLogin yes\nSetEnv HOME={0}\n{1}",
            dir.display(),
            facts.map_or_else(String::new, |_| format!("ForceCommand cat {}facts\n", dir.display()))
        );
        let config = lab.write("sshd_config", config.as_bytes());
        std::fs::create_dir_all("/run/sshd").unwrap();
        let process = Command::new(SSHD).args(["-D", "-e", "-f"]).arg(config).stderr(Stdio::null()).spawn().unwrap();
        let deadline = Instant::now() + Duration::from_mins(1);
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(Instant::now() < deadline, "sshd does not listen");
            std::thread::sleep(Duration::from_millis(10));
        }
        lab.write("hyperkube", b"not a program");
        Some(Self { lab, process, port })
    }

    fn key(&self, name: &str) -> String {
        std::fs::read_to_string(self.lab.path(name)).unwrap().trim().to_owned()
    }

    /// A topology with this machine, shown by this key, and perhaps a bastion.
    fn topology(&self, key: &str, bastion: bool) -> String {
        let machine =
            format!("{{name: one, address: 127.0.0.1, port: {}, role: control-plane, hostKey: {key}}}", self.port);
        let way = format!(
            "bastion: {{address: 127.0.0.1, port: {}, user: root, hostKey: {}}}, ",
            self.port,
            self.key("host.pub")
        );
        format!(
            "apiVersion: provision.dev/v1alpha1\nkind: Cluster\nmetadata: {{name: demo}}\nspec:\n  infrastructure:\n    hosts: \
             {{user: root, identityFile: {}, {}machines: [{machine}]}}\n",
            self.lab.path("user").display(),
            if bastion { &way } else { "" },
        )
    }

    /// Keeps a cluster with this machine, shown by this key.
    fn keep_cluster(&self, key: &str) {
        let topology = Topology::parse("demo.yaml", &self.topology(key, false)).unwrap();
        let state = StateDir::new(&self.lab.path("state"), "demo");
        let hosts = topology.cluster().spec.infrastructure.hosts.as_ref().unwrap();
        let mut allocations = allocate::fresh(&topology, &existing::site(hosts));
        allocate::extend(&mut allocations, &topology).unwrap();
        for machine in allocations.machines.values_mut() {
            machine.host_key = Some(key.to_owned());
        }
        state.create().unwrap();
        state.save_allocations(&allocations).unwrap();
        write_private(&state.path("topology.yaml"), topology.to_yaml().as_bytes()).unwrap();
    }

    /// Runs `verb` on a topology with this machine, shown by this key, and perhaps a bastion.
    fn provision(&self, verb: &str, key: &str, bastion: bool) -> Ran {
        let file = self.lab.write("demo.yaml", self.topology(key, bastion).as_bytes()).display().to_string();
        let hyperkube = self.lab.path("hyperkube").display().to_string();
        self.lab.provision(&["--hyperkube", &hyperkube, verb, &file])
    }

    /// Both verbs refuse the machine, and nothing is kept.
    fn is_refused(&self, key: &str, code: i32, says: &[&str]) {
        for verb in ["plan", "apply"] {
            let ran = self.provision(verb, key, false);
            assert_eq!(ran.code, code, "{verb}: {ran:?}");
            for words in says {
                assert!(ran.stderr.contains(words), "{verb}: {words:?} is not in {}", ran.stderr);
            }
            assert!(!self.lab.state().join("cluster.json").exists(), "{verb}: a refused machine is not kept");
        }
    }
}

#[test]
fn a_machine_that_lies_about_its_address_is_refused() {
    let Some(machine) = Machine::saying("mark \nmachine m\naddress 10.9.0.7/24\n") else { return };
    machine.is_refused(
        &machine.key("host.pub"),
        5,
        &["one answers at 127.0.0.1 and has another address itself: 10.9.0.7", "hint: give the address"],
    );
}

#[test]
fn a_machine_of_another_cluster_is_refused_with_the_way_to_get_it_back() {
    let Some(machine) = Machine::saying("mark 1234 other\nmachine m\naddress 127.0.0.1/8\n") else { return };
    machine.is_refused(
        &machine.key("host.pub"),
        5,
        &["one belongs to the cluster other", "provision destroy other", "sh /var/lib/provision/give-back"],
    );
}

#[test]
fn a_machine_with_a_kubernetes_of_others_is_refused() {
    let facts = "mark \nmachine m\naddress 127.0.0.1/8\nkubernetes /etc/kubernetes/kubelet.conf\n";
    let Some(machine) = Machine::saying(facts) else { return };
    machine.is_refused(&machine.key("host.pub"), 5, &["it has /etc/kubernetes/kubelet.conf"]);
}

#[test]
fn a_machine_that_shows_another_key_is_refused_with_both_fingerprints() {
    let Some(machine) = Machine::saying("mark \nmachine m\naddress 127.0.0.1/8\n") else { return };
    machine.is_refused(&machine.key("user.pub"), 5, &["SHA256:", "one", "write its new key into the topology"]);
}

#[test]
fn a_machine_on_which_a_port_is_taken_is_refused_with_the_port_and_who_has_it() {
    let facts = "mark \nmachine m\naddress 127.0.0.1/8\nlistener 22 sshd\nlistener 10250 nginx\n";
    let Some(machine) = Machine::saying(facts) else { return };
    machine.is_refused(
        &machine.key("host.pub"),
        4,
        &["nginx listens on port 10250 of one, which the kubelet needs", "hint: end it or let it listen elsewhere"],
    );
}

#[test]
fn a_machine_that_nobody_has_is_claimed_also_behind_a_bastion() {
    let Some(machine) = Machine::saying("mark \nmachine m\naddress 127.0.0.1/8\n") else { return };
    for bastion in [false, true] {
        let ran = machine.provision("plan", &machine.key("host.pub"), bastion);
        assert_eq!(ran.code, 2, "{ran:?}");
        assert!(ran.stdout.contains("it exists and is not part of the cluster"), "{ran:?}");
        assert_eq!(ran.stdout.contains("does not lead through the bastion"), bastion, "{ran:?}");
    }
}

#[test]
fn a_command_on_a_machine_gives_its_output_and_its_status_to_whoever_asked() {
    let Some(machine) = Machine::play(None) else { return };
    machine.keep_cluster(&machine.key("host.pub"));
    let ssh = |command: &str| machine.lab.provision(&["ssh", "demo", "one", "--", command]);
    let ran = ssh("echo out; echo err >&2; exit 42");
    assert_eq!((ran.code, ran.stdout.as_str(), ran.stderr.as_str()), (42, "out\n", "err\n"), "{ran:?}");
    assert_eq!(ssh("true").code, 0);
    // Another key than the one on record: OpenSSH does not connect.
    machine.keep_cluster(&machine.key("user.pub"));
    let ran = ssh("echo reached");
    assert_eq!((ran.code, ran.stdout.as_str()), (255, ""), "{ran:?}");
}
