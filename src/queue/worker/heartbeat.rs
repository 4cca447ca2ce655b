//! The worker's lease: one row in `workers`, renewed however many jobs run.
//!
//! It is renewed by a thread of its own with a connection of its own, so no handler can hold it up, whatever it
//! does to the other threads. Lease times are the database's clock only.

use std::{thread::JoinHandle, time::Duration};

use sqlx::{Connection, PgConnection, postgres::PgConnectOptions};
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::queue::durations;

/// What the row says.
#[derive(Clone)]
pub(super) struct Lease {
    pub database: PgConnectOptions,
    pub worker: Uuid,
    pub name: String,
    pub queues: Vec<String>,
    /// A lost worker's jobs run again within this time.
    pub promise: Duration,
}

/// The renewing thread.
pub(super) struct Heartbeat {
    stop: CancellationToken,
    thread: Option<JoinHandle<()>>,
}

impl Lease {
    /// Takes the lease, and keeps it until [`Heartbeat::stop`].
    pub async fn keep(self) -> anyhow::Result<Heartbeat> {
        let mut connection = PgConnection::connect_with(&self.database).await?;
        self.renew(&mut connection).await?;
        // It belongs to this runtime; the thread has its own.
        connection.close().await?;
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let thread = std::thread::Builder::new().name("heartbeat".into()).spawn(move || {
            runtime.block_on(stopped.run_until_cancelled_owned(self.beat())).unwrap_or_default()
        })?;
        Ok(Heartbeat { stop, thread: Some(thread) })
    }

    /// Leaves a fifth of the promise for noticing the loss and starting again elsewhere.
    fn length(&self) -> Duration {
        self.promise * 4 / 5
    }

    async fn beat(self) {
        let mut connection = None;
        let mut ticks = interval(self.length() / 4);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            match timeout(self.length() / 2, self.renew_over(&mut connection)).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => {
                    connection = None;
                    tracing::warn!(%error, "the worker's lease could not be renewed");
                }
                Err(_) => {
                    connection = None;
                    tracing::warn!("the worker's lease could not be renewed in time");
                }
            }
        }
    }

    async fn renew_over(&self, connection: &mut Option<PgConnection>) -> sqlx::Result<()> {
        let connection = match connection {
            Some(connection) => connection,
            None => connection.insert(PgConnection::connect_with(&self.database).await?),
        };
        self.renew(connection).await
    }

    /// A worker whose row was removed as dead comes back: its jobs are gone, but it may take new ones.
    async fn renew(&self, connection: &mut PgConnection) -> sqlx::Result<()> {
        sqlx::query!(
            "INSERT INTO workers (id, name, queues, lease_until) VALUES ($1, $2, $3, now() + $4::interval)
             ON CONFLICT (id) DO UPDATE SET heartbeat_at = now(), lease_until = excluded.lease_until",
            self.worker,
            self.name,
            &self.queues,
            durations::interval(self.length()),
        )
        .execute(connection)
        .await?;
        Ok(())
    }
}

impl Heartbeat {
    /// Ends the thread; the lease runs out or is given up by who calls this.
    pub fn stop(&mut self) {
        self.stop.cancel();
        if let Some(thread) = self.thread.take() {
            // It can't panic but by a defect, which the panic hook has printed.
            let _ = thread.join();
        }
    }
}

impl Drop for Heartbeat {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}
