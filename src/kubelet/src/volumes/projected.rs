//! Projected volumes: tokens, `ConfigMaps`, Secrets and the downward API in one folder.

use k8s_openapi::api::core::v1::{Pod, ProjectedVolumeSource, ServiceAccountTokenProjection};
use tokio::time::Instant;

use super::payload::{self, File, Payload, PayloadError, Selection};
use super::{VolumeError, Workshop};
use crate::cluster::TokenQuery;
use crate::pod::identity;

/// An hour, as upstream.
const DEFAULT_EXPIRATION: i64 = 3600;

/// The files of a projected volume, and when its tokens must be fetched anew.
pub async fn payload(
    pod: &Pod,
    source: &ProjectedVolumeSource,
    workshop: &Workshop<'_>,
) -> Result<(Payload, Option<Instant>), VolumeError> {
    let namespace = identity::namespace(pod);
    let mode = source.default_mode;
    let mut payload = Payload::new();
    let mut refresh_at: Option<Instant> = None;
    for part in source.sources.iter().flatten() {
        if let Some(config_map) = &part.config_map {
            let object = workshop.cluster.config_map(namespace, &config_map.name).await?;
            payload.extend(payload::config_map(
                object.as_deref(),
                &Selection::of_config_map_projection(config_map, mode),
            )?);
        } else if let Some(secret) = &part.secret {
            let object = workshop.cluster.secret(namespace, &secret.name).await?;
            payload.extend(payload::secret(object.as_deref(), &Selection::of_secret_projection(secret, mode))?);
        } else if let Some(downward) = &part.downward_api {
            let items = downward.items.as_deref().unwrap_or_default();
            payload.extend(payload::downward_api(pod, items, mode, workshop.facts)?);
        } else if let Some(projection) = &part.service_account_token {
            let token = workshop.cluster.token(query(pod, projection)).await?;
            refresh_at = refresh_at.into_iter().chain([token.refresh_at]).min();
            payload.insert(projection.path.clone(), token_file(pod, mode, token.value));
        } else {
            return Err(VolumeError::Unsupported);
        }
    }
    if payload.keys().any(String::is_empty) {
        return Err(PayloadError::Field { path: String::new() }.into());
    }
    Ok((payload, refresh_at))
}

fn query(pod: &Pod, projection: &ServiceAccountTokenProjection) -> TokenQuery {
    let account = pod.spec.as_ref().and_then(|spec| spec.service_account_name.clone()).filter(|name| !name.is_empty());
    TokenQuery {
        namespace: identity::namespace(pod).to_owned(),
        service_account: account.unwrap_or_else(|| "default".to_owned()),
        audience: projection.audience.clone().filter(|audience| !audience.is_empty()),
        expiration_seconds: projection.expiration_seconds.unwrap_or(DEFAULT_EXPIRATION),
        pod_name: identity::name(pod).to_owned(),
        pod_uid: identity::uid(pod).to_owned(),
    }
}

/// A token belongs to the one user of the pod, if there is just one.
fn token_file(pod: &Pod, mode: Option<i32>, token: String) -> File {
    let owner = only_user(pod);
    let grouped = pod
        .spec
        .as_ref()
        .and_then(|spec| spec.security_context.as_ref())
        .and_then(|context| context.fs_group)
        .is_some();
    let mode = if owner.is_some() || grouped { 0o600 } else { payload::permissions(mode.unwrap_or(0o644)) };
    File { data: token.into_bytes(), mode, owner }
}

fn only_user(pod: &Pod) -> Option<u32> {
    let of_pod = pod.spec.as_ref()?.security_context.as_ref().and_then(|context| context.run_as_user);
    let all = identity::init_containers(pod).iter().chain(identity::containers(pod));
    let mut users = all.map(|container| container.security_context.as_ref().and_then(|own| own.run_as_user).or(of_pod));
    let first = users.next()??;
    users.all(|user| user == Some(first)).then(|| u32::try_from(first).ok())?
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::pod::sandbox::tests::pod;

    #[test]
    fn a_token_belongs_to_the_only_user() {
        let of = |spec: serde_json::Value| {
            let file = token_file(&pod(spec), Some(0o644), "t".to_owned());
            (file.owner, file.mode)
        };
        assert_eq!(of(json!({"containers": [{"name": "a", "securityContext": {"runAsUser": 7}}]})), (Some(7), 0o600));
        let two = json!({"containers": [{"name": "a", "securityContext": {"runAsUser": 7}}, {"name": "b"}]});
        assert_eq!(of(two), (None, 0o644));
        assert_eq!(of(json!({"securityContext": {"fsGroup": 3}, "containers": [{"name": "a"}]})), (None, 0o600));
    }
}
