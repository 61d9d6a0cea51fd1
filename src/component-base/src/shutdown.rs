//! Signals become one cancellation token.

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Cancelled by the first SIGTERM or SIGINT; the second ends the process at once. Call inside a runtime.
pub fn signal_token() -> CancellationToken {
    let token = CancellationToken::new();
    match (signal(SignalKind::terminate()), signal(SignalKind::interrupt())) {
        (Ok(terminate), Ok(interrupt)) => {
            tokio::spawn(watch_signals(terminate, interrupt, token.clone()));
        }
        (Err(error), _) | (_, Err(error)) => tracing::warn!(%error, "signals are not handled"),
    }
    token
}

#[expect(clippy::disallowed_methods, reason = "the second signal must end the process whatever it is doing")]
async fn watch_signals(mut terminate: Signal, mut interrupt: Signal, token: CancellationToken) {
    either(&mut terminate, &mut interrupt).await;
    tracing::info!("stopping");
    token.cancel();
    either(&mut terminate, &mut interrupt).await;
    std::process::exit(1);
}

async fn either(terminate: &mut Signal, interrupt: &mut Signal) {
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}
