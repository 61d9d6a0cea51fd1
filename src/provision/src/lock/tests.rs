use super::*;
use crate::exit::{classify, hint};

const NOBODY: &(dyn Fn(&str) + Sync) = &|_| {};

async fn take(state: &StateDir, command: &str, limit: Duration) -> Result<Lock> {
    let token = CancellationToken::new();
    Lock::take(state, command, &Patience { limit, token: &token, tell: NOBODY }).await
}

#[tokio::test]
async fn a_second_run_is_refused_with_the_name_of_the_first() {
    let dir = tempfile::tempdir().unwrap();
    let state = StateDir::new(dir.path(), "demo");
    let held = take(&state, "apply demo.yaml", Duration::ZERO).await.unwrap();
    let error = take(&state, "destroy demo", Duration::ZERO).await.unwrap_err();
    let (text, pid) = (error.to_string(), std::process::id());
    let host = nix::unistd::gethostname().unwrap().into_string().unwrap();
    assert!(text.contains(&format!("`provision apply demo.yaml`, process {pid} on {host}, since 20")), "{text}");
    assert_eq!(classify(&error), Exit::Locked);
    assert!(hint(&error).unwrap().contains("--wait-lock"));
    drop(held);
    take(&state, "destroy demo", Duration::ZERO).await.unwrap();
}

#[tokio::test]
async fn a_run_that_may_wait_goes_on_when_the_other_ends() {
    let dir = tempfile::tempdir().unwrap();
    let state = StateDir::new(dir.path(), "demo");
    let mut held = Some(take(&state, "apply demo.yaml", Duration::ZERO).await.unwrap());
    let told = std::sync::Mutex::new(Vec::new());
    let (waits, waiting) = tokio::sync::oneshot::channel();
    let waits = std::sync::Mutex::new(Some(waits));
    let tell = |text: &str| {
        told.lock().unwrap().push(text.to_owned());
        waits.lock().unwrap().take().unwrap().send(()).unwrap();
    };
    let token = CancellationToken::new();
    let patience = Patience { limit: Duration::from_mins(1), token: &token, tell: &tell };
    let other_ends = async {
        waiting.await.unwrap();
        held.take();
    };
    let (second, ()) = tokio::join!(Lock::take(&state, "destroy demo", &patience), other_ends);
    second.unwrap();
    let told = told.into_inner().unwrap();
    assert!(told.len() == 1 && told[0].contains("`provision apply demo.yaml`"), "{told:?}");
}

#[tokio::test]
async fn a_wait_that_was_too_long_and_one_that_was_interrupted_say_so() {
    let dir = tempfile::tempdir().unwrap();
    let state = StateDir::new(dir.path(), "demo");
    let _held = take(&state, "apply demo.yaml", Duration::ZERO).await.unwrap();
    let error = take(&state, "destroy demo", Duration::from_millis(1)).await.unwrap_err();
    assert_eq!(classify(&error), Exit::Locked);
    let token = CancellationToken::new();
    token.cancel();
    let patience = Patience { limit: Duration::from_mins(1), token: &token, tell: NOBODY };
    let error = Lock::take(&state, "destroy demo", &patience).await.unwrap_err();
    assert_eq!(classify(&error), Exit::Interrupted);
}

#[tokio::test]
async fn a_cluster_that_was_removed_while_we_waited_is_locked_anew() {
    let dir = tempfile::tempdir().unwrap();
    let state = StateDir::new(dir.path(), "demo");
    let mut held = Some(take(&state, "destroy demo", Duration::ZERO).await.unwrap());
    let (waits, waiting) = tokio::sync::oneshot::channel();
    let waits = std::sync::Mutex::new(Some(waits));
    let tell = |_: &str| waits.lock().unwrap().take().unwrap().send(()).unwrap();
    let token = CancellationToken::new();
    let patience = Patience { limit: Duration::from_mins(1), token: &token, tell: &tell };
    let other_ends = async {
        waiting.await.unwrap();
        state.remove().unwrap();
        held.take();
    };
    let (second, ()) = tokio::join!(Lock::take(&state, "apply demo.yaml", &patience), other_ends);
    let _second = second.unwrap();
    let error = take(&state, "apply demo.yaml", Duration::ZERO).await.unwrap_err();
    assert_eq!(classify(&error), Exit::Locked, "what we hold is the file that others find");
}

#[tokio::test]
async fn only_one_run_allocates_at_a_time() {
    let dir = tempfile::tempdir().unwrap();
    let first = Allocating::take(dir.path()).await.unwrap();
    let mut second = Box::pin(Allocating::take(dir.path()));
    assert!(futures::poll!(&mut second).is_pending());
    drop(first);
    second.await.unwrap();
}

#[tokio::test]
async fn clusters_do_not_hold_each_other_and_a_holder_leaves_no_name_behind() {
    let dir = tempfile::tempdir().unwrap();
    let one = StateDir::new(dir.path(), "one");
    let held = take(&one, "apply a-very-long-name-of-a-topology.yaml", Duration::ZERO).await.unwrap();
    take(&StateDir::new(dir.path(), "two"), "apply", Duration::ZERO).await.unwrap();
    drop(held);
    take(&one, "x", Duration::ZERO).await.unwrap();
    let holder = std::fs::read_to_string(one.path("lock")).unwrap();
    assert!(holder.starts_with("`provision x`, ") && !holder.contains("topology"), "{holder}");
}
