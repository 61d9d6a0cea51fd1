//! The gRPC health check, spoken by hand: one message with one field in each direction.

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};

/// `SERVING` of `grpc.health.v1.HealthCheckResponse.ServingStatus`.
const SERVING: u8 = 1;

/// Asks `service` on a port whether it serves.
pub async fn check(host: &str, port: i32, service: &str) -> Result<(), String> {
    let address = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
    let stream =
        tokio::net::TcpStream::connect(&address).await.map_err(|error| format!("dial tcp {address}: {error}"))?;
    let (mut sender, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
        .await
        .map_err(|error| error.to_string())?;
    let driver = tokio::spawn(connection);
    let answer = exchange(&mut sender, &address, service).await;
    driver.abort();
    answer
}

type Sender = hyper::client::conn::http2::SendRequest<Full<Bytes>>;

async fn exchange(sender: &mut Sender, address: &str, service: &str) -> Result<(), String> {
    let request = http::Request::post(format!("http://{address}/grpc.health.v1.Health/Check"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(Full::new(request_bytes(service)))
        .map_err(|error| error.to_string())?;
    let answer = sender.send_request(request).await.map_err(|error| error.to_string())?;
    let status_of = |headers: &http::HeaderMap| {
        headers.get("grpc-status").and_then(|status| status.to_str().ok().map(str::to_owned))
    };
    let early = status_of(answer.headers());
    let body = answer.into_body().collect().await.map_err(|error| error.to_string())?;
    let status = body.trailers().and_then(status_of).or(early).unwrap_or_default();
    if status != "0" {
        return Err(format!("service unhealthy: gRPC status {status:?}"));
    }
    if serving(&body.to_bytes()) {
        Ok(())
    } else {
        Err("service unhealthy (responded with \"NOT_SERVING\")".to_owned())
    }
}

/// A frame of gRPC around a message with the service name as field 1.
fn request_bytes(service: &str) -> Bytes {
    let mut message = Vec::new();
    if let Ok(length) = u8::try_from(service.len())
        && length > 0
        && length < 128
    {
        message.extend([0x0a, length]);
        message.extend(service.as_bytes());
    }
    let mut frame = vec![0];
    frame.extend(u32::try_from(message.len()).unwrap_or(0).to_be_bytes());
    frame.extend(message);
    Bytes::from(frame)
}

fn serving(frame: &[u8]) -> bool {
    frame.get(5..) == Some(&[0x08, SERVING])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_as_the_protocol_wants() {
        assert_eq!(&request_bytes("")[..], &[0, 0, 0, 0, 0]);
        assert_eq!(&request_bytes("ab")[..], &[0, 0, 0, 0, 4, 0x0a, 2, b'a', b'b']);
        assert!(serving(&[0, 0, 0, 0, 2, 8, 1]));
        assert!(!serving(&[0, 0, 0, 0, 2, 8, 2]) && !serving(&[0, 0, 0, 0, 0]));
    }
}
