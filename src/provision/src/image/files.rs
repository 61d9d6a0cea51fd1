//! What is put into, taken out of and switched on in the Debian root file system to make it a node.

use super::oci::PAUSE_IMAGE;

/// Changes when the way an image is made changes in a manner that its other inputs do not show.
pub const FORMAT: &str = "node-image/1";

/// Packages beside Debian's minimal system.
pub const PACKAGES: &[&str] = &[
    "linux-image-cloud-amd64",
    "initramfs-tools",
    "busybox-static",
    "xz-utils",
    "systemd",
    "systemd-sysv",
    "dbus",
    "udev",
    "kmod",
    "procps",
    "iproute2",
    "iputils-ping",
    "ca-certificates",
    "openssh-server",
    "chrony",
    "containerd",
    "runc",
    "containernetworking-plugins",
    "etcd-server",
    "etcd-client",
    "haproxy",
    "keepalived",
    "nftables",
    "iptables",
    "conntrack",
];

/// Paths that packages do not unpack: nobody reads manuals on a node.
pub const EXCLUDED_PATHS: &[&str] =
    &["/usr/share/man/*", "/usr/share/doc/*", "/usr/share/locale/*", "/usr/share/info/*", "/usr/share/lintian/*"];

/// A file of ours in the root file system.
pub struct RootFile {
    /// Where it goes, from the root.
    pub path: &'static str,
    /// Its permissions.
    pub mode: u32,
    /// What it says.
    pub text: &'static str,
}

macro_rules! root_file {
    ($path:literal, $mode:literal, $template:literal) => {
        RootFile { path: $path, mode: $mode, text: include_str!(concat!("../../../../templates/image/", $template)) }
    };
}

/// Modules that the initial RAM disk loads: with them the machine has its disks and its network card before
/// udev looks at anything.
pub const INITRD_MODULES: &[&str] = &["virtio_blk", "virtio_net", "virtio_rng"];

/// The program of the initial RAM disk.
pub const INIT: &str = include_str!("../../../../templates/image/init.sh");

/// Our files.
pub const FILES: &[RootFile] = &[
    root_file!("etc/fstab", 0o644, "fstab"),
    root_file!("etc/systemd/network/10-eth0.network", 0o644, "eth0.network"),
    root_file!("etc/systemd/networkd.conf.d/provision.conf", 0o644, "networkd.conf"),
    root_file!("etc/systemd/journald.conf.d/provision.conf", 0o644, "journald.conf"),
    root_file!("etc/systemd/system.conf.d/provision.conf", 0o644, "system.conf"),
    root_file!("etc/sysctl.d/90-kubernetes.conf", 0o644, "sysctl.conf"),
    root_file!("etc/modules-load.d/provision.conf", 0o644, "modules.conf"),
    root_file!("etc/ssh/sshd_config.d/provision.conf", 0o644, "sshd.conf"),
    root_file!("etc/chrony/chrony.conf", 0o644, "chrony.conf"),
    root_file!("etc/chrony/sources.d/debian.sources", 0o644, "chrony.sources"),
    root_file!("etc/containerd/config.toml", 0o644, "containerd.toml"),
    root_file!("etc/containerd/cni.conflist.template", 0o644, "cni.conflist.template"),
    root_file!("usr/lib/provision/machine", 0o755, "machine.sh"),
    root_file!("etc/systemd/system/provision-machine.service", 0o644, "provision-machine.service"),
    root_file!("etc/systemd/system/ssh.service", 0o644, "ssh.service"),
    root_file!("etc/systemd/system/containerd.service", 0o644, "containerd.service"),
    root_file!("etc/systemd/system/systemd-udev-trigger.service.d/provision.conf", 0o644, "udev-trigger.conf"),
    root_file!("etc/systemd/system/provision-masquerade.service", 0o644, "provision-masquerade.service"),
];

impl RootFile {
    /// The text with its one variable filled in.
    pub fn rendered(&self) -> String {
        self.text.replace("{{PAUSE_IMAGE}}", PAUSE_IMAGE)
    }
}

/// Units that are started: all others that packages switched on are switched off again.
pub const ENABLED: &[(&str, &str)] = &[
    ("sysinit.target", "/etc/systemd/system/ssh.service"),
    ("multi-user.target", "/etc/systemd/system/containerd.service"),
    ("multi-user.target", "/usr/lib/systemd/system/chrony.service"),
    ("sysinit.target", "/etc/systemd/system/provision-machine.service"),
    ("multi-user.target", "/etc/systemd/system/provision-masquerade.service"),
];

/// Units that Debian starts by itself and a node does not need.
pub const MASKED: &[&str] = &[
    "apt-daily.timer",
    "apt-daily-upgrade.timer",
    "dpkg-db-backup.timer",
    "dev-hugepages.mount",
    "getty.target",
    "kmod-static-nodes.service",
    "ldconfig.service",
    "modprobe@drm.service",
    "proc-sys-fs-binfmt_misc.automount",
    "run-lock.mount",
    "sshd-keygen.service",
    "sys-fs-fuse-connections.mount",
    "sys-kernel-config.mount",
    "sys-kernel-debug.mount",
    "sys-kernel-tracing.mount",
    "systemd-ask-password-console.path",
    "systemd-ask-password-wall.path",
    "systemd-firstboot.service",
    "systemd-hwdb-update.service",
    "systemd-journal-catalog-update.service",
    "systemd-network-generator.service",
    "systemd-pcrphase.service",
    "systemd-pcrphase-sysinit.service",
    "systemd-pstore.service",
    "systemd-random-seed.service",
    "systemd-tpm2-setup-early.service",
    "systemd-tpm2-setup.service",
    "systemd-udev-load-credentials.service",
    "systemd-update-done.service",
];

/// Programs that make units at each boot, none of which a node has.
pub const SILENCED_GENERATORS: &[&str] = &[
    "systemd-debug-generator",
    "systemd-getty-generator",
    "systemd-gpt-auto-generator",
    "systemd-hibernate-resume-generator",
    "systemd-rc-local-generator",
    "systemd-run-generator",
    "systemd-ssh-generator",
    "systemd-system-update-generator",
    "systemd-sysv-generator",
    "systemd-tpm2-generator",
];

/// Files that would make two machines alike, or that only the build needed; a trailing `*` stands for any ending.
pub const REMOVED: &[&str] = &[
    "etc/machine-id",
    "etc/hostname",
    "etc/resolv.conf",
    "etc/ssh/ssh_host_*",
    "var/lib/dbus/machine-id",
    "var/lib/systemd/random-seed",
    "var/log/*",
    "var/cache/apt/*",
    "var/cache/debconf/*",
    "var/lib/apt/lists/*",
    "vmlinuz*",
    "initrd.img*",
];

/// Programs that go into the etcd container image.
pub const ETCD_PROGRAMS: &[&str] = &["/usr/bin/etcd", "/usr/bin/etcdctl"];

/// Programs that kube-proxy calls, for its container image.
pub const NETFILTER_PROGRAMS: &[&str] = &["/usr/sbin/nft", "/usr/sbin/conntrack"];
