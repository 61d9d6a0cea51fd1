//! One question to one container.

use std::net::IpAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use cri::Runtime;
use k8s_openapi::api::core::v1::{Container, HTTPGetAction, Probe};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::grpc;

/// Whom to ask.
#[derive(Clone)]
pub struct Target {
    /// For commands inside the container.
    pub runtime: Arc<dyn Runtime>,
    /// The container's id.
    pub id: String,
    /// The address of the pod.
    pub ip: String,
    /// How long it has been running.
    pub age: Duration,
    /// The container, for its named ports.
    pub container: Container,
}

/// Asks once; the error is the sentence for the event.
pub async fn ask(probe: &Probe, target: &Target) -> Result<(), String> {
    let timeout = Duration::from_secs(u64::try_from(probe.timeout_seconds.unwrap_or(1).max(1)).unwrap_or(1));
    if let Some(exec) = &probe.exec {
        return run(target, exec.command.clone().unwrap_or_default(), timeout).await;
    }
    let question = async {
        if let Some(http) = &probe.http_get {
            return get(http, target).await;
        }
        if let Some(tcp) = &probe.tcp_socket {
            let host = tcp.host.as_deref().filter(|host| !host.is_empty()).unwrap_or(&target.ip);
            return connect(host, port(&tcp.port, &target.container)?).await;
        }
        if let Some(grpc) = &probe.grpc {
            return grpc::check(&target.ip, grpc.port, grpc.service.as_deref().unwrap_or_default()).await;
        }
        Err("missing probe handler".to_owned())
    };
    tokio::time::timeout(timeout, question).await.unwrap_or_else(|_| Err("context deadline exceeded".to_owned()))
}

async fn run(target: &Target, command: Vec<String>, timeout: Duration) -> Result<(), String> {
    let answer =
        target.runtime.exec_sync(target.id.clone(), command, timeout).await.map_err(|error| error.to_string())?;
    if answer.exit_code == 0 {
        return Ok(());
    }
    let text = String::from_utf8_lossy(if answer.stdout.is_empty() { &answer.stderr } else { &answer.stdout })
        .trim()
        .to_owned();
    Err(text)
}

async fn connect(host: &str, port: u16) -> Result<(), String> {
    tokio::net::TcpStream::connect((host, port))
        .await
        .map(drop)
        .map_err(|error| format!("dial tcp {host}:{port}: {error}"))
}

/// The number of a port given by number or by name.
pub fn port(port: &IntOrString, container: &Container) -> Result<u16, String> {
    let number = match port {
        IntOrString::Int(number) => *number,
        IntOrString::String(name) => {
            let named = container.ports.iter().flatten().find(|port| port.name.as_deref() == Some(name));
            match named {
                Some(port) => port.container_port,
                None => name.parse().map_err(|_| format!("couldn't find port: {name}"))?,
            }
        }
    };
    u16::try_from(number).ok().filter(|number| *number > 0).ok_or_else(|| format!("invalid port number: {number}"))
}

fn client() -> Result<&'static reqwest::Client, String> {
    static CLIENT: OnceLock<Option<reqwest::Client>> = OnceLock::new();
    let build = || {
        // An error means that the provider is set already, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        // A probe asks whether somebody answers, not who: certificates are not verified, as upstream does.
        let builder = reqwest::Client::builder().danger_accept_invalid_certs(true).no_proxy().pool_max_idle_per_host(0);
        builder.redirect(reqwest::redirect::Policy::custom(same_host)).build().ok()
    };
    CLIENT.get_or_init(build).as_ref().ok_or_else(|| "no HTTP client".to_owned())
}

/// Redirects to other hosts are not followed; they count as an answer.
fn same_host(attempt: reqwest::redirect::Attempt<'_>) -> reqwest::redirect::Action {
    let first = attempt.previous().first().and_then(|url| url.host_str().map(str::to_owned));
    if attempt.previous().len() > 10 {
        return attempt.error("stopped after 10 redirects");
    }
    if attempt.url().host_str().map(str::to_owned) == first { attempt.follow() } else { attempt.stop() }
}

/// Asks over HTTP; used by probes and by lifecycle hooks.
pub async fn get(http: &HTTPGetAction, target: &Target) -> Result<(), String> {
    let host = http.host.as_deref().filter(|host| !host.is_empty()).unwrap_or(&target.ip);
    let host = if host.parse::<IpAddr>().is_ok_and(|ip| ip.is_ipv6()) { format!("[{host}]") } else { host.to_owned() };
    let scheme = http.scheme.as_deref().unwrap_or("HTTP").to_lowercase();
    let path = http.path.as_deref().unwrap_or("/").trim_start_matches('/');
    let url = format!("{scheme}://{host}:{}/{path}", port(&http.port, &target.container)?);
    let mut request = client()?.get(url).header("user-agent", "kube-probe/1.35").header("accept", "*/*");
    for header in http.http_headers.iter().flatten() {
        request = request.header(header.name.as_str(), header.value.as_str());
    }
    let answer = request.send().await.map_err(|error| {
        format!("Get {:?}: {}", error.url().map(ToString::to_string).unwrap_or_default(), root(&error))
    })?;
    let status = answer.status();
    if status.as_u16() >= 200 && status.as_u16() < 400 {
        Ok(())
    } else {
        Err(format!("HTTP probe failed with statuscode: {}", status.as_u16()))
    }
}

fn root(error: &dyn std::error::Error) -> String {
    error.source().map_or_else(|| error.to_string(), root)
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    fn target() -> Target {
        let container =
            serde_json::from_value(json!({"name": "c", "ports": [{"name": "web", "containerPort": 80}]})).unwrap();
        Target {
            runtime: Arc::new(cri::fake::FakeRuntime::new()),
            id: "id".to_owned(),
            ip: "127.0.0.1".to_owned(),
            age: Duration::ZERO,
            container,
        }
    }

    #[test]
    fn ports_are_found_by_name() {
        let container = target().container;
        assert_eq!(port(&IntOrString::String("web".to_owned()), &container), Ok(80));
        assert_eq!(port(&IntOrString::String("8080".to_owned()), &container), Ok(8080));
        assert!(port(&IntOrString::String("none".to_owned()), &container).is_err());
        assert!(port(&IntOrString::Int(70_000), &container).is_err());
    }

    #[tokio::test]
    async fn http_answers_below_400_are_good() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = tokio::spawn(async move {
            for status in ["200 OK", "503 Busy"] {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut request = [0; 1024];
                let length = stream.read(&mut request).await.unwrap();
                assert!(String::from_utf8_lossy(&request[..length]).starts_with("GET /healthz"));
                stream
                    .write_all(
                        format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").as_bytes(),
                    )
                    .await
                    .unwrap();
            }
        });
        let probe: Probe =
            serde_json::from_value(json!({"httpGet": {"path": "/healthz", "port": port}, "timeoutSeconds": 5}))
                .unwrap();
        assert_eq!(ask(&probe, &target()).await, Ok(()));
        assert_eq!(ask(&probe, &target()).await, Err("HTTP probe failed with statuscode: 503".to_owned()));
        server.await.unwrap();
        assert!(ask(&probe, &target()).await.is_err(), "nobody listens any more");
    }
}
