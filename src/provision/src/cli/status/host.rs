//! What a machine says of itself, in one command.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use pki::certificate::CertificateInfo;

/// The units that may be of ours, each shown where it is at home.
const UNITS: &str = "kubelet containerd etcd haproxy keepalived";

/// One machine.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct HostLook {
    /// Tag of the node programs.
    pub(super) components: String,
    /// Units that are at home here, with their state.
    pub(super) units: BTreeMap<String, String>,
    /// Its clock, in seconds since 1970.
    pub(super) clock: Option<i64>,
    /// The certificate that its kubelet has now, as PEM.
    pub(super) kubelet_certificate: Option<CertificateInfo>,
}

/// Prints a line for each fact. No private key is read.
pub(super) fn script() -> String {
    format!(
        r#"echo "clock $(date +%s)"
echo "components $(cat /var/lib/provision/components 2>/dev/null || true)"
systemctl show {UNITS} -p Id,ActiveState,SubState,UnitFileState 2>/dev/null | sed 's/^/unit /' || true
pem=/var/lib/kubelet/pki/kubelet-client-current.pem
[ ! -r $pem ] || echo "kubelet-certificate $(sed -n '/BEGIN CERT/,/END CERT/p' $pem | base64 -w0)""#
    )
}

/// Reads what the script has printed; what is missing or strange is left out.
pub(super) fn parse(output: &str) -> HostLook {
    let mut look = HostLook::default();
    let mut unit: BTreeMap<&str, &str> = BTreeMap::new();
    for line in output.lines() {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        match word {
            "clock" => look.clock = rest.trim().parse().ok(),
            "components" => rest.trim().clone_into(&mut look.components),
            "unit" => match rest.split_once('=') {
                Some((key, value)) => {
                    unit.insert(key, value);
                }
                None => keep(&mut look, &std::mem::take(&mut unit)),
            },
            "kubelet-certificate" => look.kubelet_certificate = certificate(rest),
            _ => {}
        }
    }
    keep(&mut look, &unit);
    look
}

/// A unit that is neither on nor meant to be is not at home here. That one is meant to be says little: packages enable theirs.
fn keep(look: &mut HostLook, unit: &BTreeMap<&str, &str>) {
    let (Some(id), Some(active)) = (unit.get("Id"), unit.get("ActiveState")) else { return };
    let meant = unit.get("UnitFileState").is_some_and(|state| state.starts_with("enabled"));
    if *active == "inactive" && !meant {
        return;
    }
    let state = match (*active, unit.get("SubState")) {
        ("active", _) | (_, None) => (*active).to_owned(),
        (active, Some(sub)) => format!("{active} ({sub})"),
    };
    look.units.insert(id.trim_end_matches(".service").to_owned(), state);
}

fn certificate(base64: &str) -> Option<CertificateInfo> {
    let pem = STANDARD.decode(base64.trim()).ok()?;
    CertificateInfo::from_pem(std::str::from_utf8(&pem).ok()?).ok()
}
