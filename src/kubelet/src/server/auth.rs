//! Who asks, and whether they may: client certificates and reviews by the API server, remembered for a short while.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use component_base::serving::PeerCertificates;
use http::{Method, Request, StatusCode};
use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec, UserInfo};
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec};
use kube::api::PostParams;
use kube::{Api, Client};
use sha2::{Digest, Sha256};
use tokio::time::Instant;

use crate::config::Access;

/// How long answers of the API server are remembered; refusals much shorter, so that a new right works soon.
const TOKEN_LIFE: Duration = Duration::from_mins(2);
const ALLOWED_LIFE: Duration = Duration::from_mins(5);
const REFUSED_LIFE: Duration = Duration::from_secs(30);
/// How many answers are remembered.
const REMEMBERED: usize = 1024;

/// Why a request is not answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// 401, 403 or 500.
    pub status: StatusCode,
    /// The words.
    pub message: String,
}

impl Refusal {
    fn unauthorized() -> Self {
        Self { status: StatusCode::UNAUTHORIZED, message: "Unauthorized".to_owned() }
    }
}

/// The gate before the server.
pub struct Gate {
    access: Access,
    node_name: String,
    client: Option<Client>,
    tokens: Memory<[u8; 32], Option<UserInfo>>,
    decisions: Memory<Question, bool>,
}

/// What the API server is asked: user, groups, verb and part of the node.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Question {
    user: String,
    groups: Vec<String>,
    verb: &'static str,
    part: &'static str,
}

impl Gate {
    /// A gate with these rules; without a client nobody is known by a token and nobody is allowed by review.
    pub fn new(access: Access, node_name: &str, client: Option<Client>) -> Self {
        Self {
            access,
            node_name: node_name.to_owned(),
            client,
            tokens: Memory::default(),
            decisions: Memory::default(),
        }
    }

    /// Lets a request pass or says why not.
    pub async fn check<B>(&self, request: &Request<B>) -> Result<(), Refusal> {
        let user = self.authenticate(request).await?;
        if !self.access.webhook_authorization {
            return Ok(());
        }
        let question = Question {
            user: user.username.clone().unwrap_or_default(),
            groups: user.groups.clone().unwrap_or_default(),
            verb: verb(request.method()),
            part: part(request.uri().path()),
        };
        if self.allowed(&question, &user).await? {
            return Ok(());
        }
        let Question { user, verb, part, .. } = question;
        let message = format!("Forbidden (user={user}, verb={verb}, resource=nodes, subresource={part})");
        Err(Refusal { status: StatusCode::FORBIDDEN, message })
    }

    async fn authenticate<B>(&self, request: &Request<B>) -> Result<UserInfo, Refusal> {
        if let Some(user) = request.extensions().get::<PeerCertificates>().and_then(of_certificate) {
            return Ok(user);
        }
        let header = request.headers().get(http::header::AUTHORIZATION).and_then(|header| header.to_str().ok());
        if let Some(token) = header.and_then(|header| header.strip_prefix("Bearer ")) {
            return if self.access.webhook_authentication {
                self.of_token(token.trim()).await
            } else {
                Err(Refusal::unauthorized())
            };
        }
        if !self.access.anonymous {
            return Err(Refusal::unauthorized());
        }
        Ok(UserInfo {
            username: Some("system:anonymous".to_owned()),
            groups: Some(vec!["system:unauthenticated".to_owned()]),
            ..UserInfo::default()
        })
    }

    async fn of_token(&self, token: &str) -> Result<UserInfo, Refusal> {
        // Tokens themselves are not kept.
        let key: [u8; 32] = Sha256::digest(token.as_bytes()).into();
        if let Some(known) = self.tokens.get(&key) {
            return known.ok_or_else(Refusal::unauthorized);
        }
        let Some(client) = &self.client else { return Err(Refusal::unauthorized()) };
        let review = TokenReview {
            spec: TokenReviewSpec { token: Some(token.to_owned()), audiences: None },
            ..TokenReview::default()
        };
        let api: Api<TokenReview> = Api::all(client.clone());
        let answer = api.create(&PostParams::default(), &review).await.map_err(|error| unreachable_api(&error))?;
        let status = answer.status.unwrap_or_default();
        let user = status.user.filter(|_| status.authenticated == Some(true));
        self.tokens.put(key, user.clone(), if user.is_some() { TOKEN_LIFE } else { REFUSED_LIFE });
        user.ok_or_else(Refusal::unauthorized)
    }

    async fn allowed(&self, question: &Question, user: &UserInfo) -> Result<bool, Refusal> {
        if let Some(known) = self.decisions.get(question) {
            return Ok(known);
        }
        let Some(client) = &self.client else { return Ok(false) };
        let review = SubjectAccessReview {
            spec: SubjectAccessReviewSpec {
                user: user.username.clone(),
                groups: user.groups.clone(),
                uid: user.uid.clone(),
                extra: user.extra.clone(),
                resource_attributes: Some(ResourceAttributes {
                    verb: Some(question.verb.to_owned()),
                    version: Some("v1".to_owned()),
                    resource: Some("nodes".to_owned()),
                    subresource: Some(question.part.to_owned()),
                    name: Some(self.node_name.clone()),
                    ..ResourceAttributes::default()
                }),
                non_resource_attributes: None,
            },
            ..SubjectAccessReview::default()
        };
        let api: Api<SubjectAccessReview> = Api::all(client.clone());
        let answer = api.create(&PostParams::default(), &review).await.map_err(|error| unreachable_api(&error))?;
        let allowed = answer.status.is_some_and(|status| status.allowed);
        self.decisions.put(question.clone(), allowed, if allowed { ALLOWED_LIFE } else { REFUSED_LIFE });
        Ok(allowed)
    }
}

fn unreachable_api(error: &kube::Error) -> Refusal {
    tracing::warn!(%error, "the API server was not asked");
    Refusal { status: StatusCode::INTERNAL_SERVER_ERROR, message: "the API server could not be asked".to_owned() }
}

fn of_certificate(certificates: &PeerCertificates) -> Option<UserInfo> {
    let peer = component_base::tls::peer_identity(certificates.0.first()?).ok()?;
    let groups = peer.organizations.into_iter().chain(["system:authenticated".to_owned()]).collect();
    Some(UserInfo { username: Some(peer.common_name), groups: Some(groups), ..UserInfo::default() })
}

fn verb(method: &Method) -> &'static str {
    match *method {
        Method::POST => "create",
        Method::PUT => "update",
        Method::PATCH => "patch",
        Method::DELETE => "delete",
        _ => "get",
    }
}

/// The part of the node that a path belongs to.
fn part(path: &str) -> &'static str {
    let first = path.split('/').find(|part| !part.is_empty()).unwrap_or_default();
    match first {
        "stats" => "stats",
        "metrics" => "metrics",
        "logs" => "log",
        "spec" => "spec",
        _ => "proxy",
    }
}

/// Answers that are good for a while.
struct Memory<K, V>(Mutex<HashMap<K, (V, Instant)>>);

impl<K, V> Default for Memory<K, V> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Eq + Hash, V: Clone> Memory<K, V> {
    fn get(&self, key: &K) -> Option<V> {
        let memory = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        memory.get(key).filter(|(_, until)| *until > Instant::now()).map(|(value, _)| value.clone())
    }

    fn put(&self, key: K, value: V, life: Duration) {
        let mut memory = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        if memory.len() >= REMEMBERED {
            memory.retain(|_, (_, until)| *until > now);
        }
        if memory.len() < REMEMBERED {
            memory.insert(key, (value, now + life));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gate(anonymous: bool, webhook_authorization: bool) -> Gate {
        let access = Access { client_ca: None, webhook_authentication: true, anonymous, webhook_authorization };
        Gate::new(access, "n1", None)
    }

    async fn check(gate: &Gate, token: Option<&str>) -> Option<u16> {
        let mut request = Request::get("https://n1/pods");
        if let Some(token) = token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        gate.check(&request.body(()).unwrap()).await.err().map(|refusal| refusal.status.as_u16())
    }

    #[tokio::test]
    async fn nobody_passes_unless_the_rules_say_so() {
        assert_eq!(check(&gate(false, true), None).await, Some(401));
        assert_eq!(check(&gate(false, false), None).await, Some(401));
        assert_eq!(check(&gate(true, false), None).await, None);
        assert_eq!(check(&gate(true, true), None).await, Some(403));
        assert_eq!(check(&gate(true, false), Some("forged")).await, Some(401), "a wrong token is not nobody");
    }

    #[test]
    fn paths_belong_to_parts_of_the_node() {
        for (path, expected) in [
            ("/stats/summary", "stats"),
            ("/metrics/resource", "metrics"),
            ("/logs/x", "log"),
            ("/exec/a/b/c", "proxy"),
            ("//stats", "stats"),
        ] {
            assert_eq!(part(path), expected, "{path}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn answers_are_forgotten() {
        let memory = Memory::default();
        memory.put(1, true, Duration::from_secs(5));
        assert_eq!(memory.get(&1), Some(true));
        tokio::time::advance(Duration::from_secs(6)).await;
        assert_eq!(memory.get(&1), None);
    }
}
