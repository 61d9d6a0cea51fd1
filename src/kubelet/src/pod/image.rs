//! Getting the image of a container onto the node.

use std::collections::BTreeMap;

use base64::Engine;
use cri::AuthConfig;
use cri::api::{Image, PodSandboxConfig};
use k8s_openapi::api::core::v1::{Container, Pod};
use serde::Deserialize;
use tokio::time::Instant;

use super::backoff::Backoff;
use super::identity;
use super::status::Waiting;
use crate::node_context::{NodeContext, reference};

/// An image on the node.
#[derive(Debug, Clone, Default)]
pub struct Present {
    /// How containers refer to it.
    pub reference: String,
    /// The user it runs as, by number.
    pub uid: Option<i64>,
    /// The user it runs as, by name.
    pub user: String,
}

impl From<Image> for Present {
    fn from(image: Image) -> Self {
        Self { reference: image.id, uid: image.uid.map(|uid| uid.value), user: image.username }
    }
}

/// The policy of a container; `latest` and no tag at all mean `Always`.
fn policy(container: &Container) -> &str {
    let image = container.image.as_deref().unwrap_or_default();
    let name = image.rsplit('/').next().unwrap_or_default();
    let floating = !name.contains('@') && name.split_once(':').is_none_or(|(_, tag)| tag == "latest");
    container.image_pull_policy.as_deref().unwrap_or(if floating { "Always" } else { "IfNotPresent" })
}

/// Makes sure the image is there; the error is why the container waits.
pub async fn ensure(
    node: &NodeContext,
    pod: &Pod,
    container: &Container,
    sandbox: &PodSandboxConfig,
    backoff: &mut Backoff,
) -> Result<Present, Waiting> {
    let name = container.image.clone().unwrap_or_default();
    let about = reference(pod, Some(format!("spec.containers{{{}}}", container.name)));
    let policy = policy(container);
    let found = match node.runtime.image_status(name.clone()).await {
        Ok(found) => found,
        Err(error) => {
            return Err(Waiting::new("ImageInspectError", format!("Failed to inspect image {name:?}: {error}")));
        }
    };
    match found {
        Some(image) if policy != "Always" => {
            node.reporter.report(
                &about,
                false,
                "Pulled",
                &format!("Container image {name:?} already present on machine"),
            );
            return Ok(image.into());
        }
        None if policy == "Never" => {
            let message = format!("Container image {name:?} is not present with pull policy of Never");
            node.reporter.report(&about, true, "ErrImageNeverPull", &message);
            return Err(Waiting::new("ErrImageNeverPull", message));
        }
        _ => {}
    }
    let key = format!("image {name}");
    let now = Instant::now();
    if let Some(last) = backoff.last(&key)
        && backoff.remaining(&key, last, now).is_some()
    {
        let message = format!("Back-off pulling image {name:?}");
        node.reporter.report(&about, false, "BackOff", &message);
        return Err(Waiting::new("ImagePullBackOff", message));
    }
    node.reporter.report(&about, false, "Pulling", &format!("Pulling image {name:?}"));
    match pull(node, pod, &name, sandbox).await {
        Ok(image) => {
            backoff.reset(&key);
            let message = format!("Successfully pulled image {name:?} in {}ms", now.elapsed().as_millis());
            node.reporter.report(&about, false, "Pulled", &message);
            Ok(image)
        }
        Err(error) => {
            backoff.next(&key, Instant::now());
            node.reporter.report(&about, true, "Failed", &format!("Failed to pull image {name:?}: {error}"));
            node.reporter.report(&about, true, "Failed", "Error: ErrImagePull");
            Err(Waiting::new("ErrImagePull", error))
        }
    }
}

async fn pull(node: &NodeContext, pod: &Pod, name: &str, sandbox: &PodSandboxConfig) -> Result<Present, String> {
    let auth = credentials(node, pod, name).await;
    let reference =
        node.runtime.pull_image(name.to_owned(), auth, sandbox.clone()).await.map_err(|error| error.to_string())?;
    let image = node.runtime.image_status(reference.clone()).await.ok().flatten();
    Ok(image.map_or(Present { reference, ..Present::default() }, Present::from))
}

/// The registry credentials that the pod names for this image.
async fn credentials(node: &NodeContext, pod: &Pod, image: &str) -> Option<AuthConfig> {
    for secret in pod.spec.iter().flat_map(|spec| spec.image_pull_secrets.iter().flatten()) {
        let object = node.cluster.secret(identity::namespace(pod), &secret.name).await.ok().flatten();
        let data = object.as_ref().and_then(|secret| secret.data.as_ref()?.get(".dockerconfigjson"));
        if let Some(found) = data.and_then(|data| from_docker_config(&data.0, image)) {
            return Some(found);
        }
    }
    None
}

#[derive(Deserialize)]
struct DockerConfig {
    auths: BTreeMap<String, DockerAuth>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct DockerAuth {
    username: String,
    password: String,
    auth: String,
    identitytoken: String,
}

fn from_docker_config(json: &[u8], image: &str) -> Option<AuthConfig> {
    let config: DockerConfig = serde_json::from_slice(json).ok()?;
    let (server, auth) = config.auths.into_iter().find(|(server, _)| serves(server, image))?;
    let decoded = base64::engine::general_purpose::STANDARD
        .decode(&auth.auth)
        .ok()
        .and_then(|bytes| String::from_utf8(bytes).ok());
    let (username, password) = match decoded.as_deref().and_then(|pair| pair.split_once(':')) {
        Some((username, password)) => (username.to_owned(), password.to_owned()),
        None => (auth.username, auth.password),
    };
    Some(AuthConfig {
        username,
        password,
        server_address: server,
        identity_token: auth.identitytoken,
        ..AuthConfig::default()
    })
}

fn serves(server: &str, image: &str) -> bool {
    let server = server.trim_start_matches("https://").trim_start_matches("http://").trim_end_matches('/');
    let (first, _) = image.split_once('/').unwrap_or(("", image));
    let registry = if first.contains(['.', ':']) || first == "localhost" { first } else { "docker.io" };
    let server_host = server.split('/').next().unwrap_or_default();
    match server_host {
        "index.docker.io" | "docker.io" => registry == "docker.io",
        host if server == host => registry == host,
        _ => image.starts_with(server),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_policy_follows_the_tag() {
        let of =
            |image: &str| policy(&serde_json::from_value(json!({"name": "c", "image": image})).unwrap()).to_owned();
        assert_eq!(of("busybox"), "Always");
        assert_eq!(of("reg:5000/a/busybox:latest"), "Always");
        assert_eq!(of("reg:5000/busybox:1"), "IfNotPresent");
        assert_eq!(of("busybox@sha256:00"), "IfNotPresent");
    }

    #[test]
    fn credentials_go_only_to_their_registry() {
        let config = br#"{"auths": {"https://index.docker.io/v1/": {"auth": "dTpw"}, "reg.example": {"username": "a", "password": "b"}}}"#;
        let of = |image: &str| from_docker_config(config, image).map(|auth| (auth.username, auth.password));
        let pair = |a: &str, b: &str| Some((a.to_owned(), b.to_owned()));
        assert_eq!(of("library/busybox"), pair("u", "p"));
        assert_eq!(of("reg.example/x:1"), pair("a", "b"));
        assert_eq!(of("reg.example.evil/x:1"), None);
    }
}
