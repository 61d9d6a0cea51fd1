//! Bootstrap tokens: `ID.SECRET`, kept in Secrets of kube-system, for machines that want to become nodes.

use apimachinery::Object;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;

use super::lookup::Lookup;
use crate::user::User;

const NAMESPACE: &str = "kube-system";
const TYPE: &str = "bootstrap.kubernetes.io/token";
const GROUP: &str = "system:bootstrappers";

/// The user of a bootstrap token that is good now.
pub async fn user(token: &str, now: Timestamp, lookup: &dyn Lookup) -> Option<User> {
    let (id, secret) = parse(token)?;
    let name = format!("bootstrap-token-{id}");
    let object = lookup.object("secrets", NAMESPACE, &name).await?;
    let good = object.deletion_timestamp().is_none()
        && object.str_at(&["type"]) == TYPE
        && data(&object, "token-id").as_deref() == Some(id)
        && same(data(&object, "token-secret")?.as_bytes(), secret.as_bytes())
        && data(&object, "usage-bootstrap-authentication").as_deref() == Some("true")
        && !expired(&object, now);
    if !good {
        return None;
    }
    let mut groups = vec![GROUP.to_owned()];
    for group in data(&object, "auth-extra-groups").unwrap_or_default().split(',').filter(|group| !group.is_empty()) {
        // One wrong group spoils the token: half an identity would be a surprise.
        let group = group.trim();
        groups.push(valid_group(group).then(|| group.to_owned())?);
    }
    Some(User::new(format!("system:bootstrap:{id}"), groups))
}

fn parse(token: &str) -> Option<(&str, &str)> {
    let (id, secret) = token.split_once('.')?;
    let plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    (id.len() == 6 && secret.len() == 16 && plain(id) && plain(secret)).then_some((id, secret))
}

fn data(secret: &Object, key: &str) -> Option<String> {
    let bytes = STANDARD.decode(secret.map_at(&["data"]).get(key)?.as_str()?).ok()?;
    String::from_utf8(bytes).ok()
}

/// A time that cannot be read counts as past.
fn expired(secret: &Object, now: Timestamp) -> bool {
    data(secret, "expiration").is_some_and(|text| !text.trim().parse::<Timestamp>().is_ok_and(|at| at > now))
}

fn valid_group(group: &str) -> bool {
    group.strip_prefix("system:bootstrappers:").is_some_and(|rest| {
        rest.len() <= 256
            && rest
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b':' || byte == b'-')
            && rest.ends_with(|last: char| last.is_ascii_lowercase() || last.is_ascii_digit())
    })
}

/// Compares without telling by its time where the difference is.
pub(crate) fn same(left: &[u8], right: &[u8]) -> bool {
    left.len() == right.len() && left.iter().zip(right).fold(0, |all, (a, b)| all | (a ^ b)) == 0
}

#[cfg(test)]
mod tests;
