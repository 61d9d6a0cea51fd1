//! What the members of etcd can do, by their versions.

use super::Inner;
use crate::StorageError;
use etcd_client::Client;
use std::sync::Weak;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::task::JoinSet;

/// How often members that were silent at the start are asked again.
const AGAIN: Duration = Duration::from_secs(30);
/// How soon all are asked again when none has answered.
const SOON: Duration = Duration::from_millis(100);

/// Whether progress responses may be trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// All members are new enough.
    Dependable,
    /// A member is too old, and one is enough: a watch may land on it.
    Broken,
    /// A member did not say.
    Unknown,
}

/// Asks all members at once what they are, and one how many they are.
///
/// # Errors
/// Fails when none answers.
pub(super) async fn ask(inner: &Inner) -> Result<Progress, StorageError> {
    let mut members = JoinSet::new();
    for member in inner.members.all() {
        members.spawn(tokio::time::timeout(inner.timeout, describe(member.client.clone())));
    }
    let mut progress = Progress::Dependable;
    let mut answered = false;
    let mut failure = StorageError::Timeout;
    while let Some(member) = members.join_next().await {
        match member {
            Ok(Ok(Ok((version, count)))) => {
                answered = true;
                inner.members.learn_count(count);
                if !progress_is_dependable(&version) {
                    progress = Progress::Broken;
                }
                continue;
            }
            Ok(Ok(Err(error))) => failure = error.into(),
            Ok(Err(_)) | Err(_) => {}
        }
        if progress == Progress::Dependable {
            progress = Progress::Unknown;
        }
    }
    if !answered {
        return Err(failure);
    }
    inner.dependable_progress.store(progress == Progress::Dependable, Ordering::Relaxed);
    Ok(progress)
}

/// Asks again and again until every member has said what it is, or nobody uses the client any more.
pub(super) async fn ask_until_known(inner: Weak<Inner>) {
    loop {
        let pause = {
            let Some(inner) = inner.upgrade() else { return };
            match ask(&inner).await {
                Ok(Progress::Dependable | Progress::Broken) => return,
                Ok(Progress::Unknown) => AGAIN,
                // Nobody is there yet.
                Err(_) => SOON,
            }
        };
        tokio::time::sleep(pause).await;
    }
}

async fn describe(mut client: Client) -> Result<(String, usize), etcd_client::Error> {
    let version = client.status().await?.version().to_owned();
    // A member without a leader does not know; that must not keep its version secret.
    let count = client.member_list().await.map_or(1, |list| list.members().len());
    Ok((version, count))
}

/// Before these versions a progress response could overtake events that were still queued
/// (etcd issue 15220), so a cache that trusted it would call itself fresh too early.
pub(super) fn progress_is_dependable(version: &str) -> bool {
    let core = version.split(['-', '+']).next().unwrap_or_default();
    let mut parts = core.split('.').map(|part| part.parse().unwrap_or(0));
    let mut part = || parts.next().unwrap_or(0_u32);
    match (part(), part(), part()) {
        (3, 4, patch) => patch >= 31,
        (3, 5, patch) => patch >= 13,
        (3, minor, _) => minor > 5,
        (major, ..) => major > 3,
    }
}
