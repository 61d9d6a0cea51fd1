//! Users named by a front proxy that shows a certificate of its own authority.

use component_base::serving::PeerCertificates;
use http::HeaderMap;

use super::AuthnError;
use super::x509::ClientCertificates;
use crate::config::AccessArgs;
use crate::query::percent_decode;
use crate::user::User;

/// Which proxies are believed, and in which headers they say whom they speak for.
pub struct RequestHeader {
    proxies: ClientCertificates,
    allowed_names: Vec<String>,
    names: Vec<String>,
    uids: Vec<String>,
    groups: Vec<String>,
    extra_prefixes: Vec<String>,
}

impl RequestHeader {
    /// Reads the flags; `None` if no proxies are configured.
    pub fn load(args: &AccessArgs) -> Result<Option<Self>, AuthnError> {
        let Some(path) = &args.requestheader_client_ca_file else {
            return Ok(None);
        };
        Ok(Some(Self {
            proxies: ClientCertificates::load(path)?,
            allowed_names: args.requestheader_allowed_names.clone(),
            names: args.requestheader_username_headers.clone(),
            uids: args.requestheader_uid_headers.clone(),
            groups: args.requestheader_group_headers.clone(),
            extra_prefixes: args
                .requestheader_extra_headers_prefix
                .iter()
                .map(|prefix| prefix.to_lowercase())
                .collect(),
        }))
    }

    /// The user a request is made for; `None` unless a believed proxy says so.
    pub fn user(&self, peer: Option<&PeerCertificates>, headers: &HeaderMap) -> Option<User> {
        let name = first(headers, &self.names)?;
        let proxy = self.proxies.verified(peer?)?;
        if !self.allowed_names.is_empty() && !self.allowed_names.contains(&proxy.common_name) {
            return None;
        }
        Some(identity(headers, name, self))
    }
}

fn identity(headers: &HeaderMap, name: &str, rules: &RequestHeader) -> User {
    let uid = first(headers, &rules.uids).unwrap_or_default().to_owned();
    let mut user = User { uid, ..User::new(name, all(headers, &rules.groups)) };
    for (header, value) in headers {
        let key = rules.extra_prefixes.iter().find_map(|prefix| header.as_str().strip_prefix(prefix.as_str()));
        if let (Some(key), Ok(value)) = (key, value.to_str()) {
            user.extra.entry(percent_decode(key)).or_default().push(value.to_owned());
        }
    }
    user
}

fn first<'a>(headers: &'a HeaderMap, names: &[String]) -> Option<&'a str> {
    names
        .iter()
        .filter_map(|name| headers.get(name.as_str()))
        .filter_map(|value| value.to_str().ok())
        .find(|value| !value.is_empty())
}

fn all(headers: &HeaderMap, names: &[String]) -> Vec<String> {
    names
        .iter()
        .flat_map(|name| headers.get_all(name.as_str()))
        .filter_map(|value| value.to_str().ok())
        .map(str::to_owned)
        .collect()
}
