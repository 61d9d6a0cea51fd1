//! Who makes a request: client certificates, bearer tokens, front proxies; everybody else is anonymous.
//!
//! Start at [`Authenticator::authenticate`]; each source of names has one file.

pub mod bootstrap_token;
pub mod configuration;
pub mod impersonation;
pub mod lookup;
pub mod oidc;
pub mod request_header;
pub mod service_account;
pub mod token_file;
pub mod x509;

use std::path::PathBuf;
use std::sync::Arc;

use apimachinery::Status;
use component_base::serving::PeerCertificates;
use http::header::AUTHORIZATION;
use http::request::Parts;

use crate::config::AccessArgs;
use crate::metrics::Lifetimes;
use crate::user::{AUTHENTICATED, User};
use configuration::{Anonymous, Configuration};
use lookup::Lookup;
use oidc::Oidc;
use request_header::RequestHeader;
use service_account::ServiceAccountTokens;
use token_file::TokenFile;
use x509::ClientCertificates;

/// Why authentication cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum AuthnError {
    /// A file cannot be read.
    #[error("cannot read {path}")]
    Read {
        /// Which one.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A file of keys or certificates makes no sense.
    #[error("no usable key or certificate in {path}")]
    Pki {
        /// Which one.
        path: PathBuf,
        /// Why.
        #[source]
        source: pki::PkiError,
    },
    /// The authorities for client certificates cannot be used.
    #[error("no usable authority for client certificates in {path}")]
    Authority {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Issuers or anonymous access cannot be configured.
    #[error(transparent)]
    Configuration(#[from] configuration::ConfigurationError),
    /// An issuer cannot be set up.
    #[error(transparent)]
    Oidc(#[from] oidc::OidcError),
    /// Tokens of the cluster and of somebody else would have the same issuer.
    #[error("{url} is the issuer of service account tokens, so it cannot be an OpenID Connect issuer too")]
    OwnIssuer {
        /// The issuer.
        url: String,
    },
    /// A line of the token file makes no sense.
    #[error("{path}:{line}: expected token,user,uid[,\"group1,group2\"]")]
    TokenFile {
        /// The file.
        path: PathBuf,
        /// The line.
        line: usize,
    },
}

/// Whose token it is and for which of the asked audiences it is good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenOwner {
    /// The user.
    pub user: User,
    /// The audiences asked for that the token carries.
    pub audiences: Vec<String>,
}

/// Says who makes a request.
pub struct Authenticator {
    anonymous: Anonymous,
    certificates: Option<ClientCertificates>,
    proxies: Option<RequestHeader>,
    tokens: Option<TokenFile>,
    issuers: Vec<Oidc>,
    bootstrap_tokens: bool,
    /// Service account tokens.
    pub service_accounts: ServiceAccountTokens,
    lookup: Box<dyn Lookup>,
}

impl Authenticator {
    /// Reads the files the flags name.
    pub fn new(args: &AccessArgs, lookup: Box<dyn Lookup>) -> Result<Self, AuthnError> {
        let configuration = Configuration::load(args)?;
        let issuers = configuration.jwt.into_iter().map(Oidc::new).collect::<Result<Vec<_>, _>>()?;
        let service_accounts = ServiceAccountTokens::load(args)?;
        if let Some(issuer) =
            issuers.iter().find(|issuer| args.service_account_issuer.iter().any(|own| own == issuer.url()))
        {
            return Err(AuthnError::OwnIssuer { url: issuer.url().to_owned() });
        }
        Ok(Self {
            anonymous: configuration.anonymous.unwrap_or_else(|| Anonymous::always(args.anonymous_auth)),
            issuers,
            certificates: args.client_ca_file.as_deref().map(ClientCertificates::load).transpose()?,
            proxies: RequestHeader::load(args)?,
            tokens: args.token_auth_file.as_deref().map(TokenFile::load).transpose()?,
            bootstrap_tokens: args.enable_bootstrap_token_auth,
            service_accounts,
            lookup,
        })
    }

    /// The user of a request; 401 if its credentials are wrong, or if it has none and nobody may come in without.
    pub async fn authenticate(&self, request: &Parts) -> Result<User, Status> {
        let peer = request.extensions.get::<PeerCertificates>();
        if let Some(user) = self.proxies.as_ref().and_then(|proxies| proxies.user(peer, &request.headers)) {
            return Ok(authenticated(user));
        }
        if let Some(user) = peer.zip(self.certificates.as_ref()).and_then(|(chain, known)| known.user(chain)) {
            return Ok(authenticated(user));
        }
        match bearer_token(request)? {
            Some(token) => match self.authenticate_token(token, self.service_accounts.audiences()).await {
                Some(owner) => Ok(owner.user),
                None => Err(Status::unauthorized()),
            },
            None if self.anonymous.allows(request.uri.path()) => Ok(User::anonymous()),
            None => Err(Status::unauthorized()),
        }
    }

    /// How long the certificates that name users still live; none without an authority for them.
    pub fn certificate_lifetimes(&self) -> Option<Arc<Lifetimes>> {
        self.certificates.as_ref().map(ClientCertificates::lifetimes)
    }

    fn issuer_of(&self, token: &str) -> Option<&Oidc> {
        if self.issuers.is_empty() {
            return None;
        }
        let url = oidc::issuer_of(token)?;
        self.issuers.iter().find(|issuer| issuer.url() == url)
    }

    /// The owner of a token that is good for one of the audiences.
    pub async fn authenticate_token(&self, token: &str, audiences: &[String]) -> Option<TokenOwner> {
        if token.is_empty() {
            return None;
        }
        let for_this_server = || {
            let own = self.service_accounts.audiences();
            let shared: Vec<String> = audiences.iter().filter(|audience| own.contains(audience)).cloned().collect();
            (!shared.is_empty()).then_some(shared)
        };
        if let Some(user) = self.tokens.as_ref().and_then(|tokens| tokens.user(token)) {
            return Some(TokenOwner { user: authenticated(user), audiences: for_this_server()? });
        }
        if pki::jwt::looks_like_token(token) {
            if let Some(issuer) = self.issuer_of(token) {
                let user = issuer.user(token).await?;
                return Some(TokenOwner { user: authenticated(user), audiences: for_this_server()? });
            }
            let owner = self.service_accounts.authenticate(token, audiences, &*self.lookup).await?;
            return Some(TokenOwner { user: authenticated(owner.user), ..owner });
        }
        if self.bootstrap_tokens {
            let user = bootstrap_token::user(token, jiff::Timestamp::now(), &*self.lookup).await?;
            return Some(TokenOwner { user: authenticated(user), audiences: for_this_server()? });
        }
        None
    }
}

/// The token of an `Authorization: Bearer` header or of a WebSocket's sub-protocol; 401 if there is a header without one.
fn bearer_token(request: &Parts) -> Result<Option<&str>, Status> {
    let mut headers = request.headers.get_all(AUTHORIZATION).iter();
    let Some(header) = headers.next() else {
        return Ok(None);
    };
    if headers.next().is_some() {
        return Err(Status::unauthorized());
    }
    let text = header.to_str().map_err(|_| Status::unauthorized())?.trim();
    let (scheme, token) = text.split_once(' ').unwrap_or((text, ""));
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Ok(None);
    }
    let token = token.trim_start();
    if token.is_empty() || token.contains(char::is_whitespace) {
        return Err(Status::unauthorized());
    }
    Ok(Some(token))
}

fn authenticated(mut user: User) -> User {
    if !user.in_group(AUTHENTICATED) && user.name != crate::user::ANONYMOUS {
        user.groups.push(AUTHENTICATED.to_owned());
    }
    user
}

#[cfg(test)]
mod tests;
