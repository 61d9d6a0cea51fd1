//! Somebody who talks to the API server in bytes: every header, code and body can be looked at.

use std::time::{Duration, Instant};

use reqwest::header::HeaderMap;
use reqwest::{Certificate, Client, Identity, Method, RequestBuilder};
use serde_json::Value;

use crate::api_server::PATIENCE;

/// A client with one identity.
#[derive(Clone)]
pub struct Caller {
    client: Client,
    base: String,
}

/// An answer that was read to its end.
#[derive(Debug)]
pub struct Answer {
    /// The status code.
    pub code: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The body as it came.
    pub bytes: Vec<u8>,
    /// The body as JSON, or as text where it is none.
    pub body: Value,
}

impl Caller {
    /// A client of `base` that trusts `ca` only; `identity` is a certificate with its key.
    pub fn new(base: &str, ca: &str, identity: Option<&str>) -> Self {
        let mut builder = Client::builder();
        if let Some(pem) = identity {
            builder = builder.identity(Identity::from_pem(pem.as_bytes()).expect("the identity is PEM"));
        }
        let root = Certificate::from_pem(ca.as_bytes()).expect("the authority is PEM");
        let client = builder.tls_certs_only([root]).build().expect("a client can be made");
        Self { client, base: base.to_owned() }
    }

    /// A request to be added to.
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("{}{path}", self.base))
    }

    /// GET.
    pub async fn get(&self, path: &str) -> Answer {
        answer(self.request(Method::GET, path)).await
    }

    /// GET with an `Accept` header.
    pub async fn get_as(&self, path: &str, accept: &str) -> Answer {
        answer(self.request(Method::GET, path).header("accept", accept)).await
    }

    /// [`Caller::get`] until `wanted` likes the body, for what the server learns a moment after it said yes.
    pub async fn get_until(&self, path: &str, wanted: impl Fn(&Answer) -> bool) -> Value {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let answer = self.get(path).await;
            if wanted(&answer) {
                return answer.body;
            }
            assert!(Instant::now() < deadline, "{path} still says {} {}", answer.code, answer.body);
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// POST of JSON.
    pub async fn create(&self, path: &str, body: &Value) -> Answer {
        self.send(Method::POST, path, "application/json", body.to_string()).await
    }

    /// PUT of JSON.
    pub async fn update(&self, path: &str, body: &Value) -> Answer {
        self.send(Method::PUT, path, "application/json", body.to_string()).await
    }

    /// PATCH; the kind is `json`, `merge` or `strategic-merge`.
    pub async fn patch(&self, path: &str, kind: &str, body: &Value) -> Answer {
        self.send(Method::PATCH, path, &format!("application/{kind}-patch+json"), body.to_string()).await
    }

    /// Server-side apply.
    pub async fn apply(&self, path: &str, manager: &str, force: bool, body: &Value) -> Answer {
        let path = format!("{path}?fieldManager={manager}&force={force}");
        self.send(Method::PATCH, &path, "application/apply-patch+yaml", body.to_string()).await
    }

    /// DELETE.
    pub async fn delete(&self, path: &str) -> Answer {
        answer(self.request(Method::DELETE, path)).await
    }

    /// DELETE with options.
    pub async fn delete_with(&self, path: &str, options: &Value) -> Answer {
        self.send(Method::DELETE, path, "application/json", options.to_string()).await
    }

    /// Any method with a body of any type.
    pub async fn send(&self, method: Method, path: &str, media: &str, body: impl Into<reqwest::Body>) -> Answer {
        answer(self.request(method, path).header("content-type", media).body(body)).await
    }
}

/// Sends a request and takes in its answer.
pub async fn answer(request: RequestBuilder) -> Answer {
    try_answer(request).await.expect("the server answers")
}

/// [`answer`], or what went wrong on the way.
pub async fn try_answer(request: RequestBuilder) -> reqwest::Result<Answer> {
    let response = request.send().await?;
    let (code, headers) = (response.status().as_u16(), response.headers().clone());
    let bytes = response.bytes().await?.to_vec();
    let body =
        serde_json::from_slice(&bytes).unwrap_or_else(|_| Value::String(String::from_utf8_lossy(&bytes).into_owned()));
    Ok(Answer { code, headers, bytes, body })
}

impl Answer {
    /// The body of a success.
    #[track_caller]
    pub fn ok(self) -> Value {
        assert!((200..300).contains(&self.code), "{} {}", self.code, self.body);
        self.body
    }

    /// The message of a failure with this code, which has to be a Status.
    #[track_caller]
    pub fn failed(self, code: u16) -> String {
        assert_eq!(self.code, code, "{}", self.body);
        assert_eq!((&self.body["kind"], &self.body["apiVersion"]), (&"Status".into(), &"v1".into()), "{}", self.body);
        assert_eq!(self.body["status"], "Failure", "{}", self.body);
        assert_eq!(self.body["code"], code, "{}", self.body);
        self.body["message"].as_str().unwrap_or_default().to_owned()
    }

    /// A header as text; empty if it is absent.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// All `Warning` headers.
    pub fn warnings(&self) -> Vec<&str> {
        self.headers.get_all("warning").iter().filter_map(|value| value.to_str().ok()).collect()
    }

    /// The names of the items of a list, in its order.
    #[track_caller]
    pub fn names(&self) -> Vec<&str> {
        let items = self.body["items"].as_array().unwrap_or_else(|| panic!("no list: {} {}", self.code, self.body));
        items.iter().map(|item| item["metadata"]["name"].as_str().unwrap_or_default()).collect()
    }
}

/// The path of a namespaced core resource in `default`.
pub fn core(rest: &str) -> String {
    format!("/api/v1/namespaces/default/{rest}")
}
