use std::collections::BTreeSet;
use std::process::Command;

use super::*;
use crate::image::build::Manifest;
use crate::image::layer::Layer;
use crate::image::{ContainerPrograms, component_images};

const TAG: &str = "v0.1.0-one";
const PROGRAM: &str = "the program of all components";

/// A node image with this host's containerd in it, and the archive of a release.
struct Lab {
    dir: tempfile::TempDir,
    image: NodeImage,
    archive: PathBuf,
}

fn image(dir: &Path) -> NodeImage {
    let file = |name: &str| dir.join("image").join(name);
    NodeImage {
        disk: file("disk.raw"),
        kernel: file("vmlinuz"),
        initrd: file("initrd.img"),
        etcd_layer: file("etcd.tar"),
        netfilter_layer: file("netfilter.tar"),
        hash: "0123456789abcdef".to_owned(),
        manifest: Manifest {
            suite: "trixie".to_owned(),
            kernel: "6.12".to_owned(),
            build_seconds: 1.5,
            packages: vec!["containerd=1.7.24".to_owned()],
        },
    }
}

impl Lab {
    /// None, with the reason said, where disks cannot be made.
    fn new() -> Option<Self> {
        let programs = ["containerd", "ctr", "mke2fs", "debugfs", "e2fsck", "qemu-img", "unshare"];
        let missing = programs.into_iter().find(|program| !tool::is_installed(program));
        if missing.is_some() || !nix::unistd::geteuid().is_root() {
            eprintln!("skipped: {} and root are needed", missing.unwrap_or("containerd"));
            return None;
        }
        let dir = tempfile::tempdir().unwrap();
        let image = image(dir.path());
        let root = dir.path().join("root");
        for folder in ["var/lib", "usr/bin", "usr/local/lib"] {
            std::fs::create_dir_all(root.join(folder)).unwrap();
        }
        for program in containerd::PROGRAMS {
            let place = root.join(program.trim_start_matches('/'));
            std::fs::create_dir_all(place.parent().unwrap()).unwrap();
            std::fs::copy(program, place).unwrap();
        }
        std::fs::create_dir(dir.path().join("image")).unwrap();
        ran(Command::new("mke2fs").args(["-q", "-t", "ext4", "-d"]).arg(root).arg(&image.disk).arg("512M"));
        for layer in [&image.etcd_layer, &image.netfilter_layer] {
            let mut programs = Layer::default();
            programs.text(&layer.file_stem().unwrap().to_string_lossy(), "a program", 0o755);
            std::fs::write(layer, programs.to_bytes().unwrap()).unwrap();
        }
        let hyperkube = dir.path().join("hyperkube");
        std::fs::write(&hyperkube, PROGRAM).unwrap();
        let archive = component_images(&hyperkube, &ContainerPrograms::from(&image), TAG, dir.path()).unwrap().path;
        Some(Self { dir, image, archive })
    }

    async fn build(&self, archive: &Path) -> Result<ComponentDisk, BuildError> {
        build(&self.image, archive, TAG, || ()).await
    }

    /// What lies beside the node image's disk and was not there before.
    fn left(&self) -> BTreeSet<String> {
        let entries = std::fs::read_dir(self.dir.path().join("image")).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter(|name| !["disk.raw", "etcd.tar", "netfilter.tar", ".lock"].contains(&name.as_str())).collect()
    }
}

fn ran(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// The disk as a machine sees it, as one raw file.
fn flat(disk: &ComponentDisk, dir: &Path) -> PathBuf {
    let raw = dir.join("flat.raw");
    ran(Command::new("qemu-img").args(["convert", "-O", "raw"]).arg(&disk.disk).arg(&raw));
    raw
}

#[test]
fn everything_that_is_in_the_disk_shows_in_its_name() {
    let dir = Path::new("/cache");
    let plain = image(dir);
    let mut newer = plain.clone();
    newer.manifest.packages = vec!["containerd=1.7.25".to_owned()];
    let mut again = plain.clone();
    again.manifest.build_seconds = 2.5;
    let names: BTreeSet<PathBuf> =
        [place(&plain, "a"), place(&plain, "b"), place(&newer, "a"), place(&again, "a"), place(&plain.clone(), "a")]
            .into();
    assert_eq!(names.len(), 4, "{names:?}");
}

#[tokio::test]
async fn a_disk_has_what_containerd_imported_the_program_of_the_kubelet_and_the_mark() {
    let Some(lab) = Lab::new() else { return };
    assert_eq!(cached(&lab.image, TAG), None);
    let made = lab.build(&lab.archive).await.unwrap();
    assert_eq!(cached(&lab.image, TAG), Some(made.clone()));
    assert_eq!(cached(&lab.image, "v0.1.0-two"), None);
    let info = ran(Command::new("qemu-img").args(["info", "--output=json"]).arg(&made.disk));
    let info: serde_json::Value = serde_json::from_str(&info).unwrap();
    assert_eq!((&info["backing-filename"], &info["backing-filename-format"]), (&"disk.raw".into(), &"raw".into()));

    let raw = flat(&made, lab.dir.path());
    ran(Command::new("e2fsck").args(["-f", "-n"]).arg(&raw));
    let look = |request: &str| ran(Command::new("debugfs").args(["-R", request]).arg(&raw));
    assert_eq!(look("cat /var/lib/provision/components"), format!("{TAG}\n"));
    assert_eq!(look("cat /usr/local/lib/provision/hyperkube"), PROGRAM);
    assert!(look("stat /usr/local/lib/provision/hyperkube").contains("Mode:  0755"));
    assert!(look("stat /usr/bin/kubelet").contains("/usr/local/lib/provision/hyperkube"));
    let kept = lab.dir.path().join("kept");
    std::fs::create_dir(&kept).unwrap();
    look(&format!("dump /var/lib/containerd/io.containerd.metadata.v1.bolt/meta.db {}/meta.db", kept.display()));
    let database = String::from_utf8_lossy(&std::fs::read(kept.join("meta.db")).unwrap()).into_owned();
    for name in crate::image::oci::names(TAG) {
        assert!(database.contains(&name), "containerd does not know {name}");
    }
}

#[tokio::test]
async fn several_that_want_a_disk_at_once_get_the_same_and_no_draft_of_a_killed_run_is_left() {
    let Some(lab) = Lab::new() else { return };
    let killed = lab.image.disk.with_file_name(format!("{DRAFT}killed"));
    std::fs::create_dir(&killed).unwrap();
    std::fs::write(killed.join("filled.raw"), "half").unwrap();
    let (a, b) = tokio::join!(lab.build(&lab.archive), lab.build(&lab.archive));
    let disk = a.unwrap();
    assert_eq!(b.unwrap(), disk);
    let name = disk.disk.file_name().unwrap().to_string_lossy().into_owned();
    assert_eq!(lab.left(), [name].into());
    let made = std::fs::metadata(&disk.disk).unwrap().modified().unwrap();
    lab.build(&lab.archive).await.unwrap();
    assert_eq!(std::fs::metadata(&disk.disk).unwrap().modified().unwrap(), made, "it is made once");
}

#[tokio::test]
async fn what_cannot_be_imported_is_said_and_leaves_nothing() {
    let Some(lab) = Lab::new() else { return };
    let broken = lab.dir.path().join("broken.tar");
    std::fs::write(&broken, "no archive").unwrap();
    let error = lab.build(&broken).await.unwrap_err();
    assert!(error.to_string().starts_with("containerd failed: "), "{error}");
    assert_eq!((lab.left(), cached(&lab.image, TAG)), (BTreeSet::new(), None));
    // A node image of another making has no containerd where we look for it.
    ran(Command::new("debugfs").args(["-w", "-R", "rm /usr/bin/containerd"]).arg(&lab.image.disk));
    let error = lab.build(&lab.archive).await.unwrap_err();
    assert!(error.to_string().starts_with("debugfs failed: /usr/bin/containerd"), "{error}");
    assert_eq!((lab.left(), cached(&lab.image, TAG)), (BTreeSet::new(), None));
}
