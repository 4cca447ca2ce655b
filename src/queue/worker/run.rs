//! One run of a job: its handler, under its timeout and its operators' wishes.

use std::{borrow::Cow, sync::Arc, time::Duration};

use apalis_core::task::Task;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, Span, field::Empty};

use super::{backend::Claimed, outcome::Failure};
use crate::{
    queue::{
        cipher::{self, ArgsCipher, Sealed},
        job::JobContext,
        registry::Registry,
    },
    trace,
};

/// How long a handler that was asked to stop may take.
const GRACE: Duration = Duration::from_secs(5);

/// Runs one job to its end. Returns what is stored as its result.
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
    let args = match cipher::open(cipher.as_ref(), job.ticket.kind, &job.args) {
        Ok(args) => args,
        Err(lack @ Sealed::NoKey(_)) => return Err(Failure::Sealed(lack)),
        Err(broken @ Sealed::Broken) => return Err(Failure::Discard(broken.into())),
    };
    let is_sealed = matches!(args, Cow::Owned(_));
    let handler = (kind.run)(&args, job.ticket.context.clone(), state).instrument(job.span);
    tokio::select! {
        biased;
        ended = tokio::time::timeout(kind.timeout, handler) => match ended {
            // What serde says of them may quote them.
            Ok(Err(Failure::Undecodable(error))) if is_sealed => Err(Failure::Discard(anyhow::anyhow!(
                "the arguments are malformed at column {}; they are encrypted, so no more is said",
                error.column()
            ))),
            Ok(ended) => ended,
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

/// For the logs.
pub(super) fn span(task: &Task<Claimed>) -> tracing::Span {
    let ticket = &task.args.ticket;
    tracing::info_span!("job", id = ticket.context.id.0, kind = ticket.kind, attempt = ticket.context.attempt)
}

/// One attempt, in the trace that the job was enqueued in.
pub(super) fn traced(job: &Claimed) -> Span {
    let ticket = &job.ticket;
    let span = tracing::info_span!(
        target: trace::TARGET,
        parent: None,
        "job",
        otel.name = %format_args!("process {}", ticket.kind),
        otel.kind = "consumer",
        messaging.system = "labelfleet",
        messaging.operation.name = "process",
        messaging.operation.type = "process",
        messaging.destination.name = job.queue,
        messaging.message.id = ticket.context.id.0,
        job.kind = ticket.kind,
        job.attempt = ticket.context.attempt,
        job.outcome = Empty,
    );
    if let Some(context) = &job.trace_context {
        trace::continue_from(&span, context);
    }
    span
}
