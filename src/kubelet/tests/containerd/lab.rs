//! A containerd and a kubelet of their own, in a network namespace of their own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};

const LIMIT: Duration = Duration::from_mins(1);

/// Tells the labs of one process apart.
static NUMBER: AtomicU32 = AtomicU32::new(0);

pub(crate) struct Lab {
    folder: tempfile::TempDir,
    namespace: String,
    containerd: Child,
    kubelet: Option<Child>,
}

fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().unwrap_or_else(|error| panic!("{program}: {error}"));
    assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

impl Lab {
    /// A running containerd with images, or nothing (and the reason, printed) where that is impossible.
    pub(crate) fn start() -> Option<Self> {
        let missing = ["/usr/bin/containerd", "/usr/sbin/runc", "/bin/busybox", "/usr/lib/cni/bridge"]
            .into_iter()
            .find(|path| !Path::new(path).exists());
        if let Some(missing) = missing {
            eprintln!("skipped: {missing} is not installed");
            return None;
        }
        if !nix::unistd::Uid::effective().is_root() {
            eprintln!("skipped: needs root");
            return None;
        }
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let namespace = format!("kubelet-{}-{number}", std::process::id());
        run("ip", &["netns", "add", &namespace]);
        run("ip", &["-n", &namespace, "link", "set", "lo", "up"]);
        let folder = tempfile::tempdir().expect("a folder");
        write_config(folder.path());
        let log = fs::File::create(folder.path().join("containerd.log")).expect("a log");
        let config = folder.path().join("containerd.toml");
        let containerd = inside(&namespace, "containerd", &["-c", config.to_str().expect("UTF-8")])
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("containerd");
        let lab = Self { folder, namespace, containerd, kubelet: None };
        lab.until("containerd answers", |lab| lab.try_ctr(&["version"]));
        for (name, entrypoint) in [("test.local/pause:1", "sleep\",\"1000000"), ("test.local/busybox:1", "sh")] {
            let tar = image(lab.folder.path(), name, entrypoint);
            lab.ctr(&["images", "import", tar.to_str().expect("UTF-8")]);
        }
        Some(lab)
    }

    fn socket(&self) -> String {
        self.folder.path().join("containerd.sock").display().to_string()
    }

    fn try_ctr(&self, arguments: &[&str]) -> Option<String> {
        let output = Command::new("ctr").args(["-a", &self.socket(), "-n", "k8s.io"]).args(arguments).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
    }

    fn ctr(&self, arguments: &[&str]) -> String {
        self.try_ctr(arguments).unwrap_or_else(|| panic!("ctr {arguments:?} failed"))
    }

    pub(crate) fn start_kubelet(&mut self) {
        let log = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.folder.path().join("kubelet.log"))
            .expect("a log");
        let path = |name: &str| self.folder.path().join(name).display().to_string();
        let arguments = [
            format!("--config={}", path("kubelet.yaml")),
            format!("--root-dir={}", path("kubelet")),
            format!("--container-runtime-endpoint=unix://{}", self.socket()),
            "--hostname-override=n1".to_owned(),
            "--node-ip=10.99.0.1".to_owned(),
            "-v=4".to_owned(),
        ];
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let errors = log.try_clone().expect("a second handle");
        let child = inside(&self.namespace, env!("CARGO_BIN_EXE_kubelet"), &arguments)
            .stdout(log)
            .stderr(errors)
            .spawn()
            .expect("kubelet");
        self.kubelet = Some(child);
    }

    pub(crate) fn stop_kubelet(&mut self) {
        if let Some(mut child) = self.kubelet.take() {
            terminate(&child);
            child.wait().expect("the kubelet ends");
        }
    }

    /// Writes or removes a static pod.
    pub(crate) fn manifest(&self, name: &str, text: Option<&str>) {
        let folder = self.folder.path().join("manifests");
        fs::create_dir_all(&folder).expect("a folder");
        match text {
            Some(text) => fs::write(folder.join(name), text).expect("a manifest"),
            None => fs::remove_file(folder.join(name)).expect("the manifest was there"),
        }
    }

    /// Asks the kubelet's server.
    pub(crate) fn get(&self, path: &str) -> Option<String> {
        let url = format!("https://127.0.0.1:10250{path}");
        let namespace = fs::File::open(format!("/run/netns/{}", self.namespace)).ok()?;
        // A thread of its own, which ends in the namespace that it enters.
        let asking = std::thread::spawn(move || {
            nix::sched::setns(namespace, nix::sched::CloneFlags::CLONE_NEWNET).ok()?;
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().ok()?;
            runtime.block_on(fetch(&url)).ok()
        });
        asking.join().expect("asking does not panic")
    }

    /// The id of the running container of this name.
    pub(crate) fn container(&self, name: &str, pod: &str) -> Option<String> {
        let filter =
            format!("labels.\"io.kubernetes.container.name\"=={name},labels.\"io.kubernetes.pod.name\"=={pod}");
        let ids = self.ctr(&["containers", "ls", "-q", &filter]);
        let tasks = self.ctr(&["tasks", "ls"]);
        let running = |id: &str| tasks.lines().any(|line| line.starts_with(id) && line.contains("RUNNING"));
        ids.lines().find(|id| running(id)).map(str::to_owned)
    }

    /// How many containers there are of a pod, or at all.
    pub(crate) fn containers(&self, pod: &str) -> usize {
        let filter = if pod.is_empty() {
            String::new()
        } else {
            format!("labels.\"io.kubernetes.pod.name\"=={pod},labels.\"io.cri-containerd.kind\"==container")
        };
        let arguments: Vec<&str> = ["containers", "ls", "-q"]
            .into_iter()
            .chain(Some(filter.as_str()).filter(|filter| !filter.is_empty()))
            .collect();
        self.ctr(&arguments).lines().count()
    }

    pub(crate) fn tasks(&self) -> usize {
        self.ctr(&["tasks", "ls", "-q"]).lines().count()
    }

    pub(crate) fn exec(&self, id: &str, command: &[&str]) -> String {
        let arguments: Vec<&str> =
            ["tasks", "exec", "--exec-id", "check", id].into_iter().chain(command.iter().copied()).collect();
        self.ctr(&arguments)
    }

    pub(crate) fn pod_folders(&self) -> Vec<PathBuf> {
        fs::read_dir(self.folder.path().join("kubelet/pods"))
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.path())
            .collect()
    }

    /// Asks until the answer is there; shows the logs if it never is.
    pub(crate) fn until<T>(&self, what: &str, test: impl Fn(&Self) -> Option<T>) -> T {
        let begin = Instant::now();
        while begin.elapsed() < LIMIT {
            if let Some(answer) = test(self) {
                return answer;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        for name in ["containerd.log", "kubelet.log"] {
            let log = fs::read_to_string(self.folder.path().join(name)).unwrap_or_default();
            let tail: Vec<&str> = log.lines().rev().take(40).collect();
            eprintln!("--- {name}\n{}", tail.into_iter().rev().collect::<Vec<_>>().join("\n"));
        }
        panic!("never: {what}");
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        self.stop_kubelet();
        for id in self.try_ctr(&["tasks", "ls", "-q"]).unwrap_or_default().lines() {
            self.try_ctr(&["tasks", "rm", "-f", id]);
        }
        terminate(&self.containerd);
        // It was asked to end; what follows only tidies up.
        let _ = self.containerd.wait();
        for line in fs::read_to_string("/proc/self/mountinfo").unwrap_or_default().lines().rev() {
            if let Some(point) = line.split(' ').nth(4).filter(|point| Path::new(point).starts_with(self.folder.path()))
            {
                let _ = nix::mount::umount2(point, nix::mount::MntFlags::MNT_DETACH);
            }
        }
        let _ = Command::new("ip").args(["netns", "del", &self.namespace]).status();
    }
}

/// The body of a good answer, from whoever listens there: the server's certificate is one that it made itself.
async fn fetch(url: &str) -> reqwest::Result<String> {
    // A request before this one may have installed it.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = reqwest::Client::builder()
        .tls_danger_accept_invalid_certs(true)
        .no_proxy()
        .timeout(Duration::from_secs(5))
        .build()?;
    client.get(url).send().await?.error_for_status()?.text().await
}

fn terminate(child: &Child) {
    let pid = nix::unistd::Pid::from_raw(i32::try_from(child.id()).expect("a process id"));
    // It may have ended by itself.
    let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM);
}

fn inside(namespace: &str, program: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new("nsenter");
    command.arg(format!("--net=/run/netns/{namespace}")).arg(program).args(arguments);
    command
}

fn write_config(folder: &Path) {
    let at = |name: &str| folder.join(name).display().to_string();
    let (root, state, socket, cni) = (at("root"), at("state"), at("containerd.sock"), at("cni"));
    let config = format!(
        r#"version = 2
root = "{root}"
state = "{state}"
[grpc]
address = "{socket}"
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "test.local/pause:1"
restrict_oom_score_adj = true
[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "/usr/lib/cni"
conf_dir = "{cni}"
[plugins."io.containerd.grpc.v1.cri".containerd]
snapshotter = "native"
"#
    );
    fs::write(folder.join("containerd.toml"), config).expect("a configuration");
    fs::create_dir_all(&cni).expect("a folder");
    let network = r#"{"cniVersion": "0.4.0", "name": "test", "plugins": [{"type": "bridge", "bridge": "cni0", "isGateway": true,
        "ipam": {"type": "host-local", "dataDir": "STATE", "ranges": [[{"subnet": "10.99.0.0/24"}]]}}]}"#;
    fs::write(folder.join("cni/10-test.conflist"), network.replace("STATE", &at("ipam"))).expect("a network");
    let kubelet = format!(
        "apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\nstaticPodPath: {}\npodLogsDir: {}\n\
         authentication: {{anonymous: {{enabled: true}}, webhook: {{enabled: false}}}}\nauthorization: {{mode: AlwaysAllow}}\n",
        at("manifests"),
        at("logs/pods")
    );
    fs::write(folder.join("kubelet.yaml"), kubelet).expect("a configuration");
}

/// An OCI layout with busybox in it.
fn image(folder: &Path, name: &str, entrypoint: &str) -> PathBuf {
    let mut layer = tar::Builder::new(Vec::new());
    let busybox = fs::read("/bin/busybox").expect("busybox");
    add(&mut layer, "bin/busybox", &busybox, 0o755);
    add(&mut layer, "bin/sh", b"", 0o755);
    let mut link = tar::Header::new_gnu();
    link.set_entry_type(tar::EntryType::Symlink);
    link.set_size(0);
    link.set_mode(0o777);
    for applet in ["cat", "sleep"] {
        layer.append_link(&mut link, format!("bin/{applet}"), "busybox").expect("a link");
    }
    let layer = layer.into_inner().expect("a layer");
    let arch = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    let config = format!(
        r#"{{"architecture":"{arch}","os":"linux","config":{{"Env":["PATH=/bin"],"Entrypoint":["/bin/busybox","{entrypoint}"]}},"rootfs":{{"type":"layers","diff_ids":["sha256:{}"]}}}}"#,
        digest(&layer)
    );
    let descriptor = |kind: &str, data: &[u8]| {
        format!(
            r#"{{"mediaType":"application/vnd.oci.image.{kind}","digest":"sha256:{}","size":{}}}"#,
            digest(data),
            data.len()
        )
    };
    let manifest = format!(
        r#"{{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{},"layers":[{}]}}"#,
        descriptor("config.v1+json", config.as_bytes()),
        descriptor("layer.v1.tar", &layer)
    );
    let index = format!(
        r#"{{"schemaVersion":2,"manifests":[{{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"sha256:{}","size":{},"annotations":{{"io.containerd.image.name":"{name}"}}}}]}}"#,
        digest(manifest.as_bytes()),
        manifest.len()
    );
    let mut archive = tar::Builder::new(Vec::new());
    add(&mut archive, "oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#, 0o644);
    add(&mut archive, "index.json", index.as_bytes(), 0o644);
    for blob in [layer.as_slice(), config.as_bytes(), manifest.as_bytes()] {
        add(&mut archive, &format!("blobs/sha256/{}", digest(blob)), blob, 0o644);
    }
    let path = folder.join(format!("{}.tar", name.replace(['/', ':'], "_")));
    fs::write(&path, archive.into_inner().expect("an archive")).expect("an image");
    path
}

fn add(archive: &mut tar::Builder<Vec<u8>>, name: &str, data: &[u8], mode: u32) {
    let mut header = tar::Header::new_gnu();
    header.set_size(data.len() as u64);
    header.set_mode(mode);
    archive.append_data(&mut header, name, data).expect("an entry");
}

fn digest(data: &[u8]) -> String {
    hex::encode(Sha256::digest(data))
}
