//! The certificates of a cluster and when they end.

use std::collections::BTreeMap;
use std::path::Path;

use jiff::Timestamp;
use pki::certificate::CertificateInfo;
use serde::Serialize;

use super::host::HostLook;
use super::look::Raw;
use crate::context::Context;

/// A certificate that ends sooner is a problem.
const SOON_DAYS: i64 = 30;

/// A certificate.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Certificate {
    /// The machine, or `cluster`.
    pub(super) machine: String,
    pub(super) name: String,
    pub(super) expires: Timestamp,
    pub(super) days: i64,
}

/// Those in the state directory, which are there whatever runs, and those that kubelets have got since.
pub(super) fn certificates(context: &Context, raw: &Raw, now: Timestamp) -> Vec<Certificate> {
    let mut found: BTreeMap<(String, String), Timestamp> = BTreeMap::new();
    read_certificates(&context.state.path("pki"), &mut Vec::new(), &mut found);
    for (name, host) in &raw.hosts {
        if let Ok(HostLook { kubelet_certificate: Some(certificate), .. }) = host {
            // What was issued first counts no more.
            found.insert((name.clone(), "kubelet.conf".to_owned()), certificate.not_after);
        }
    }
    let mut certificates: Vec<Certificate> = found
        .into_iter()
        .map(|((machine, name), expires)| {
            let days = expires.duration_since(now).as_hours().div_euclid(24);
            Certificate { machine, name, expires, days }
        })
        .collect();
    certificates.sort_by_key(|certificate| certificate.expires);
    certificates
}

/// `pki/ca.crt` is the cluster's, `pki/machines/<machine>/etcd/peer.crt` a machine's.
fn read_certificates(folder: &Path, way: &mut Vec<String>, found: &mut BTreeMap<(String, String), Timestamp>) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        let Ok(name) = entry.file_name().into_string() else { continue };
        if path.is_dir() {
            way.push(name);
            read_certificates(&path, way, found);
            way.pop();
        } else if path.extension().is_some_and(|end| end == "crt")
            && let Ok(text) = std::fs::read_to_string(&path)
            && let Ok(info) = CertificateInfo::from_pem(&text)
        {
            let (machine, inner) = match way.as_slice() {
                [first, machine, inner @ ..] if first == "machines" => (machine.clone(), inner),
                inner => ("cluster".to_owned(), inner),
            };
            let name = inner.iter().chain([&name]).map(String::as_str).collect::<Vec<_>>().join("/");
            found.insert((machine, name), info.not_after);
        }
    }
}

/// What to say about those that have ended or soon will.
pub(super) fn ending(certificates: &[Certificate]) -> impl Iterator<Item = String> {
    certificates.iter().filter_map(|Certificate { machine, name, days, .. }| match days {
        ..0 => Some(format!("{machine}: the certificate {name} has expired")),
        0..SOON_DAYS => Some(format!("{machine}: the certificate {name} expires in {days} days")),
        _ => None,
    })
}
