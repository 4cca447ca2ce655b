//! One run of a job: its handler, under its timeout and its operators' wishes.

use std::{borrow::Cow, sync::Arc, time::Duration};

use apalis_core::task::Task;
use tokio_util::sync::CancellationToken;

use super::{backend::Claimed, outcome::Failure};
use crate::queue::{
    cipher::{self, ArgsCipher, Sealed},
    job::JobContext,
    payload,
    registry::Registry,
};

/// How long a handler that was asked to stop may take.
const GRACE: Duration = Duration::from_secs(5);

/// Runs one job to its end. The value is stored as the job's result, unless it is null.
pub(super) async fn run<S: Send + Sync + 'static>(
    job: Claimed,
    cipher: Option<ArgsCipher>,
    registry: Arc<Registry<S>>,
    state: Arc<S>,
    cut: CancellationToken,
) -> Result<Option<String>, Failure> {
    let Some(kind) = registry.kinds.get(job.ticket.kind) else {
        // It can't be: only known kinds are claimed.
        return Err(Failure::Released);
    };
    let (handler, is_sealed) = match cipher::open(cipher.as_ref(), job.ticket.kind, &job.args) {
        Ok(args) => ((kind.run)(&args, job.ticket.context.clone(), state), matches!(args, Cow::Owned(_))),
        Err(lack @ Sealed::NoKey(_)) => return Err(Failure::Sealed(lack)),
        Err(broken @ Sealed::Broken) => return Err(Failure::Discard(broken.into())),
    };
    tokio::select! {
        biased;
        ended = tokio::time::timeout(kind.timeout, handler) => match ended {
            Ok(Ok(result)) => Ok(payload::result(result).map(|result| result.to_string())),
            // What serde says of them may quote them.
            Ok(Err(Failure::Undecodable(error))) if is_sealed => Err(Failure::Discard(anyhow::anyhow!(
                "the arguments are malformed at column {}; they are encrypted, so no more is said",
                error.column()
            ))),
            Ok(Err(failure)) => Err(failure),
            Err(_) => Err(Failure::Timeout(kind.timeout)),
        },
        () = cut.cancelled() => Err(Failure::Released),
        () = ignored(&job.ticket.context) => Err(Failure::Cancelled(format!("asked to stop, it went on for {GRACE:?}"))),
    }
}

/// The handler was asked to stop and has had its time.
async fn ignored(context: &JobContext) {
    context.cancelled().await;
    tokio::time::sleep(GRACE).await;
}

pub(super) type PanicPayload = Box<dyn std::any::Any + Send>;

pub(super) fn panicked(payload: &PanicPayload) -> Failure {
    let message = payload
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| payload.downcast_ref::<String>().cloned());
    Failure::Panic(message.unwrap_or_else(|| "no message".to_owned()))
}

pub(super) fn span(task: &Task<Claimed>) -> tracing::Span {
    let ticket = &task.args.ticket;
    tracing::info_span!("job", id = ticket.context.id.0, kind = ticket.kind, attempt = ticket.context.attempt)
}
