//! Kubeconfig files as text.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// What a kubeconfig with one cluster, one user and one context says.
#[derive(Clone, PartialEq, Eq)]
pub struct KubeconfigSpec {
    /// The cluster's name.
    pub cluster: String,
    /// The address, `https://host:port`.
    pub server: String,
    /// Every API server as `address:port`, for clients that choose among them themselves; none for other clients. Kept in
    /// the cluster's extension `provision.dev/api-servers`, which other clients pass over.
    pub api_servers: Vec<String>,
    /// The authority that signed the server's certificate.
    pub ca_pem: String,
    /// The user's name.
    pub user: String,
    /// The user's certificate.
    pub client_cert_pem: String,
    /// The user's key.
    pub client_key_pem: String,
}

/// Renders the file with everything embedded, as kubeadm writes it.
pub fn render(spec: &KubeconfigSpec) -> String {
    let quote = |text: &str| serde_json::Value::from(text).to_string();
    let cluster = quote(&spec.cluster);
    let user = quote(&spec.user);
    let context = quote(&format!("{}@{}", spec.user, spec.cluster));
    let server = quote(&spec.server);
    let ca = STANDARD.encode(&spec.ca_pem);
    let cert = STANDARD.encode(&spec.client_cert_pem);
    let key = STANDARD.encode(&spec.client_key_pem);
    let mut extension = String::new();
    if !spec.api_servers.is_empty() {
        let addresses = spec.api_servers.iter().map(|address| quote(address)).collect::<Vec<_>>().join(", ");
        extension = format!(
            "    extensions:\n    - name: provision.dev/api-servers\n      extension:\n        addresses: [{addresses}]\n"
        );
    }
    format!(
        "apiVersion: v1\nkind: Config\nclusters:\n- name: {cluster}\n  cluster:\n    server: {server}\n    \
         certificate-authority-data: {ca}\n{extension}users:\n- name: {user}\n  user:\n    client-certificate-data: {cert}\n    \
         client-key-data: {key}\ncontexts:\n- name: {context}\n  context:\n    cluster: {cluster}\n    user: {user}\n\
         current-context: {context}\npreferences: {{}}\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_is_embedded_and_odd_names_are_quoted() {
        let text = render(&KubeconfigSpec {
            cluster: "my \"lab\"".into(),
            server: "https://10.0.0.1:6443".into(),
            api_servers: vec!["10.0.0.1:6443".into(), "10.0.0.2:6443".into()],
            ca_pem: "CA".into(),
            user: "kubernetes-admin".into(),
            client_cert_pem: "CERT".into(),
            client_key_pem: "KEY".into(),
        });
        assert!(text.contains("    certificate-authority-data: Q0E=\n"), "{text}");
        assert!(
            text.contains(
                "    extensions:\n    - name: provision.dev/api-servers\n      extension:\n        \
                 addresses: [\"10.0.0.1:6443\", \"10.0.0.2:6443\"]\nusers:\n"
            ),
            "{text}"
        );
        assert!(text.contains("    client-certificate-data: Q0VSVA==\n    client-key-data: S0VZ\n"), "{text}");
        assert!(text.contains(r#"- name: "my \"lab\"""#), "{text}");
        assert!(text.contains(r#"current-context: "kubernetes-admin@my \"lab\"""#), "{text}");
    }
}
