//! Pods and hashes from pod templates.

use k8s_openapi::api::core::v1::{Pod, PodTemplateSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use serde::Serialize;
use sha2::{Digest, Sha256};

/// Letters and digits that make no words, as in upstream's generated names.
const ALPHABET: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";

/// A short name for a content: equal contents have equal names; `collisions` gives another name to the same content.
pub(crate) fn hash<T: Serialize>(content: &T, collisions: Option<i32>) -> String {
    let mut digest = Sha256::new();
    digest.update(serde_json::to_vec(content).unwrap_or_default());
    if let Some(collisions) = collisions.filter(|count| *count > 0) {
        digest.update(collisions.to_le_bytes());
    }
    digest.finalize().iter().take(10).map(|byte| char::from(ALPHABET[usize::from(*byte) % ALPHABET.len()])).collect()
}

/// A pod from a template; its name is `generate` and a suffix the server chooses.
pub(crate) fn pod(template: &PodTemplateSpec, namespace: Option<&str>, generate: &str, owner: OwnerReference) -> Pod {
    let meta = template.metadata.clone().unwrap_or_default();
    Pod {
        metadata: ObjectMeta {
            namespace: namespace.map(str::to_owned),
            generate_name: Some(generate.to_owned()),
            labels: meta.labels,
            annotations: meta.annotations,
            finalizers: meta.finalizers,
            owner_references: Some(vec![owner]),
            ..ObjectMeta::default()
        },
        spec: template.spec.clone(),
        status: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_depends_on_content_and_collisions() {
        let template = PodTemplateSpec::default();
        assert_eq!(hash(&template, None), hash(&template, Some(0)));
        assert_ne!(hash(&template, None), hash(&template, Some(1)));
        assert_eq!(hash(&template, None).len(), 10);
    }
}
