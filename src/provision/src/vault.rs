//! The secrets of a cluster: authorities, leaf certificates, keys and kubeconfigs, made once and kept in its state
//! directory in files that only their owner can read.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};
use jiff::Timestamp;
use pki::certificate::CertificateInfo;
use pki::control_plane::{Authority, CA_LIFETIME, CertificateSpec, Destination};
use pki::kubeconfig::{self, KubeconfigSpec};
use pki::{CertificateAuthority, KeyPair, KeyPairPem, SubjectAltName};
use ssh::Identity;

use crate::exit::{Exit, Refusal};
use crate::state::{StateDir, private_dir, read_if_there, write_private};

/// A certificate that ends sooner than this is issued anew by the next run.
const RENEWED_BEFORE: Duration = Duration::from_hours(30 * 24);

/// Every secret by its path below the state directory.
pub struct Vault {
    files: BTreeMap<String, String>,
    authorities: BTreeMap<&'static str, CertificateAuthority>,
    now: Timestamp,
}

/// Whom a kubeconfig talks to.
pub struct Server<'a> {
    /// The cluster's name.
    pub cluster: &'a str,
    /// The address, `https://host:port`.
    pub url: &'a str,
    /// Every API server as `address:port`, for clients that choose for themselves.
    pub addresses: &'a [String],
}

impl Vault {
    /// Reads the secrets of a cluster, and makes authorities and keys that it does not have yet. Nothing is written.
    pub fn open(state: &StateDir, now: Timestamp) -> Result<Self> {
        let mut files = BTreeMap::new();
        for folder in ["pki", "ssh"] {
            read_tree(state.root(), folder, &mut files)?;
        }
        let mut vault = Self { files, authorities: BTreeMap::new(), now };
        for authority in Authority::ALL {
            vault.open_authority(authority)?;
        }
        vault.keep("pki/sa.key", || Ok(KeyPair::generate()?.to_pem()))?;
        let service_accounts = KeyPair::from_pem(&vault.files["pki/sa.key"])?;
        vault.keep("pki/sa.pub", || Ok(service_accounts.public_key_pem()))?;
        vault.keep("ssh/id_ed25519", || Ok(Identity::generate("provision").to_openssh()))?;
        Ok(vault)
    }

    /// Brings every secret to the disk.
    pub fn save(&self, state: &StateDir) -> Result<()> {
        for (name, content) in &self.files {
            let path = state.path(name);
            if let Some(folder) = path.parent() {
                private_dir(folder)?;
            }
            write_private(&path, content.as_bytes())?;
        }
        Ok(())
    }

    /// The key that we log in with.
    pub fn identity(&self) -> Result<Identity> {
        Ok(Identity::from_openssh("ssh/id_ed25519 in the state directory", &self.files["ssh/id_ed25519"])?)
    }

    /// A secret by its path below the state directory, such as `pki/ca.crt`.
    pub fn text(&self, path: &str) -> Result<&str> {
        self.files.get(path).map(String::as_str).with_context(|| format!("the state directory has no {path}"))
    }

    /// The certificate of an authority.
    pub fn authority(&self, authority: Authority) -> &CertificateAuthority {
        &self.authorities[authority.file()]
    }

    /// The files that `spec` stands for on `machine`, by their path on the machine; issued once, then kept.
    pub fn issue(
        &mut self,
        machine: &str,
        spec: &CertificateSpec,
        server: &Server<'_>,
    ) -> Result<Vec<(String, String)>> {
        let name = match spec.destination {
            Destination::KeyPair { file } | Destination::Kubeconfig { file } => file,
        };
        let pair = self.pair(&format!("pki/machines/{machine}/{name}"), spec)?;
        Ok(match spec.destination {
            Destination::KeyPair { file } => {
                let path = format!("/etc/kubernetes/pki/{file}");
                vec![(format!("{path}.crt"), pair.cert_pem), (format!("{path}.key"), pair.key_pem)]
            }
            Destination::Kubeconfig { file } => {
                let text = kubeconfig::render(&KubeconfigSpec {
                    cluster: server.cluster.to_owned(),
                    server: server.url.to_owned(),
                    api_servers: server.addresses.to_vec(),
                    ca_pem: self.authority(Authority::Cluster).cert_pem().to_owned(),
                    user: spec.request.common_name.clone(),
                    client_cert_pem: pair.cert_pem,
                    client_key_pem: pair.key_pem,
                });
                vec![(format!("/etc/kubernetes/{file}"), text)]
            }
        })
    }

    /// The certificate and key kept at `path`; issued now if there is none, if it says something else than `spec` wants,
    /// or if it ends soon.
    pub fn pair(&mut self, path: &str, spec: &CertificateSpec) -> Result<KeyPairPem> {
        let (cert, key) = (format!("{path}.crt"), format!("{path}.key"));
        if let (Some(cert_pem), Some(key_pem)) = (self.files.get(&cert), self.files.get(&key))
            && self.still_good(cert_pem, spec).with_context(|| format!("{cert} in the state directory"))?
        {
            return Ok(KeyPairPem { cert_pem: cert_pem.clone(), key_pem: key_pem.clone() });
        }
        let pair = self.authority(spec.authority).issue(&spec.request, self.now)?;
        self.files.insert(cert, pair.cert_pem.clone());
        self.files.insert(key, pair.key_pem.clone());
        Ok(pair)
    }

    fn still_good(&self, cert_pem: &str, spec: &CertificateSpec) -> Result<bool> {
        let info = CertificateInfo::from_pem(cert_pem)?;
        let names = |sans: &[SubjectAltName]| sans.iter().map(|san| format!("{san:?}")).collect::<BTreeSet<_>>();
        let ends = info.not_after.as_second() - self.now.as_second();
        Ok(info.common_name == spec.request.common_name
            && names(&info.sans) == names(&spec.request.sans)
            && ends > i64::try_from(RENEWED_BEFORE.as_secs())?)
    }

    /// Forgets the secrets of a machine, here and on the disk.
    pub fn forget(state: &StateDir, machine: &str) -> Result<()> {
        let folder = state.path("pki/machines").join(machine);
        match fs::remove_dir_all(&folder) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(error).with_context(|| format!("cannot remove {}", folder.display()))
            }
            _ => Ok(()),
        }
    }

    fn open_authority(&mut self, authority: Authority) -> Result<()> {
        let file = authority.file();
        let (cert, key) = (format!("pki/{file}.crt"), format!("pki/{file}.key"));
        let opened = match (self.files.get(&cert), self.files.get(&key)) {
            (Some(cert_pem), Some(key_pem)) => CertificateAuthority::from_pem(cert_pem, key_pem)
                .with_context(|| format!("{cert} and {key} in the state directory are not a usable authority"))?,
            // A new authority would not be that of the certificates that are there.
            (present, _) if self.files.keys().any(|name| name.starts_with("pki/machines/")) => {
                return Err(lost(if present.is_none() { &cert } else { &key }).into());
            }
            _ => CertificateAuthority::generate(authority.common_name(), self.now, CA_LIFETIME)?,
        };
        let pair = opened.to_pem();
        self.files.insert(cert, pair.cert_pem);
        self.files.insert(key, pair.key_pem);
        self.authorities.insert(file, opened);
        Ok(())
    }

    fn keep(&mut self, path: &str, make: impl FnOnce() -> Result<String>) -> Result<()> {
        if !self.files.contains_key(path) {
            let content = make()?;
            self.files.insert(path.to_owned(), content);
        }
        Ok(())
    }
}

fn lost(file: &str) -> Refusal {
    Refusal::new(Exit::Failed, format!("the state directory has certificates of an authority, and no {file}"))
        .hint("restore it from a backup, or destroy the cluster")
}

fn read_tree(root: &Path, folder: &str, files: &mut BTreeMap<String, String>) -> Result<()> {
    let path = root.join(folder);
    let entries = match fs::read_dir(&path) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
    };
    for entry in entries.flatten() {
        let Ok(name) = entry.file_name().into_string() else { continue };
        let path = format!("{folder}/{name}");
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            read_tree(root, &path, files)?;
        } else if entry.path().extension().is_none_or(|extension| extension != "draft")
            && let Some(text) = read_if_there(&entry.path())?
        {
            files.insert(path, text);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
