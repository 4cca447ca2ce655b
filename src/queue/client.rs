//! Enqueueing: a job exists exactly when the change that called for it was committed.
//!
//! [`Client::begin`] opens a transaction that remembers the jobs enqueued in it; [`Tx::commit`] commits and
//! then pushes their ids to Redis. The push may fail: the relay finds what was missed.

use std::ops::{Deref, DerefMut};

use sqlx::{PgConnection, PgPool, Postgres, Transaction};

use super::job::{JobArgs, JobId};

/// Handle on the queue: cheap to clone.
#[derive(Clone)]
pub struct Client {
    pool: PgPool,
}

impl Client {
    pub fn new(pool: PgPool) -> Self {
        Self { pool }
    }

    pub fn pool(&self) -> &PgPool {
        &self.pool
    }

    pub async fn begin(&self) -> sqlx::Result<Tx> {
        Ok(Tx { inner: self.pool.begin().await?, enqueued: Vec::new() })
    }
}

/// A transaction in which jobs can be enqueued. Dropped without [`Tx::commit`] it is rolled back.
pub struct Tx {
    inner: Transaction<'static, Postgres>,
    enqueued: Vec<(&'static str, JobId)>,
}

/// What enqueueing came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Enqueued {
    pub id: JobId,
    /// False: an open job with the same unique key was there already, and this is its id.
    pub is_new: bool,
}

impl Tx {
    pub async fn enqueue<J: JobArgs>(&mut self, args: &J) -> sqlx::Result<Enqueued> {
        let _ = args;
        Err(sqlx::Error::Protocol("the engine follows".into()))
    }

    pub async fn commit(self) -> sqlx::Result<()> {
        self.inner.commit().await?;
        let _ = self.enqueued;
        Ok(())
    }
}

impl Deref for Tx {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        &self.inner
    }
}

impl DerefMut for Tx {
    fn deref_mut(&mut self) -> &mut PgConnection {
        &mut self.inner
    }
}
