//! Whether the runtime and the network of pods are ready.
//!
//! Asked when something happened that may have changed the answer: a range for pods was given to the runtime, a file
//! appeared where network plugins are configured, the runtime came back. Right after such an event the runtime may
//! still be reading the same file, so the question is repeated, quickly and not for long.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use cri::Runtime;
use futures::StreamExt;
use inotify::{Inotify, WatchMask};
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use super::status::Readiness;

/// Quick questions at the start, and after an event: a busy machine may need a while to read a small file.
const QUICK: Duration = Duration::from_millis(50);
const FIRST_TRIES: u32 = 40;
const TRIES_AFTER_EVENT: u32 = 400;
/// Questions to a runtime that does not answer: nothing else would tell that it is back.
const UNREACHABLE: Duration = Duration::from_secs(1);
/// Questions to a runtime whose network stays down, in case an event was missed.
const DOWN: Duration = Duration::from_secs(10);

/// What the runtime says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuntimeState {
    /// Whether it answers and is well.
    pub runtime: bool,
    /// Whether pods can get a network.
    pub network: bool,
    /// What is wrong.
    pub readiness: Readiness,
}

impl RuntimeState {
    /// Before the first answer.
    pub fn unknown() -> Self {
        let readiness =
            Readiness { problems: vec!["container runtime status check may not have completed yet".to_owned()] };
        Self { runtime: false, network: false, readiness }
    }
}

/// Asks once.
pub async fn ask(runtime: &dyn Runtime) -> RuntimeState {
    let conditions = match runtime.status().await {
        Ok(conditions) => conditions,
        Err(error) => {
            let problems = vec![format!("container runtime is down: {error}")];
            return RuntimeState { runtime: false, network: false, readiness: Readiness { problems } };
        }
    };
    let holds = |name: &str| conditions.iter().any(|condition| condition.r#type == name && condition.status);
    let broken = conditions
        .iter()
        .filter(|condition| !condition.status && ["RuntimeReady", "NetworkReady"].contains(&condition.r#type.as_str()));
    let say = |condition: &cri::api::RuntimeCondition| {
        let what = if condition.r#type == "NetworkReady" {
            "container runtime network not ready"
        } else {
            "container runtime not ready"
        };
        format!("{what}: {}=false reason:{} message:{}", condition.r#type, condition.reason, condition.message)
    };
    let problems = broken.map(say).collect();
    RuntimeState { runtime: holds("RuntimeReady"), network: holds("NetworkReady"), readiness: Readiness { problems } }
}

/// Keeps `state` true until the token is cancelled; `again` says that something may have changed.
pub async fn follow(
    runtime: Arc<dyn Runtime>,
    plugins: &Path,
    again: Arc<Notify>,
    state: watch::Sender<RuntimeState>,
    token: CancellationToken,
) {
    let files = watch_folder(plugins, again.clone());
    let questions = async {
        let mut quick = FIRST_TRIES;
        loop {
            let now = ask(runtime.as_ref()).await;
            let well = now.runtime && now.network;
            let pause = match (&now, quick) {
                _ if well => None,
                (now, 0) if !now.runtime => Some(UNREACHABLE),
                (_, 0) => Some(DOWN),
                _ => Some(QUICK),
            };
            quick = quick.saturating_sub(1);
            state.send_if_modified(|before| {
                let changed = *before != now;
                *before = now;
                changed
            });
            tokio::select! {
                () = again.notified() => quick = TRIES_AFTER_EVENT,
                () = async { match pause { Some(pause) => tokio::time::sleep(pause).await, None => std::future::pending().await } } => {}
            }
        }
    };
    tokio::select! {
        () = token.cancelled() => {}
        () = questions => {}
        () = files => {}
    }
}

async fn watch_folder(folder: &Path, again: Arc<Notify>) {
    if let Err(error) = tell_changes(folder, &again).await {
        tracing::warn!(folder = %folder.display(), %error, "network plugins are not followed");
    }
    std::future::pending::<()>().await;
}

async fn tell_changes(folder: &Path, again: &Notify) -> std::io::Result<()> {
    if !folder.exists() {
        // The runtime makes it when it starts; one that uses another folder is asked now and then.
        return Ok(());
    }
    let inotify = Inotify::init()?;
    inotify
        .watches()
        .add(folder, WatchMask::CLOSE_WRITE | WatchMask::MOVED_TO | WatchMask::DELETE | WatchMask::MOVED_FROM)?;
    let mut events = inotify.into_event_stream(vec![0; 4096])?;
    while let Some(event) = events.next().await {
        event?;
        again.notify_one();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use cri::fake::FakeRuntime;

    use super::*;

    #[tokio::test]
    async fn a_plugin_file_brings_the_network_up_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let runtime = Arc::new(FakeRuntime::new());
        runtime.set_condition("NetworkReady", false);
        let (sender, mut state) = watch::channel(RuntimeState::unknown());
        let path = folder.path().to_owned();
        let asked: Arc<dyn Runtime> = runtime.clone();
        tokio::spawn(async move { follow(asked, &path, Arc::default(), sender, CancellationToken::new()).await });
        state.wait_for(|state| state.runtime && !state.network).await.unwrap();
        runtime.set_condition("NetworkReady", true);
        std::fs::write(folder.path().join("10-net.conflist"), "{}").unwrap();
        let state =
            tokio::time::timeout(Duration::from_secs(5), state.wait_for(|state| state.network)).await.unwrap().unwrap();
        assert!(state.readiness.problems.is_empty());
    }

    #[tokio::test]
    async fn a_runtime_that_does_not_answer_is_told() {
        let runtime = FakeRuntime::new();
        runtime.fail("status", "gone");
        let state = ask(&runtime).await;
        assert!(!state.runtime && state.readiness.problems[0].contains("container runtime is down"));
    }
}
