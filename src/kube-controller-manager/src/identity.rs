//! An identity for each controller: a service account in `kube-system` and a token that is renewed.
//!
//! Upstream's policy gives the program itself little more than reading; each controller may do what its account may.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use component_base::client::{ClientError, Settings};
use controller_runtime::Retry;
use http::HeaderValue;
use http::header::{ACCEPT, AUTHORIZATION};
use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::ServiceAccount;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::PostParams;
use kube::client::Body;
use kube::{Api, Client};
use tokio_util::sync::CancellationToken;

/// How long a token is asked to live.
const LIFETIME: Duration = Duration::from_hours(1);

/// The longest rest after failed requests.
const LONGEST_REST: Duration = Duration::from_secs(10);

const NAMESPACE: &str = "kube-system";

/// How the program names itself to the server.
pub(crate) const USER_AGENT: &str = "kube-controller-manager/v1.35.0";

/// Makes clients that act as service accounts.
#[derive(Clone)]
pub(crate) struct Identities {
    /// The program's own client.
    pub(crate) own: Client,
    /// The program's own settings.
    pub(crate) settings: Settings,
    /// The same without its credentials: accounts bring their own, and share the connection.
    pub(crate) anonymous: Settings,
    pub(crate) token: CancellationToken,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum IdentityError {
    #[error("the token of the account cannot be had")]
    Request(#[from] kube::Error),
    #[error("the server gave no usable token")]
    Token,
}

impl Identities {
    /// A client that acts as an account, once the server has given a token; waits for that as long as it takes.
    pub(crate) async fn client(&self, account: &str) -> Result<Client, ClientError> {
        let mut retry = Retry::new(LONGEST_REST);
        let header = loop {
            match self.request(account).await {
                Ok(header) => break Arc::new(ArcSwap::from_pointee(header)),
                Err(error) => {
                    tracing::debug!(account, %error, "waiting for a token");
                    // Who is refused for good is one of many: the server must not hear of it ten times a second.
                    if matches!(&error, IdentityError::Request(kube::Error::Api(status)) if status.code == 403) {
                        retry.there();
                    }
                    retry.sleep().await;
                }
            }
        };
        tokio::spawn(self.clone().renew(account.to_owned(), Arc::clone(&header)));
        let layer = tower::util::MapRequestLayer::new(move |mut request: http::Request<Body>| {
            request.headers_mut().insert(AUTHORIZATION, HeaderValue::clone(&header.load()));
            request
        });
        Ok(self.anonymous.clone().builder(USER_AGENT)?.with_layer(&layer).build())
    }

    /// A client with the program's own identity that asks for the metadata of objects only, whatever it lists or watches.
    pub(crate) fn metadata(&self) -> Result<Client, ClientError> {
        let layer = tower::util::MapRequestLayer::new(metadata_only);
        Ok(self.settings.clone().builder(USER_AGENT)?.with_layer(&layer).build())
    }

    async fn renew(self, account: String, header: Arc<ArcSwap<HeaderValue>>) {
        let mut wait = LIFETIME * 4 / 5;
        loop {
            tokio::select! {
                () = self.token.cancelled() => return,
                () = tokio::time::sleep(wait) => {}
            }
            match self.request(&account).await {
                Ok(renewed) => {
                    header.store(Arc::new(renewed));
                    wait = LIFETIME * 4 / 5;
                }
                Err(error) => {
                    tracing::warn!(account, %error, "the token was not renewed");
                    wait = LONGEST_REST;
                }
            }
        }
    }

    async fn request(&self, account: &str) -> Result<HeaderValue, IdentityError> {
        let accounts: Api<ServiceAccount> = Api::namespaced(self.own.clone(), NAMESPACE);
        let seconds = i64::try_from(LIFETIME.as_secs()).unwrap_or(3600);
        let request = TokenRequest {
            spec: TokenRequestSpec { expiration_seconds: Some(seconds), ..TokenRequestSpec::default() },
            ..TokenRequest::default()
        };
        let answer = match accounts.create_token_request(account, &PostParams::default(), &request).await {
            Err(kube::Error::Api(status)) if status.code == 404 => {
                let meta = ObjectMeta { name: Some(account.to_owned()), ..ObjectMeta::default() };
                accounts
                    .create(&PostParams::default(), &ServiceAccount { metadata: meta, ..ServiceAccount::default() })
                    .await?;
                accounts.create_token_request(account, &PostParams::default(), &request).await?
            }
            answer => answer?,
        };
        let token = answer.status.ok_or(IdentityError::Token)?.token;
        let mut header = HeaderValue::from_str(&format!("Bearer {token}")).map_err(|_| IdentityError::Token)?;
        header.set_sensitive(true);
        Ok(header)
    }
}

fn metadata_only(mut request: http::Request<Body>) -> http::Request<Body> {
    let watches = request.uri().query().is_some_and(|query| query.split('&').any(|pair| pair == "watch=true"));
    // Whoever serves no metadata sends whole objects.
    let accepted = if watches {
        "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json"
    } else {
        "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json"
    };
    request.headers_mut().insert(ACCEPT, HeaderValue::from_static(accepted));
    request
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_and_watches_are_asked_for_in_their_own_forms() {
        let accepted = |uri: &str| {
            let request = metadata_only(http::Request::get(uri).body(Body::empty()).unwrap());
            request.headers()[ACCEPT].to_str().unwrap().to_owned()
        };
        assert!(accepted("/api/v1/pods?limit=500").contains("as=PartialObjectMetadataList;"));
        assert!(accepted("/api/v1/pods?&watch=true&resourceVersion=1").contains("as=PartialObjectMetadata;"));
    }
}
