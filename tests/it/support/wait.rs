//! Waiting for a condition with a deadline, instead of sleeping.

use std::time::Duration;

use tokio::time::Instant;

/// Asks `probe` until it answers `Some`; panics with `what` when `deadline` has passed.
pub async fn until<T>(what: &str, deadline: Duration, mut probe: impl AsyncFnMut() -> Option<T>) -> T {
    let end = Instant::now() + deadline;
    loop {
        if let Some(value) = probe().await {
            return value;
        }
        assert!(Instant::now() < end, "not within {deadline:?}: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
