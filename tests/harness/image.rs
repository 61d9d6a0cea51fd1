//! A container image with nothing but busybox, for workloads in machines that have no internet.

use sha2::{Digest as _, Sha256};

/// The name of the image.
const NAME: &str = "docker.io/library/busybox:test";
/// What the workloads of the tests call.
const APPLETS: [&str; 11] =
    ["sh", "mkdir", "httpd", "nc", "timeout", "nslookup", "sleep", "cat", "echo", "env", "hostname"];

/// A statically linked busybox still loads these when it resolves a name.
const LIBRARIES: [&str; 5] = [
    "lib/x86_64-linux-gnu/libc.so.6",
    "lib/x86_64-linux-gnu/libnss_files.so.2",
    "lib/x86_64-linux-gnu/libnss_dns.so.2",
    "lib/x86_64-linux-gnu/libresolv.so.2",
    "lib64/ld-linux-x86-64.so.2",
];

/// The image as `docker save` writes it, or why it cannot be made.
pub fn busybox_archive() -> Result<Vec<u8>, String> {
    let path = "/bin/busybox";
    let busybox = std::fs::read(path).map_err(|error| format!("no {path} ({error}); install busybox-static"))?;
    let layer = layer(&busybox)?;
    let config = serde_json::json!({
        "architecture": "amd64", "os": "linux",
        "config": { "Env": ["PATH=/bin"], "Cmd": ["/bin/sh"] },
        "rootfs": { "type": "layers", "diff_ids": [format!("sha256:{}", hex::encode(Sha256::digest(&layer)))] },
    });
    let manifest = serde_json::json!([{ "Config": "config.json", "RepoTags": [NAME], "Layers": ["layer.tar"] }]);
    let mut archive = tar::Builder::new(Vec::new());
    append(&mut archive, "config.json", config.to_string().as_bytes(), 0o644);
    append(&mut archive, "layer.tar", &layer, 0o644);
    append(&mut archive, "manifest.json", manifest.to_string().as_bytes(), 0o644);
    Ok(archive.into_inner().expect("writing to memory cannot fail"))
}

fn layer(busybox: &[u8]) -> Result<Vec<u8>, String> {
    let mut layer = tar::Builder::new(Vec::new());
    append(&mut layer, "bin/busybox", busybox, 0o755);
    for applet in APPLETS {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Symlink);
        header.set_size(0);
        header.set_mode(0o777);
        layer.append_link(&mut header, format!("bin/{applet}"), "busybox").expect("writing to memory cannot fail");
    }
    for library in LIBRARIES {
        let content = std::fs::read(format!("/{library}")).map_err(|error| format!("no /{library} ({error})"))?;
        append(&mut layer, library, &content, 0o755);
    }
    append(&mut layer, "etc/passwd", b"root:x:0:0:root:/:/bin/sh\n", 0o644);
    Ok(layer.into_inner().expect("writing to memory cannot fail"))
}

fn append(archive: &mut tar::Builder<Vec<u8>>, path: &str, content: &[u8], mode: u32) {
    let mut header = tar::Header::new_gnu();
    header.set_size(content.len() as u64);
    header.set_mode(mode);
    archive.append_data(&mut header, path, content).expect("writing to memory cannot fail");
}
