//! SIGTERM and SIGINT ask a process to stop in order; a second one, or the end of its patience, ends it at once.

use std::{io, time::Duration};

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// A token that the first signal cancels. From then on the process has `grace` to end by itself.
///
/// Signals are heard by a thread of their own, so a handler that blocks all others does not keep the process.
pub fn stop_on_signals(grace: Duration) -> io::Result<CancellationToken> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (mut terminate, mut interrupt) = {
        let _context = runtime.enter();
        (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?)
    };
    let stop = CancellationToken::new();
    let stopped = stop.clone();
    let listen = async move {
        let mut next = async || tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} };
        next().await;
        stopped.cancel();
        tokio::select! {
            () = next() => tracing::warn!("told to stop twice: ends at once"),
            () = tokio::time::sleep(grace) => tracing::error!("did not stop in time: ends at once"),
        }
        std::process::exit(1);
    };
    std::thread::Builder::new().name("signals".into()).spawn(move || runtime.block_on(listen))?;
    Ok(stop)
}
