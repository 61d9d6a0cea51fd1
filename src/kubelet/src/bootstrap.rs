//! The node's own certificates: keys are made here and only requests leave.

use std::fs;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use controller_runtime::Retry;
use futures::StreamExt;
use k8s_openapi::ByteString;
use k8s_openapi::api::certificates::v1::{CertificateSigningRequest, CertificateSigningRequestSpec};
use kube::api::PostParams;
use kube::config::{AuthInfo, Kubeconfig, NamedAuthInfo};
use kube::runtime::watcher::watch_object;
use kube::{Api, Client};
use pki::{KeyPair, SubjectAltName};

/// The longest rest between two tries.
const LONGEST_REST: Duration = Duration::from_secs(5);

/// Gets a client certificate with the bootstrap credentials, and writes it and the kubeconfig that uses it.
pub async fn client_certificate(
    bootstrap: &Path,
    kubeconfig: &Path,
    cert_dir: &Path,
    node_name: &str,
) -> anyhow::Result<()> {
    let client = component_base::client::connect(bootstrap, "kubelet").await?;
    let key = KeyPair::generate().context("cannot make a key")?;
    let request = pki::csr::create(&format!("system:node:{node_name}"), &["system:nodes".to_owned()], &[], &key)?;
    let usages = ["digital signature", "client auth"];
    let certificate = sign(&client, request, "kubernetes.io/kube-apiserver-client-kubelet", &usages).await?;
    fs::create_dir_all(cert_dir)?;
    let pair = cert_dir.join("kubelet-client-current.pem");
    write_secret(&pair, &format!("{certificate}{}", key.to_pem()))?;
    let mut config = Kubeconfig::read_from(bootstrap)?;
    let user = "default-auth".to_owned();
    let path = Some(pair.display().to_string());
    let auth = AuthInfo { client_certificate: path.clone(), client_key: path, ..AuthInfo::default() };
    config.auth_infos = vec![NamedAuthInfo { name: user.clone(), auth_info: Some(auth), ..Default::default() }];
    for context in &mut config.contexts {
        if let Some(context) = &mut context.context {
            context.user = Some(user.clone());
        }
    }
    // JSON is YAML.
    write_secret(kubeconfig, &serde_json::to_string_pretty(&config)?)?;
    Ok(())
}

/// Gets a serving certificate; answers the files of certificate and key.
pub async fn serving_certificate(
    client: &Client,
    cert_dir: &Path,
    node_name: &str,
    addresses: &[std::net::IpAddr],
) -> anyhow::Result<(PathBuf, PathBuf)> {
    let (cert_file, key_file) = (cert_dir.join("kubelet-server.crt"), cert_dir.join("kubelet-server.key"));
    if cert_file.exists() && key_file.exists() {
        return Ok((cert_file, key_file));
    }
    let key = KeyPair::generate().context("cannot make a key")?;
    let names: Vec<SubjectAltName> = std::iter::once(node_name.to_owned())
        .chain(addresses.iter().map(ToString::to_string))
        .map(|name| SubjectAltName::parse(&name))
        .collect();
    let request = pki::csr::create(&format!("system:node:{node_name}"), &["system:nodes".to_owned()], &names, &key)?;
    let usages = ["digital signature", "server auth"];
    let certificate = sign(client, request, "kubernetes.io/kubelet-serving", &usages).await?;
    fs::create_dir_all(cert_dir)?;
    write_secret(&key_file, &key.to_pem())?;
    fs::write(&cert_file, certificate)?;
    Ok((cert_file, key_file))
}

/// Asks for a signature and waits for it, however long an approver takes.
async fn sign(client: &Client, request: String, signer: &str, usages: &[&str]) -> anyhow::Result<String> {
    let api: Api<CertificateSigningRequest> = Api::all(client.clone());
    let mut object = CertificateSigningRequest {
        spec: CertificateSigningRequestSpec {
            request: ByteString(request.into_bytes()),
            signer_name: signer.to_owned(),
            usages: Some(usages.iter().map(|usage| (*usage).to_owned()).collect()),
            ..CertificateSigningRequestSpec::default()
        },
        ..CertificateSigningRequest::default()
    };
    object.metadata.generate_name = Some("csr-".to_owned());
    let mut retry = Retry::new(LONGEST_REST);
    let created = loop {
        match api.create(&PostParams::default(), &object).await {
            Ok(created) => break created,
            Err(kube::Error::Api(status)) if status.code < 500 => {
                anyhow::bail!("the certificate request was refused: {}", status.message)
            }
            Err(error) => tracing::debug!(%error, "the API server does not answer yet"),
        }
        retry.sleep().await;
    };
    let name = created.metadata.name.unwrap_or_default();
    let mut objects = std::pin::pin!(watch_object(api, &name));
    while let Some(object) = objects.next().await {
        let object = match object {
            Ok(object) => object,
            Err(error) => {
                tracing::debug!(%error, "the certificate request cannot be followed");
                retry.sleep().await;
                continue;
            }
        };
        retry.answered();
        let Some(object) = object else { continue };
        let status = object.status.unwrap_or_default();
        if let Some(refused) = status
            .conditions
            .iter()
            .flatten()
            .find(|condition| ["Denied", "Failed"].contains(&condition.type_.as_str()))
        {
            anyhow::bail!(
                "the certificate request {name} was denied: {}",
                refused.message.as_deref().unwrap_or_default()
            );
        }
        if let Some(certificate) = status.certificate.filter(|certificate| !certificate.0.is_empty()) {
            return String::from_utf8(certificate.0).context("the certificate is not PEM");
        }
    }
    anyhow::bail!("the certificate request {name} was not followed to its end")
}

fn write_secret(path: &Path, text: &str) -> io::Result<()> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    let draft = path.with_extension("new");
    // A draft of an earlier run may have other permissions.
    let _ = fs::remove_file(&draft);
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft)?;
    io::Write::write_all(&mut file, text.as_bytes())?;
    fs::rename(draft, path)
}
