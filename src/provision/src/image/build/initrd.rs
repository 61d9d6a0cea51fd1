//! The kernel as machines are started with it: unpacked, and an initial RAM disk of six files.
//!
//! Debian's own initial RAM disk finds any root on any hardware, which takes an emulated machine seconds. Ours
//! loads four modules and mounts one disk.

use std::io::Read;
use std::path::{Path, PathBuf};

use super::tool::{self, BuildError};
use crate::image::files;

/// Where the boot protocol says the packed kernel is (`Documentation/arch/x86/boot.rst`).
const SETUP_SECTORS: usize = 0x1f1;
const PAYLOAD_OFFSET: usize = 0x248;
const PAYLOAD_LENGTH: usize = 0x24c;

/// The kernel is packed with a larger window than decoders accept unasked.
const WINDOW_LOG: u32 = 31;

/// The kernel as an ELF file, which QEMU starts by the PVH protocol without unpacking it in the guest; the file
/// as it is if it is packed in a way we do not know.
pub(super) fn unpack_kernel(packed: &[u8]) -> Vec<u8> {
    try_unpack(packed).filter(|kernel| kernel.starts_with(b"\x7fELF")).unwrap_or_else(|| packed.to_vec())
}

fn try_unpack(packed: &[u8]) -> Option<Vec<u8>> {
    let word = |at: usize| Some(u32::from_le_bytes(packed.get(at..at + 4)?.try_into().ok()?) as usize);
    let sectors = match *packed.get(SETUP_SECTORS)? {
        0 => 4,
        n => usize::from(n),
    };
    let start = (sectors + 1) * 512 + word(PAYLOAD_OFFSET)?;
    // The last word is the length of what is packed, for the kernel's own unpacker.
    let end = start + word(PAYLOAD_LENGTH)?.checked_sub(4)?;
    let mut decoder = zstd::Decoder::new(packed.get(start..end)?).ok()?;
    decoder.window_log_max(WINDOW_LOG).ok()?;
    let mut kernel = Vec::new();
    decoder.read_to_end(&mut kernel).ok()?;
    Some(kernel)
}

/// Makes the initial RAM disk from the root file system.
fn make(root: &Path, version: &str) -> Result<Vec<u8>, BuildError> {
    let modules = root.join("usr/lib/modules").join(version);
    let dependencies = modules.join("modules.dep");
    let text = std::fs::read_to_string(&dependencies)
        .map_err(|source| BuildError::File { path: dependencies.clone(), source })?;
    let mut archive = Archive::default();
    for dir in ["bin", "dev", "lib", "new"] {
        archive.directory(dir);
    }
    let busybox = root.join("usr/bin/busybox");
    let bytes = std::fs::read(&busybox).map_err(|source| BuildError::File { path: busybox, source })?;
    archive.file("bin/busybox", &bytes, 0o755);
    let mut order = Vec::new();
    for name in files::INITRD_MODULES {
        let wanted = load_order(&text, name).ok_or_else(|| BuildError::Incomplete { path: PathBuf::from(*name) })?;
        order.extend(wanted.into_iter().filter(|path| !order.contains(path)).collect::<Vec<_>>());
    }
    let mut names = Vec::new();
    for path in &order {
        let name = format!("lib/{}", path.rsplit('/').next().unwrap_or(path));
        let module = modules.join(path);
        let bytes = std::fs::read(&module).map_err(|source| BuildError::File { path: module, source })?;
        archive.file(&name, &bytes, 0o644);
        names.push(format!("/{name}"));
    }
    let script = files::INIT.replace("{{MODULES}}", &names.join(" "));
    archive.file("init", script.as_bytes(), 0o755);
    Ok(archive.finish())
}

/// A module and what it needs, in the order they are loaded in; paths below the modules' directory.
fn load_order(modules_dep: &str, name: &str) -> Option<Vec<String>> {
    let is = |path: &str| {
        let file = path.rsplit('/').next().unwrap_or(path);
        file.split('.').next().is_some_and(|stem| stem.replace('-', "_") == name)
    };
    let mut lines = modules_dep.lines().filter_map(|line| line.split_once(':'));
    let (path, needs) = lines.find(|(path, _)| is(path))?;
    // The list names what is needed last first.
    let mut order: Vec<String> = needs.split_whitespace().rev().map(str::to_owned).collect();
    order.push(path.to_owned());
    Some(order)
}

/// A cpio archive in the form the kernel unpacks (`Documentation/driver-api/early-userspace/buffer-format.rst`).
#[derive(Default)]
struct Archive {
    bytes: Vec<u8>,
    entries: u32,
}

impl Archive {
    fn directory(&mut self, name: &str) {
        self.entry(name, 0o040_755, &[]);
    }

    fn file(&mut self, name: &str, content: &[u8], mode: u32) {
        self.entry(name, 0o100_000 | mode, content);
    }

    fn entry(&mut self, name: &str, mode: u32, content: &[u8]) {
        self.entries += 1;
        let size = u32::try_from(content.len()).expect("files of an initial RAM disk are small");
        let name_size = u32::try_from(name.len() + 1).expect("names are short");
        // inode, mode, user, group, links, time, size, device and its number twice, name's size, checksum.
        let fields = [self.entries, mode, 0, 0, 1, 0, size, 0, 0, 0, 0, name_size, 0];
        self.bytes.extend_from_slice(b"070701");
        for field in fields {
            self.bytes.extend_from_slice(format!("{field:08X}").as_bytes());
        }
        self.bytes.extend_from_slice(name.as_bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend_from_slice(content);
        self.pad();
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }

    fn finish(mut self) -> Vec<u8> {
        self.entry("TRAILER!!!", 0, &[]);
        self.bytes
    }
}

/// Writes kernel and initial RAM disk beside the disk.
pub(super) fn write(root: &Path, version: &str, kernel: &Path, draft: &Path) -> Result<(), BuildError> {
    let packed = std::fs::read(kernel).map_err(|source| BuildError::File { path: kernel.to_owned(), source })?;
    // QEMU may run as a user of its own.
    tool::write(&draft.join("vmlinuz"), &unpack_kernel(&packed), 0o644)?;
    tool::write(&draft.join("initrd.img"), &make(root, version)?, 0o644)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_are_loaded_after_what_they_need() {
        let text = "kernel/a/virtio_net.ko: kernel/b/net_failover.ko kernel/c/failover.ko\nkernel/d/virtio-rng.ko:\n";
        let order = load_order(text, "virtio_net").unwrap();
        assert_eq!(order, ["kernel/c/failover.ko", "kernel/b/net_failover.ko", "kernel/a/virtio_net.ko"]);
        assert_eq!(load_order(text, "virtio_rng").unwrap(), ["kernel/d/virtio-rng.ko"]);
        assert_eq!(load_order(text, "absent"), None);
    }

    #[test]
    fn an_archive_is_laid_out_as_the_kernel_reads_it() {
        let mut archive = Archive::default();
        archive.file("init", b"#!", 0o755);
        let bytes = archive.finish();
        assert_eq!(bytes.len() % 4, 0);
        assert_eq!(&bytes[..6], b"070701");
        assert_eq!(&bytes[14..22], b"000081ED");
        assert_eq!(&bytes[110..115], b"init\0");
        assert_eq!(&bytes[116..118], b"#!");
        assert!(String::from_utf8_lossy(&bytes).contains("TRAILER!!!"));
    }

    #[test]
    fn a_kernel_is_unpacked_and_another_file_is_left_alone() {
        let elf = b"\x7fELF and more".to_vec();
        let packed = zstd::encode_all(elf.as_slice(), 3).unwrap();
        let mut image = vec![0; 1024];
        image[SETUP_SECTORS] = 1;
        image[PAYLOAD_LENGTH..PAYLOAD_LENGTH + 4]
            .copy_from_slice(&u32::try_from(packed.len() + 4).unwrap().to_le_bytes());
        image.extend_from_slice(&packed);
        image.extend_from_slice(&[0; 4]);
        assert_eq!(unpack_kernel(&image), elf);
        assert_eq!(unpack_kernel(b"something else"), b"something else");
        image[1026] = 0;
        assert_eq!(unpack_kernel(&image), image);
    }
}
