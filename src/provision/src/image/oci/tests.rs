use std::collections::BTreeMap;
use std::io::Read;

use super::*;

struct Lab {
    dir: tempfile::TempDir,
    programs: ContainerPrograms,
}

fn lab() -> Lab {
    let dir = tempfile::tempdir().unwrap();
    let etcd_layer = dir.path().join("etcd.tar");
    let mut layer = Layer::default();
    layer.text("usr/bin/etcd", "etcd", 0o755);
    std::fs::write(&etcd_layer, layer.to_bytes().unwrap()).unwrap();
    let netfilter_layer = dir.path().join("netfilter.tar");
    std::fs::write(&netfilter_layer, layer.to_bytes().unwrap()).unwrap();
    std::fs::write(dir.path().join("hyperkube"), "binary").unwrap();
    let programs = ContainerPrograms { etcd: etcd_layer, netfilter: netfilter_layer };
    Lab { dir, programs }
}

impl Lab {
    fn bundle(&self, tag: &str, cache: &str) -> ImageBundle {
        let hyperkube = self.dir.path().join("hyperkube");
        component_images(&hyperkube, &self.programs, tag, &self.dir.path().join(cache)).unwrap()
    }
}

fn unpack(path: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    let bytes = std::fs::read(path).unwrap();
    for entry in tar::Archive::new(bytes.as_slice()).entries().unwrap() {
        let mut entry = entry.unwrap();
        let name = entry.path().unwrap().to_string_lossy().into_owned();
        let mut content = Vec::new();
        entry.read_to_end(&mut content).unwrap();
        files.insert(name, content);
    }
    files
}

#[test]
fn the_same_input_gives_the_same_bytes_and_is_found_again() {
    let lab = lab();
    let (a, b) = (lab.bundle("v1", "one"), lab.bundle("v1", "two"));
    assert_eq!(a.sha256, b.sha256);
    assert_eq!(lab.bundle("v1", "one"), a);
    assert_ne!(lab.bundle("v2", "one").path, a.path);
}

#[test]
fn several_may_make_the_same_at_once() {
    let lab = lab();
    let made: Vec<ImageBundle> = std::thread::scope(|scope| {
        let makers: Vec<_> = (0..8).map(|_| scope.spawn(|| lab.bundle("v1", "one"))).collect();
        makers.into_iter().map(|maker| maker.join().unwrap()).collect()
    });
    assert!(made.windows(2).all(|pair| pair[0] == pair[1]));
    assert_eq!(std::fs::read_dir(made[0].path.parent().unwrap()).unwrap().count(), 1, "no draft stays");
}

#[test]
fn every_descriptor_leads_to_a_blob_of_that_digest_and_size() {
    let files = unpack(&lab().bundle("v1", "c").path);
    let blob = |descriptor: &Value| {
        let digest = descriptor["digest"].as_str().unwrap().trim_start_matches("sha256:").to_owned();
        let bytes = &files[&format!("blobs/sha256/{digest}")];
        assert_eq!(hex::encode(Sha256::digest(bytes)), digest);
        assert_eq!(bytes.len() as u64, descriptor["size"].as_u64().unwrap());
        bytes.clone()
    };
    let index: Value = serde_json::from_slice(&files["index.json"]).unwrap();
    let mut seen = Vec::new();
    for named in index["manifests"].as_array().unwrap() {
        seen.push(named["annotations"]["io.containerd.image.name"].as_str().unwrap().to_owned());
        let manifest: Value = serde_json::from_slice(&blob(named)).unwrap();
        let config: Value = serde_json::from_slice(&blob(&manifest["config"])).unwrap();
        let unpacked = |layer: &Value| zstd::decode_all(blob(layer).as_slice()).unwrap();
        let diff_id = |layer: &Value| format!("sha256:{}", hex::encode(Sha256::digest(unpacked(layer))));
        let diff_ids: Vec<String> = manifest["layers"].as_array().unwrap().iter().map(diff_id).collect();
        assert_eq!(config["rootfs"]["diff_ids"], json!(diff_ids));
    }
    assert_eq!(seen, names("v1"));
    assert!(seen.contains(&"provision.local/kube-apiserver:v1".to_owned()));
    assert!(seen.contains(&PAUSE_IMAGE.to_owned()));
}
