//! One member's API as JSON over HTTPS, which etcd serves under `/v3/` on the port for clients. Its 64-bit numbers are
//! strings, and what is zero is left out.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{Request, Response};
use jiff::Timestamp;
use kube::client::Body;
use kube::{Client, Config};
use pki::{CertificateAuthority, LeafRequest, Usage};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::time::Instant;

use super::EtcdError;
use crate::world::Infrastructure;
use crate::world::dial::Dialer;

const PORT: u16 = 2379;
/// How often a member that does not listen is tried: there is no event to wait for.
const RETRY: Duration = Duration::from_millis(100);
/// A certificate lives for one conversation. A day forgives clocks that go wrong.
const LIFETIME: Duration = Duration::from_hours(24);

/// The member on one machine, over one connection.
pub(super) struct Gateway {
    machine: String,
    client: Client,
    patience: Patience,
}

/// How long a member is waited for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    /// How long one that cannot be reached is tried again.
    pub(super) connect: Duration,
    /// How long all may take until its answer is there.
    pub(super) answer: Duration,
}

impl Gateway {
    /// Connects only when asked something.
    pub(super) fn new(
        machine: &str,
        infrastructure: &Arc<dyn Infrastructure>,
        authority: &CertificateAuthority,
        patience: Patience,
    ) -> anyhow::Result<Self> {
        // Every member's certificate has the name of its machine, so no other machine is taken for it.
        let url = format!("https://{machine}:{PORT}").parse();
        let mut config = Config::new(url.with_context(|| format!("{machine} cannot be the name of a machine"))?);
        let root = CertificateDer::from_pem_slice(authority.cert_pem().as_bytes());
        config.root_cert = Some(vec![root.context("the authority of etcd cannot be used")?.to_vec()]);
        let request = LeafRequest {
            common_name: "provision".to_owned(),
            organizations: Vec::new(),
            sans: Vec::new(),
            usages: vec![Usage::DigitalSignature, Usage::ClientAuth],
            lifetime: LIFETIME,
        };
        let pair = authority.issue(&request, Timestamp::now()).context("cannot make a certificate for etcd")?;
        config.auth_info.client_certificate_data = Some(STANDARD.encode(pair.cert_pem));
        config.auth_info.client_key_data = Some(STANDARD.encode(pair.key_pem).into());
        let client = Dialer::new(infrastructure, PORT, vec![machine.to_owned()]).connect(config)?;
        Ok(Self { machine: machine.to_owned(), client, patience })
    }

    /// What the member answers.
    pub(super) async fn ask<T: DeserializeOwned>(&self, path: &'static str, question: &Value) -> Result<T, EtcdError> {
        let (body, limit) = (question.to_string().into_bytes(), self.patience.answer);
        let answer = tokio::time::timeout(limit, self.send(path, &body)).await;
        let (well, text) = answer.map_err(|_| EtcdError::Late { machine: self.machine.clone(), limit })??;
        if !well {
            return Err(EtcdError::Refused { machine: self.machine.clone(), message: refusal(&text) });
        }
        serde_json::from_slice(&text).map_err(|source| EtcdError::Garbled { machine: self.machine.clone(), source })
    }

    /// Whether the question was answered, and the answer or why not.
    async fn send(&self, path: &'static str, body: &[u8]) -> Result<(bool, Vec<u8>), EtcdError> {
        let deadline = Instant::now() + self.patience.connect;
        loop {
            let request = Request::post(path).header(http::header::CONTENT_TYPE, "application/json");
            let request = request.body(Body::from(body.to_vec())).expect("a constant request is valid");
            let error = match self.client.send(request).await {
                Ok(response) => match read(response).await {
                    Ok(answer) => return Ok(answer),
                    Err(error) => error,
                },
                // What did not even reach the member may be sent twice.
                Err(kube::Error::Service(error))
                    if is_unsent(&*error) && certificate(&*error).is_none() && Instant::now() + RETRY < deadline =>
                {
                    tokio::time::sleep(RETRY).await;
                    continue;
                }
                Err(error) => error,
            };
            return Err(self.failed(error));
        }
    }

    fn failed(&self, error: kube::Error) -> EtcdError {
        let error: Box<dyn Error + Send + Sync> = match error {
            kube::Error::Service(inner) => inner,
            other => other.into(),
        };
        let machine = self.machine.clone();
        match certificate(&*error) {
            Some(tls) => EtcdError::Stranger { machine, source: tls.clone() },
            None => EtcdError::Unreachable { machine, why: reason(&*error) },
        }
    }
}

async fn read(response: Response<Body>) -> Result<(bool, Vec<u8>), kube::Error> {
    let well = response.status().is_success();
    Ok((well, response.into_body().collect_bytes().await?.to_vec()))
}

/// Why etcd does not do what it is asked; what is in between may answer in plain words.
pub(super) fn refusal(body: &[u8]) -> String {
    let parsed: Option<Value> = serde_json::from_slice(body).ok();
    let message = parsed.as_ref().and_then(|answer| answer["message"].as_str());
    message.map_or_else(|| String::from_utf8_lossy(body).trim().to_owned(), str::to_owned)
}

fn is_unsent(error: &(dyn Error + 'static)) -> bool {
    error.downcast_ref().is_some_and(hyper_util::client::legacy::Error::is_connect)
}

/// The disagreement of both sides about a certificate, if the error is one.
fn certificate<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a rustls::Error> {
    match error.downcast_ref() {
        Some(tls @ (rustls::Error::InvalidCertificate(_) | rustls::Error::AlertReceived(_))) => Some(tls),
        _ => certificate(wrapped(error).or_else(|| error.source())?),
    }
}

/// What an I/O error wraps: its source is that of what it wraps.
fn wrapped<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a (dyn Error + 'static)> {
    let inner = error.downcast_ref::<std::io::Error>()?.get_ref()?;
    Some(inner)
}

/// The chain without its head, in which hyper says no more than that it is hyper's.
fn reason(error: &(dyn Error + 'static)) -> String {
    let (mut chain, mut next) = (Vec::new(), error.source());
    while let Some(error) = next {
        chain.push(error.to_string());
        next = error.source();
    }
    if chain.is_empty() { error.to_string() } else { chain.join(": ") }
}
