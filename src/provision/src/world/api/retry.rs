//! Requests that outlast a change of etcd's leader, a server that is about to go, or a busy one.

use std::time::Duration;

use tokio::time::Instant;

/// How long one request is tried again: longer than any election.
const PATIENCE: Duration = Duration::from_mins(1);
/// Not the server's `retryAfterSeconds`, which is a whole second at least: a leader is elected sooner, and a cluster that comes
/// to be waits for this. It does not grow: one client that asks ten times a second is no burden.
const PAUSE: Duration = Duration::from_millis(100);

/// Makes a request that may be made twice, until it is answered by something else than "not now".
pub(super) async fn patiently<T, R>(request: impl FnMut() -> R) -> Result<T, kube::Error>
where
    R: Future<Output = Result<T, kube::Error>>,
{
    within(PATIENCE, PAUSE, request).await
}

async fn within<T, R>(patience: Duration, pause: Duration, mut request: impl FnMut() -> R) -> Result<T, kube::Error>
where
    R: Future<Output = Result<T, kube::Error>>,
{
    let end = Instant::now() + patience;
    loop {
        match request().await {
            Err(error) if passes(&error) && Instant::now() + pause < end => {
                tracing::debug!("the API is asked again in {pause:?}: {error}");
                tokio::time::sleep(pause).await;
            }
            answer => return answer,
        }
    }
}

/// Whether the same request may succeed a moment later.
fn passes(error: &kube::Error) -> bool {
    match error {
        kube::Error::Api(status) => matches!(status.code, 429 | 500 | 502..=504),
        kube::Error::HyperError(_) | kube::Error::Service(_) => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn says(code: u16) -> kube::Error {
        let status = serde_json::json!({ "status": "Failure", "message": "", "reason": "", "code": code });
        kube::Error::Api(serde_json::from_value(status).unwrap())
    }

    const QUICKLY: Duration = Duration::from_millis(1);

    #[tokio::test]
    async fn a_server_that_is_busy_is_asked_again() {
        let mut left = vec![says(504), says(503), says(429)];
        let answer = within(PATIENCE, QUICKLY, || std::future::ready(left.pop().map_or(Ok(()), Err))).await;
        assert!(answer.is_ok() && left.is_empty());
    }

    #[tokio::test]
    async fn what_will_not_change_is_not_asked_again_and_nothing_is_for_ever() {
        for (code, asked) in [(404, 1..2), (409, 1..2), (422, 1..2), (503, 2..50)] {
            let mut times = 0;
            let answer = within(QUICKLY * 20, QUICKLY, || {
                times += 1;
                std::future::ready(Err::<(), _>(says(code)))
            });
            assert!(answer.await.is_err());
            assert!(asked.contains(&times), "{code}: asked {times} times");
        }
    }
}
