//! Container images of the components, made without a registry: one OCI layout archive that
//! `ctr -n k8s.io images import` takes as it is.
//!
//! All images of one binary share one layer, so that the archive holds it once and a node unpacks it once.

use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::layer::Layer;
use super::packages::ContainerPrograms;

/// The image that every pod's sandbox runs; its name is part of the node image's containerd configuration.
pub const PAUSE_IMAGE: &str = "provision.local/pause:1";

/// Components that are the node binary under another name.
pub const COMPONENTS: &[&str] =
    &["kube-apiserver", "kube-controller-manager", "kube-scheduler", "kube-proxy", "cluster-dns"];

/// Where images have the program that all components are.
pub(crate) const HYPERKUBE: &str = "usr/local/bin/hyperkube";

/// Where a node has it, for its kubelet.
pub(crate) const NODE_PROGRAM: &str = "/usr/local/lib/provision/hyperkube";

/// Changes when the way archives are made changes.
pub(super) const FORMAT: &str = "oci/2";

/// Good compression for a file that is sent to every node and read there once.
const ZSTD_LEVEL: i32 = 9;

/// How much of a file is read at once.
const PIECE: usize = 1 << 20;

/// An archive with images, and what is in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageBundle {
    /// The archive.
    pub path: PathBuf,
    /// Its SHA-256, in hexadecimal.
    pub sha256: String,
    /// The names of the images, as pods refer to them.
    pub images: Vec<String>,
}

/// A bundle could not be made.
#[derive(Debug, thiserror::Error)]
#[error("cannot make container images: {action} {path}")]
pub struct OciError {
    /// The verb, for a person.
    pub action: &'static str,
    /// The file.
    pub path: PathBuf,
    /// What the system said.
    #[source]
    pub source: io::Error,
}

/// Makes, or finds in `cache_dir`, the archive with the images of all components, of pause and of etcd.
///
/// Blocks for about a second when the archive must be made.
pub fn component_images(
    hyperkube: &Path,
    programs: &ContainerPrograms,
    tag: &str,
    cache_dir: &Path,
) -> Result<ImageBundle, OciError> {
    fn read<T>(path: &Path, read: impl FnOnce(&Path) -> io::Result<T>) -> Result<T, OciError> {
        read(path).map_err(|source| OciError { action: "reading", path: path.to_owned(), source })
    }
    let mut parts = vec![FORMAT.to_owned(), tag.to_owned()];
    for path in [hyperkube, &programs.etcd, &programs.netfilter] {
        parts.push(read(path, file_hash)?);
    }
    let key = key(&parts);
    let dir = cache_dir.join("bundles");
    let path = dir.join(format!("{key}.tar"));
    let images = names(tag);
    let failed = |action| {
        let path = path.clone();
        move |source| OciError { action, path, source }
    };
    if !path.exists() {
        let bytes = |path: &Path| read(path, |path| std::fs::read(path));
        let programs = Programs { etcd: bytes(&programs.etcd)?, netfilter: bytes(&programs.netfilter)? };
        let bytes = archive(hyperkube, &programs, tag).map_err(failed("packing"))?;
        put(&dir, &path, &bytes).map_err(failed("writing"))?;
    }
    Ok(ImageBundle { sha256: file_hash(&path).map_err(failed("reading"))?, path, images })
}

/// The SHA-256 of a file, in hexadecimal; the file is never in memory as a whole.
pub fn file_hash(path: &Path) -> io::Result<String> {
    let (mut file, mut hash) = (std::fs::File::open(path)?, Sha256::new());
    let mut piece = vec![0; PIECE];
    loop {
        match file.read(&mut piece)? {
            0 => return Ok(hex::encode(hash.finalize())),
            read => hash.update(&piece[..read]),
        }
    }
}

/// Writes a file of `dir` by way of a draft of its own: several machines, and several runs, may write the same at once.
fn put(dir: &Path, path: &Path, bytes: &[u8]) -> io::Result<()> {
    std::fs::create_dir_all(dir)?;
    let readable = std::fs::Permissions::from_mode(0o644);
    let mut draft = tempfile::Builder::new().prefix(".draft-").permissions(readable).tempfile_in(dir)?;
    draft.write_all(bytes)?;
    draft.persist(path)?;
    Ok(())
}

/// The image of a component.
pub fn image_name(component: &str, tag: &str) -> String {
    format!("provision.local/{component}:{tag}")
}

/// The names of all images of a release.
pub(crate) fn names(tag: &str) -> Vec<String> {
    let tagged = COMPONENTS.iter().chain(&["pause"]).map(|component| image_name(component, tag));
    tagged.chain([PAUSE_IMAGE.to_owned(), image_name("etcd", tag)]).collect()
}

fn key(parts: &[String]) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    hex::encode(&hash.finalize()[..8])
}

/// Layers with programs that are not ours.
struct Programs {
    etcd: Vec<u8>,
    netfilter: Vec<u8>,
}

fn archive(hyperkube: &Path, programs: &Programs, tag: &str) -> io::Result<Vec<u8>> {
    let mut layout = Layout::default();
    let mut layer = Layer::default();
    layer.file(HYPERKUBE, hyperkube, 0o755);
    for component in COMPONENTS.iter().chain(&["pause"]) {
        layer.link(&format!("usr/local/bin/{component}"), "hyperkube");
    }
    layer.text("etc/passwd", "root:x:0:0:root:/:/sbin/nologin\nnobody:x:65534:65534:nobody:/:/sbin/nologin\n", 0o644);
    layer.text("etc/group", "root:x:0:\nnogroup:x:65534:\n", 0o644);
    layer.directory("tmp");
    let ours = layout.add_layer(&layer.to_bytes()?)?;
    let netfilter = layout.add_layer(&programs.netfilter)?;
    for component in COMPONENTS {
        let entrypoint = format!("/usr/local/bin/{component}");
        let layers: &[&StoredLayer] = if *component == "kube-proxy" { &[&ours, &netfilter] } else { &[&ours] };
        layout.add_image(&[image_name(component, tag)], layers, &entrypoint, "0:0");
    }
    let pause = [image_name("pause", tag), PAUSE_IMAGE.to_owned()];
    layout.add_image(&pause, &[&ours], "/usr/local/bin/pause", "65534:65534");
    let etcd = layout.add_layer(&programs.etcd)?;
    layout.add_image(&[image_name("etcd", tag)], &[&etcd], "/usr/bin/etcd", "0:0");
    layout.finish()
}

/// A layer that stands in the layout.
struct StoredLayer {
    descriptor: Value,
    diff_id: String,
}

/// An OCI image layout as it grows.
#[derive(Default)]
struct Layout {
    files: Layer,
    manifests: Vec<Value>,
}

impl Layout {
    fn add_blob(&mut self, bytes: Vec<u8>, media_type: &str) -> Value {
        let digest = hex::encode(Sha256::digest(&bytes));
        let descriptor = json!({ "mediaType": media_type, "digest": format!("sha256:{digest}"), "size": bytes.len() });
        self.files.text(&format!("blobs/sha256/{digest}"), bytes, 0o644);
        descriptor
    }

    fn add_layer(&mut self, tar: &[u8]) -> io::Result<StoredLayer> {
        let diff_id = format!("sha256:{}", hex::encode(Sha256::digest(tar)));
        let packed = zstd::encode_all(tar, ZSTD_LEVEL)?;
        let descriptor = self.add_blob(packed, "application/vnd.oci.image.layer.v1.tar+zstd");
        Ok(StoredLayer { descriptor, diff_id })
    }

    fn add_image(&mut self, names: &[String], layers: &[&StoredLayer], entrypoint: &str, user: &str) {
        let diff_ids: Vec<&str> = layers.iter().map(|layer| layer.diff_id.as_str()).collect();
        let descriptors: Vec<&Value> = layers.iter().map(|layer| &layer.descriptor).collect();
        let config = json!({
            "architecture": "amd64",
            "os": "linux",
            "config": {
                "User": user,
                "Entrypoint": [entrypoint],
                "WorkingDir": "/",
                "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
            },
            "rootfs": { "type": "layers", "diff_ids": diff_ids },
        });
        let config = self.add_blob(config.to_string().into_bytes(), "application/vnd.oci.image.config.v1+json");
        let manifest_type = "application/vnd.oci.image.manifest.v1+json";
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": manifest_type,
            "config": config,
            "layers": descriptors,
        });
        let descriptor = self.add_blob(manifest.to_string().into_bytes(), manifest_type);
        for name in names {
            let mut entry = descriptor.clone();
            let reference = name.rsplit(':').next().unwrap_or(name);
            entry["annotations"] =
                json!({ "io.containerd.image.name": name, "org.opencontainers.image.ref.name": reference });
            self.manifests.push(entry);
        }
    }

    fn finish(mut self) -> io::Result<Vec<u8>> {
        let index = json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.index.v1+json",
            "manifests": self.manifests,
        });
        self.files.text("index.json", index.to_string(), 0o644);
        self.files.text("oci-layout", r#"{"imageLayoutVersion":"1.0.0"}"#, 0o644);
        self.files.to_bytes()
    }
}

#[cfg(test)]
mod tests;
