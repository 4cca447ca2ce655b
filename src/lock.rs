//! Advisory locks. This module owns the key space: a class and an id, and nothing else takes one.
//!
//! A function that may only run under a lock takes the proof of it ([`Held`]) as an argument, so it can't be
//! called without. Two kinds: for the length of a transaction ([`lock_in`], the usual one), and for the length
//! of work that reaches outside Postgres ([`Session`], on a connection of its own).
//!
//! A lock orders writers; it is not what makes them safe. Its connection can break while the work goes on, so
//! each write is guarded by its own condition or constraint as well. Session locks need a direct connection or
//! a session-pooling proxy: transaction pooling breaks them.

use std::time::Duration;

use sqlx::{Connection, PgConnection, PgPool, postgres::PgConnectOptions};

/// What is locked. The class numbers are stored nowhere, but all running versions must agree on them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Key {
    /// The scheduler's leader, one a database.
    Leader,
    /// Reserving tasks of a workflow, and listing its source.
    Workflow(i64),
    Source(i64),
    /// An annotator's instance, database and role.
    Annotator(i64),
    /// An assignment's project in Label Studio.
    Assignment(i64),
    /// Deciding what an annotator gets next.
    AssignTo(i64),
    /// Making the template database of a Label Studio version.
    Template,
    Reconcile,
    /// Counting the failed logins with an email, by the email's hash.
    Login(i64),
    /// Correcting the totals that monitoring reads.
    Rollups,
    Migrations,
    /// Taking in what an annotator's Label Studio tells: one event after the other, so that a deletion sees the
    /// creation that was under way before it.
    Events(i64),
    /// Which workflow comes after which: two changes at once could close a circle that neither sees.
    Chains,
    /// Starting jobs of a concurrency key, by the key's hash.
    Start(i64),
    /// Writing one of the files of an assignment's export, by its number.
    ExportFile(i64, u8),
}

impl Key {
    /// Postgres' two-number key space takes two 32-bit numbers; the id's low bits are enough (a collision
    /// only makes two jobs wait for each other).
    fn numbers(self) -> (i32, i32) {
        let (class, id) = match self {
            Self::Leader => (1, 0),
            Self::Workflow(id) => (2, id),
            Self::Source(id) => (3, id),
            Self::Annotator(id) => (4, id),
            Self::Assignment(id) => (5, id),
            Self::Template => (6, 0),
            Self::Reconcile => (7, 0),
            Self::AssignTo(id) => (8, id),
            Self::Login(hash) => (9, hash),
            Self::Rollups => (10, 0),
            Self::Migrations => (11, 0),
            Self::Events(annotator) => (12, annotator),
            Self::Chains => (13, 0),
            Self::Start(hash) => (14, hash),
            Self::ExportFile(assignment, file) => (15, assignment.wrapping_mul(16) | i64::from(file & 15)),
        };
        // "LF" in the high half keeps clear of other users of the same database.
        (0x4C46_0000 | class, id as i32)
    }
}

/// Proof that a lock is held.
#[derive(Debug)]
pub struct Held {
    key: Key,
}

impl Held {
    pub fn key(&self) -> Key {
        self.key
    }
}

/// Takes the lock until the transaction of `tx` ends; waits for it.
pub async fn lock_in(tx: &mut PgConnection, key: Key) -> sqlx::Result<Held> {
    let (class, id) = key.numbers();
    sqlx::query_scalar!("SELECT pg_advisory_xact_lock($1, $2)", class, id).fetch_one(tx).await?;
    Ok(Held { key })
}

/// Takes several locks as [`lock_in`] does, always in the same order, in one statement.
pub async fn lock_all_in(tx: &mut PgConnection, keys: impl IntoIterator<Item = Key>) -> sqlx::Result<()> {
    let mut numbers: Vec<(i32, i32)> = keys.into_iter().map(Key::numbers).collect();
    numbers.sort_unstable();
    let (classes, ids): (Vec<i32>, Vec<i32>) = numbers.into_iter().unzip();
    sqlx::query!(
        "SELECT pg_advisory_xact_lock(class, id)
         FROM unnest($1::integer[], $2::integer[]) WITH ORDINALITY AS keys (class, id, place) ORDER BY place",
        &classes,
        &ids
    )
    .fetch_all(tx)
    .await?;
    Ok(())
}

/// Takes the lock on this connection, until [`unlock_on`] or the connection's end. It tries again and again: whoever
/// waits in a statement holds a snapshot, and `CREATE INDEX CONCURRENTLY` under the lock would wait for that.
pub async fn lock_on(connection: &mut PgConnection, key: Key) -> sqlx::Result<Held> {
    const AGAIN: Duration = Duration::from_millis(50);
    let (class, id) = key.numbers();
    while !sqlx::query_scalar!(r#"SELECT pg_try_advisory_lock($1, $2) AS "taken!""#, class, id)
        .fetch_one(&mut *connection)
        .await?
    {
        tokio::time::sleep(AGAIN).await;
    }
    Ok(Held { key })
}

pub async fn unlock_on(connection: &mut PgConnection, held: Held) -> sqlx::Result<()> {
    let (class, id) = held.key.numbers();
    sqlx::query_scalar!("SELECT pg_advisory_unlock($1, $2)", class, id).fetch_one(connection).await?;
    Ok(())
}

/// A lock that lasts as long as this value; dropping it closes its connection and so frees the lock.
#[derive(Debug)]
pub struct Session {
    connection: PgConnection,
    held: Held,
}

#[derive(Debug, thiserror::Error)]
pub enum LockError {
    #[error("{0:?} is locked by another process")]
    Taken(Key),
    #[error(transparent)]
    Database(#[from] sqlx::Error),
}

impl Session {
    /// Takes the lock if it is free.
    pub async fn try_acquire(pool: &PgPool, key: Key) -> Result<Self, LockError> {
        let mut connection = connect(pool).await?;
        let (class, id) = key.numbers();
        let taken = sqlx::query_scalar!(r#"SELECT pg_try_advisory_lock($1, $2) AS "taken!""#, class, id)
            .fetch_one(&mut connection)
            .await?;
        if taken { Ok(Self { connection, held: Held { key } }) } else { Err(LockError::Taken(key)) }
    }

    /// Waits for the lock for at most `patience`.
    pub async fn acquire(pool: &PgPool, key: Key, patience: Duration) -> Result<Self, LockError> {
        let mut connection = connect(pool).await?;
        let (class, id) = key.numbers();
        be_patient(&mut connection, patience).await?;
        match sqlx::query_scalar!("SELECT pg_advisory_lock($1, $2)", class, id)
            .fetch_one(&mut connection)
            .await
        {
            Ok(_) => Ok(Self { connection, held: Held { key } }),
            Err(error) => Err(taken_or_broken(error, key)),
        }
    }

    /// Takes another lock beside others who share it, for as long as this one; waits for at most `patience` for one who has
    /// it alone. No proof of that comes of it.
    pub async fn also_share(&mut self, key: Key, patience: Duration) -> Result<(), LockError> {
        let (class, id) = key.numbers();
        be_patient(&mut self.connection, patience).await?;
        sqlx::query_scalar!("SELECT pg_advisory_lock_shared($1, $2)", class, id)
            .fetch_one(&mut self.connection)
            .await
            .map_err(|error| taken_or_broken(error, key))?;
        Ok(())
    }

    pub fn held(&self) -> &Held {
        &self.held
    }

    /// Whether the connection, and with it the lock, still stands.
    pub async fn is_held(&mut self) -> bool {
        self.connection.ping().await.is_ok()
    }

    /// Frees the lock now, and waits until Postgres knows.
    pub async fn release(self) {
        // A connection that can't be closed in order is gone, and the lock with it.
        let _ = self.connection.close().await;
    }
}

/// Stands for a lock time and again on one connection.
///
/// Postgres itself ends that connection, and so frees the lock, when nothing was asked over it for a while: a
/// holder that froze or was cut off does not keep others out. Trying, rather than waiting in the statement, holds
/// no snapshot that would keep dead rows from being removed.
#[derive(Debug)]
pub struct Candidate {
    connection: PgConnection,
    key: Key,
}

impl Candidate {
    pub async fn connect(pool: &PgPool, key: Key, silence: Duration) -> sqlx::Result<Self> {
        let mut connection = connect(pool).await?;
        let millis = silence.as_millis().max(1);
        sqlx::query_scalar!("SELECT set_config('idle_session_timeout', $1, false)", format!("{millis}ms"))
            .fetch_one(&mut connection)
            .await?;
        Ok(Self { connection, key })
    }

    /// Takes the lock if it is free; else stands on. Ask [`Session::is_held`] more often than the time of silence.
    pub async fn stand(mut self) -> sqlx::Result<Result<Session, Self>> {
        let (class, id) = self.key.numbers();
        let taken = sqlx::query_scalar!(r#"SELECT pg_try_advisory_lock($1, $2) AS "taken!""#, class, id)
            .fetch_one(&mut self.connection)
            .await?;
        if taken {
            Ok(Ok(Session { connection: self.connection, held: Held { key: self.key } }))
        } else {
            Ok(Err(self))
        }
    }
}

/// From now on, statements on this connection wait no longer for a lock.
async fn be_patient(connection: &mut PgConnection, patience: Duration) -> sqlx::Result<()> {
    let millis = i64::try_from(patience.as_millis()).unwrap_or(i64::MAX).max(1);
    sqlx::query_scalar!("SELECT set_config('lock_timeout', $1, false)", format!("{millis}ms"))
        .fetch_one(connection)
        .await?;
    Ok(())
}

fn taken_or_broken(error: sqlx::Error, key: Key) -> LockError {
    match error {
        // lock_not_available
        sqlx::Error::Database(error) if error.code().as_deref() == Some("55P03") => LockError::Taken(key),
        error => error.into(),
    }
}

/// A connection of its own: a pooled one would give the lock to whoever uses it next.
async fn connect(pool: &PgPool) -> sqlx::Result<PgConnection> {
    let options: PgConnectOptions = (*pool.connect_options()).clone();
    PgConnection::connect_with(&options.application_name("labelfleet-lock")).await
}
