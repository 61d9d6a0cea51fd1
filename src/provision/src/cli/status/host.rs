//! What a machine says of itself, in one command.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use pki::certificate::CertificateInfo;
use serde_json::Value;

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
    /// What its etcd member says of itself.
    pub(super) etcd: Option<MemberLook>,
    /// All members of etcd, as this one knows them.
    pub(super) members: Vec<ListedMember>,
}

/// An etcd member of its own.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct MemberLook {
    pub(super) id: u64,
    pub(super) version: String,
    pub(super) leader: u64,
    pub(super) bytes: u64,
}

/// An etcd member as others know it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct ListedMember {
    pub(super) id: u64,
    pub(super) name: String,
    pub(super) learner: bool,
}

/// Prints a line for each fact. No private key is read but by `etcdctl`.
pub(super) fn script() -> String {
    format!(
        r#"echo "clock $(date +%s)"
echo "components $(cat /var/lib/provision/components 2>/dev/null || true)"
systemctl show {UNITS} -p Id,ActiveState,SubState,UnitFileState 2>/dev/null | sed 's/^/unit /' || true
pem=/var/lib/kubelet/pki/kubelet-client-current.pem
[ ! -r $pem ] || echo "kubelet-certificate $(sed -n '/BEGIN CERT/,/END CERT/p' $pem | base64 -w0)"
pki=/etc/kubernetes/pki/etcd
if [ -r $pki/healthcheck-client.key ]; then
  ctl="timeout 15 etcdctl --endpoints=https://127.0.0.1:2379 --cacert=$pki/ca.crt --cert=$pki/healthcheck-client.crt"
  ctl="$ctl --key=$pki/healthcheck-client.key --dial-timeout=10s --command-timeout=12s -w json"
  # Go starts slowly on an emulated machine: both at once.
  echo "etcd $($ctl endpoint status 2>/dev/null | tr -d '\n')" &
  echo "members $($ctl member list 2>/dev/null | tr -d '\n')" &
  wait
fi"#
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
            "etcd" => look.etcd = member(rest),
            "members" => look.members = members(rest),
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

fn member(json: &str) -> Option<MemberLook> {
    let answers: Value = serde_json::from_str(json).ok()?;
    let status = &answers[0]["Status"];
    Some(MemberLook {
        id: status["header"]["member_id"].as_u64()?,
        version: status["version"].as_str().unwrap_or_default().to_owned(),
        leader: status["leader"].as_u64().unwrap_or_default(),
        bytes: status["dbSize"].as_u64().unwrap_or_default(),
    })
}

fn members(json: &str) -> Vec<ListedMember> {
    let answer: Value = serde_json::from_str(json).unwrap_or_default();
    let listed = answer["members"].as_array().cloned().unwrap_or_default();
    listed
        .iter()
        .filter_map(|member| {
            Some(ListedMember {
                id: member["ID"].as_u64()?,
                name: member["name"].as_str().unwrap_or_default().to_owned(),
                learner: member["isLearner"].as_bool().unwrap_or_default(),
            })
        })
        .collect()
}
