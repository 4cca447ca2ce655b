//! The engine as an apalis backend: hands claimed jobs to apalis' worker, and takes back how they ended.
//!
//! A queue's fetcher feeds the channel. A permit keeps the number of running jobs at the queue's concurrency;
//! what is claimed beyond it waits here and is handed back when the worker stops.

use std::{
    convert::Infallible,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, ready},
    time::Instant,
};

use apalis::prelude::*;
use apalis_core::{
    backend::{Backend, BackendConfig, finalize::Ephemeral},
    layers::{Layer, Service},
    task::{Task, builder::TaskBuilder, task_id::TaskId},
};
use futures::{FutureExt, future::BoxFuture};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_util::sync::PollSemaphore;
use tracing::Span;

use super::{
    finish::{self, End, Finished},
    outcome::{Ending, Failure},
    run,
    slots::Ticket,
};
use crate::{queue::metrics::Meters, trace};

/// A job to run: what apalis carries.
pub(super) struct Claimed {
    pub ticket: Arc<Ticket>,
    pub queue: &'static str,
    /// As JSON.
    pub args: String,
    pub trace_context: Option<String>,
    /// The run's place in its trace, from when it starts.
    pub span: Span,
    /// Held while it runs.
    pub permit: Option<OwnedSemaphorePermit>,
}

/// The jobs of one queue. Clones share them.
#[derive(Clone)]
pub(super) struct Source {
    jobs: Arc<Mutex<mpsc::Receiver<Claimed>>>,
    permits: PollSemaphore,
    permit: Arc<Mutex<Option<OwnedSemaphorePermit>>>,
    ack: AckLayer,
}

impl Source {
    pub fn new(jobs: mpsc::Receiver<Claimed>, concurrency: usize, ack: AckLayer) -> Self {
        Self {
            jobs: Arc::new(Mutex::new(jobs)),
            permits: PollSemaphore::new(Arc::new(Semaphore::new(concurrency))),
            permit: Arc::default(),
            ack,
        }
    }
}

impl Backend for Source {
    type Task = Task<Claimed>;
    type Error = Infallible;

    fn poll_ready(&mut self, _: &mut Context<'_>, _: &WorkerContext) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn poll_next(
        &mut self,
        cx: &mut Context<'_>,
        _: &WorkerContext,
    ) -> Poll<Option<Result<Self::Task, Infallible>>> {
        let mut permit = self.permit.lock().unwrap_or_else(PoisonError::into_inner);
        if permit.is_none() {
            *permit = ready!(self.permits.poll_acquire(cx));
        }
        let mut jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(mut job) = ready!(jobs.poll_recv(cx)) else { return Poll::Ready(None) };
        job.permit = permit.take();
        let id = TaskId::from_int(u64::try_from(job.ticket.context.id.0).unwrap_or_default());
        let attempt = usize::try_from(job.ticket.context.attempt).unwrap_or_default();
        Poll::Ready(Some(Ok(TaskBuilder::new(job).task_id(id).attempt(attempt).build())))
    }

    /// What was not started is handed back.
    fn poll_close(&mut self, _: &mut Context<'_>, _: &WorkerContext) -> Poll<Result<(), Infallible>> {
        let mut jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        jobs.close();
        while let Ok(job) = jobs.try_recv() {
            self.ack.release(job.ticket);
        }
        Poll::Ready(Ok(()))
    }
}

impl BackendConfig for Source {
    type Args = Claimed;
    type Id = u64;
    /// Jobs come decoded as far as the engine knows them.
    type Kind = Ephemeral;
    type Config = ();
    type Layer = AckLayer;

    fn config(&self) -> &() {
        &()
    }

    fn middleware(&mut self, _: &mut WorkerContext) -> AckLayer {
        self.ack.clone()
    }
}

/// The outermost layer: hands each run's end to the finisher.
#[derive(Clone)]
pub(super) struct AckLayer {
    pub finished: finish::Sender,
    pub meters: Arc<Meters>,
}

impl AckLayer {
    pub fn release(&self, ticket: Arc<Ticket>) {
        self.fail(ticket, &Failure::Released);
    }

    fn fail(&self, ticket: Arc<Ticket>, failure: &Failure) {
        let ending =
            Ending::of(failure, ticket.context.attempt, ticket.context.max_attempts, rand::random::<f64>());
        self.hand_in(ticket, End::Failed(ending));
    }

    fn hand_in(&self, ticket: Arc<Ticket>, end: End) {
        // It fails only when the worker is gone, and then the job is released with all that it holds.
        let _ = self.finished.send(Finished { ticket, end });
    }
}

impl<S> Layer<S> for AckLayer {
    type Service = Ack<S>;

    fn layer(&self, service: S) -> Ack<S> {
        Ack { service, layer: self.clone() }
    }
}

#[derive(Clone)]
pub(super) struct Ack<S> {
    service: S,
    layer: AckLayer,
}

impl<S> Service<Task<Claimed>> for Ack<S>
where
    S: Service<Task<Claimed>, Response = Option<String>>,
    S::Future: Send + 'static,
    S::Error: Into<BoxDynError>,
{
    type Response = ();
    type Error = BoxDynError;
    type Future = BoxFuture<'static, Result<(), BoxDynError>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxDynError>> {
        self.service.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, mut task: Task<Claimed>) -> Self::Future {
        let ticket = task.args.ticket.clone();
        let span = run::traced(&task.args);
        task.args.span = span.clone();
        let layer = self.layer.clone();
        let started = Instant::now();
        let run = self.service.call(task);
        async move {
            let end = run.await;
            let took = started.elapsed();
            ticket.ran_for(took);
            let meter = layer.meters.of(ticket.kind);
            meter.run.record(took);
            match end {
                // It ended with the handler's transaction: nothing is left to write.
                _ if ticket.context.is_finished() => {
                    ticket.settle();
                    meter.completed.increment(1);
                }
                Ok(result) => {
                    meter.completed.increment(1);
                    layer.hand_in(ticket, End::Completed(result));
                }
                Err(error) => {
                    let failure = match error.into().downcast::<Failure>() {
                        Ok(failure) => *failure,
                        Err(other) => Failure::Retry(anyhow::anyhow!(other)),
                    };
                    let failure = match failure {
                        Failure::Cancelled(_) => failure,
                        other if ticket.context.is_cancelled() => Failure::Cancelled(other.to_string()),
                        other => other,
                    };
                    let ending = Ending::of(
                        &failure,
                        ticket.context.attempt,
                        ticket.context.max_attempts,
                        rand::random::<f64>(),
                    );
                    log(&ticket, &ending);
                    span.record("job.outcome", ending.outcome);
                    if let Some(error) = &ending.error {
                        trace::fail(&span, error);
                    }
                    meter.failed(ending.outcome).increment(1);
                    layer.hand_in(ticket, End::Failed(ending));
                }
            }
            Ok(())
        }
        .boxed()
    }
}

fn log(ticket: &Ticket, ending: &Ending) {
    let (job, kind, attempt) = (ticket.context.id.0, ticket.kind, ticket.context.attempt);
    let (outcome, error) = (ending.outcome, ending.error.as_deref());
    match ending.state {
        "discarded" => tracing::error!(job, kind, attempt, outcome, error, "job discarded"),
        "retryable" => {
            tracing::warn!(job, kind, attempt, outcome, error, delay = ?ending.delay, "job failed")
        }
        "cancelled" => tracing::info!(job, kind, attempt, outcome, error, "job cancelled"),
        "scheduled" if error.is_some() => {
            tracing::warn!(job, kind, attempt, error, delay = ?ending.delay, "job put back")
        }
        state => tracing::debug!(job, kind, attempt, outcome, state, delay = ?ending.delay, "job put back"),
    }
}
