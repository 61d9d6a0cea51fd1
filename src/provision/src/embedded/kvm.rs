//! Whether KVM works: a device that can be opened proves nothing, so a guest of 512 bytes is run.

use std::io::Write;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;

/// A boot sector that writes 0x21 to the debug-exit port, which ends QEMU with 2 * 0x21 + 1:
/// `mov dx,0xf4; mov al,0x21; out dx,al; hlt`.
const GUEST: [u8; 7] = [0xba, 0xf4, 0x00, 0xb0, 0x21, 0xee, 0xf4];

/// The exit code of a guest that ran.
const RAN: i32 = 67;

/// With working KVM the guest ends in a fraction of a second.
const PATIENCE: Duration = Duration::from_secs(3);

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kvm {
    /// Guests run on the CPU itself.
    Usable,
    /// Guests are emulated (TCG), several times slower; the reason is for a person.
    Unusable(String),
}

impl Kvm {
    /// Whether guests run on the CPU itself.
    pub fn is_usable(&self) -> bool {
        *self == Kvm::Usable
    }
}

/// Finds out.
pub async fn probe() -> Kvm {
    if !Path::new("/dev/kvm").exists() {
        return Kvm::Unusable("there is no /dev/kvm".into());
    }
    if let Err(e) = std::fs::OpenOptions::new().read(true).write(true).open("/dev/kvm") {
        return Kvm::Unusable(format!("/dev/kvm cannot be opened: {e}"));
    }
    // Some clouds offer a KVM that emulates or needs changed guests; they do not set these flags.
    let flags = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    if !has_virtualization(&flags) {
        return Kvm::Unusable("/dev/kvm is there but the CPU has neither vmx nor svm".into());
    }
    match run_guest().await {
        Ok(true) => Kvm::Usable,
        Ok(false) => Kvm::Unusable("/dev/kvm is there but a test guest does not run".into()),
        Err(e) => Kvm::Unusable(format!("a test guest cannot be started: {e}")),
    }
}

fn has_virtualization(cpuinfo: &str) -> bool {
    let flags = cpuinfo.lines().find(|line| line.starts_with("flags")).unwrap_or_default();
    flags.split_whitespace().any(|flag| flag == "vmx" || flag == "svm")
}

async fn run_guest() -> std::io::Result<bool> {
    let mut sector = tempfile::NamedTempFile::new()?;
    let mut bytes = [0_u8; 512];
    bytes[..GUEST.len()].copy_from_slice(&GUEST);
    bytes[510..].copy_from_slice(&[0x55, 0xaa]);
    sector.write_all(&bytes)?;
    let drive = format!("file={},format=raw,if=ide,snapshot=on", sector.path().display());
    let mut command = Command::new("qemu-system-x86_64");
    command.args(["-accel", "kvm", "-machine", "pc", "-cpu", "host", "-m", "16", "-nodefaults"]);
    command.args([
        "-display",
        "none",
        "-no-reboot",
        "-device",
        "isa-debug-exit,iobase=0xf4,iosize=4",
        "-drive",
        &drive,
    ]);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
    let mut child = command.spawn()?;
    let Ok(status) = tokio::time::timeout(PATIENCE, child.wait()).await else {
        child.kill().await?;
        return Ok(false);
    };
    Ok(status?.code() == Some(RAN))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_flag_must_be_a_word() {
        assert!(has_virtualization("model\nflags\t\t: fpu vmx sse\n"));
        assert!(has_virtualization("flags : svm"));
        assert!(!has_virtualization("flags : fpu svmx\nbugs: vmx"));
    }
}
