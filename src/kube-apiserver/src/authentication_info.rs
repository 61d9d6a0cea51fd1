//! The ConfigMap `extension-apiserver-authentication`: by which authorities and headers this server knows its clients.
//!
//! Servers behind this one (aggregated APIs, the scheduler, the controllers) read it to know the same clients. Servers
//! side by side may differ while their files are being replaced, so each adds its own and takes nothing away but
//! authorities that have expired.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use apimachinery::{Object, Status, Value};
use jiff::Timestamp;
use pki::certificate::CertificateInfo;
use storage::StorageError;

use crate::app::App;
use crate::config::AccessArgs;
use crate::error;
use crate::service_plumbing::bootstrap::stamp;
use crate::verbs::store::Cursor;

const NAMESPACE: &str = "kube-system";
const NAME: &str = "extension-apiserver-authentication";
/// How often files and ConfigMap are held against each other, as upstream.
const EVERY: Duration = Duration::from_mins(1);
const END: &str = "-----END CERTIFICATE-----";

/// Keeps the ConfigMap true until the server ends.
pub async fn run(app: Arc<App>) {
    loop {
        tokio::select! {
            () = app.stopping.cancelled() => return,
            () = tokio::time::sleep(EVERY) => {}
        }
        if let Err(error) = ensure(&app).await {
            tracing::warn!(%error, name = NAME, "what others know of our clients is not up to date");
        }
    }
}

/// Writes what is missing in it.
///
/// # Errors
/// If etcd fails.
pub async fn ensure(app: &App) -> Result<(), Status> {
    let ours = facts(&app.config.access);
    let Some(store) = app.registry.stored("", "configmaps").and_then(|resource| resource.store.as_ref()) else {
        return Ok(());
    };
    let key = store.key(NAMESPACE, NAME);
    let mut cursor = Cursor::open(store, key.clone()).await?;
    loop {
        let present = cursor.current().map(|current| current.object());
        let Some(wanted) = with(present.as_ref(), &ours, Timestamp::now()) else { return Ok(()) };
        if present.is_some() {
            if cursor.write(&wanted, None).await?.is_some() {
                return Ok(());
            }
            continue;
        }
        match store.create(&key, &wanted, None).await {
            Ok(_) => return Ok(()),
            Err(StorageError::Exists { .. }) => cursor.refresh().await?,
            Err(failed) => return Err(error::from_storage(&failed)),
        }
    }
}

/// What this server has to say: keys of the ConfigMap with certificates or lists of words.
fn facts(access: &AccessArgs) -> Vec<(&'static str, Fact)> {
    let mut facts = Vec::new();
    if let Some(path) = &access.client_ca_file {
        facts.push(("client-ca-file", Fact::Certificates(read(path))));
    }
    if let Some(path) = &access.requestheader_client_ca_file {
        facts.push(("requestheader-client-ca-file", Fact::Certificates(read(path))));
        for (key, words) in [
            ("requestheader-allowed-names", &access.requestheader_allowed_names),
            ("requestheader-extra-headers-prefix", &access.requestheader_extra_headers_prefix),
            ("requestheader-group-headers", &access.requestheader_group_headers),
            ("requestheader-uid-headers", &access.requestheader_uid_headers),
            ("requestheader-username-headers", &access.requestheader_username_headers),
        ] {
            facts.push((key, Fact::Words(words.clone())));
        }
    }
    facts
}

/// One thing that is told.
enum Fact {
    /// PEM text.
    Certificates(String),
    Words(Vec<String>),
}

/// A file that cannot be read now was good at the start, and its content stands in the `ConfigMap`.
fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

/// The `ConfigMap` with our facts added; none if it has them.
fn with(present: Option<&Object>, ours: &[(&'static str, Fact)], now: Timestamp) -> Option<Object> {
    let mut object = present.cloned().unwrap_or_else(|| {
        let mut new = Object::new("v1", "ConfigMap");
        new.set_name(NAME);
        new.set_namespace(NAMESPACE);
        stamp(&mut new);
        new
    });
    for (key, fact) in ours {
        let before = object.str_at(&["data", key]).to_owned();
        let after = match fact {
            Fact::Certificates(pem) => certificates(&before, pem, now),
            Fact::Words(words) => all_words(&before, words),
        };
        if after != before {
            object.set_at(&["data", key], after);
        }
    }
    (present != Some(&object)).then_some(object)
}

/// The certificates of both texts that are still good, each once.
fn certificates(before: &str, more: &str, now: Timestamp) -> String {
    let mut blocks: Vec<&str> = Vec::new();
    for block in before.split_inclusive(END).chain(more.split_inclusive(END)) {
        let Some(at) = block.find("-----BEGIN CERTIFICATE-----") else { continue };
        let block = &block[at..];
        let good = CertificateInfo::from_pem(block).is_ok_and(|info| now < info.not_after);
        if good && !blocks.contains(&block) {
            blocks.push(block);
        }
    }
    blocks.iter().flat_map(|block| [*block, "\n"]).collect()
}

/// The words of a list as JSON, and ours, each once.
fn all_words(before: &str, ours: &[String]) -> String {
    let present = serde_json::from_str::<Vec<String>>(before).unwrap_or_default();
    let mut words: Vec<&str> = Vec::new();
    for word in present.iter().chain(ours) {
        if !words.contains(&word.as_str()) {
            words.push(word);
        }
    }
    let list: Value = words.into_iter().collect();
    list.to_string()
}

#[cfg(test)]
mod tests {
    use pki::CertificateAuthority;

    use super::*;

    fn authority(now: Timestamp, days: u64) -> String {
        CertificateAuthority::generate("a", now, Duration::from_hours(24 * days)).unwrap().cert_pem().to_owned()
    }

    #[test]
    fn servers_add_to_each_other_and_only_what_expired_goes() {
        let now = Timestamp::now();
        let (one, two, short) = (authority(now, 10), authority(now, 10), authority(now, 1));
        let names = || ("requestheader-allowed-names", Fact::Words(vec!["proxy".to_owned()]));
        let first = [("client-ca-file", Fact::Certificates(format!("{one}{short}"))), names()];
        let made = with(None, &first, now).unwrap();
        assert_eq!(made.str_at(&["data", "requestheader-allowed-names"]), r#"["proxy"]"#);
        assert!(with(Some(&made), &first, now).is_none(), "nothing is written twice");
        let second = [("client-ca-file", Fact::Certificates(format!("# a remark\n{two}{one}"))), names()];
        let later = now + Duration::from_hours(48);
        let made = with(Some(&made), &second, later).unwrap();
        let pem = made.str_at(&["data", "client-ca-file"]);
        assert_eq!(pem.matches(END).count(), 2);
        assert!(pem.contains(one.trim()) && pem.contains(two.trim()) && !pem.contains(short.trim()));
    }

    #[test]
    fn lists_keep_their_order_and_what_is_no_list_is_replaced() {
        let ours = ["b".to_owned(), "c".to_owned()];
        assert_eq!(all_words(r#"["a","b"]"#, &ours), r#"["a","b","c"]"#);
        assert_eq!(all_words("nonsense", &ours), r#"["b","c"]"#);
        assert_eq!(all_words("", &[]), "[]");
    }
}
