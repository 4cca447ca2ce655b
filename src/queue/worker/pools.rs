//! The engine's own connections to Postgres.

use std::time::Duration;

use futures::future::try_join_all;
use sqlx::{
    PgConnection, PgPool,
    postgres::{PgConnectOptions, PgPoolOptions},
};

use super::{fetch::CLAIMS, finish::WRITES};

/// One connection for each claim under way. A claim that a crash forgets makes its job due again, so it waits for no disk.
pub(super) fn claiming(database: &PgConnectOptions, queues: usize) -> PgPool {
    let options = by_index(database).application_name("labelfleet-claim");
    pool(queues * CLAIMS, options.options([("synchronous_commit", "off")]))
}

/// One for each batch of ends that is written, one for what the worker says when it stops.
pub(super) fn finishing(database: &PgConnectOptions) -> PgPool {
    pool(WRITES + 1, by_index(database).application_name("labelfleet-finish"))
}

/// For the leader's duties, for its removal of old rows beside them, and for what follows jobs' ends.
pub(super) fn leading(database: &PgConnectOptions) -> PgPool {
    let options = database.clone().application_name("labelfleet-leader");
    // Compiling a statement takes longer than what most of its have to do.
    pool(3, options.options([("jit", "off")]))
}

/// For what watches the running worker: its audit and its operators.
pub(super) fn controlling(database: &PgConnectOptions) -> PgPool {
    pool(1, by_index(database).application_name("labelfleet-control"))
}

/// Connects when first used. A connection that broke shows by its first statement's error, which all callers
/// outlive, so none is tried before use.
fn pool(connections: usize, options: PgConnectOptions) -> PgPool {
    PgPoolOptions::new()
        .max_connections(u32::try_from(connections.max(1)).unwrap_or(u32::MAX))
        .acquire_timeout(Duration::from_secs(5))
        .test_before_acquire(false)
        .connect_lazy_with(options)
}

/// Runs a statement on each of the pool's connections, which are made for it: the first jobs find it planned.
pub(super) async fn warm(
    pool: &PgPool,
    run: impl AsyncFn(&mut PgConnection) -> sqlx::Result<()>,
) -> sqlx::Result<()> {
    let connections = 0..pool.options().get_max_connections();
    let mut connections = try_join_all(connections.map(|_| pool.acquire())).await?;
    try_join_all(connections.iter_mut().map(|connection| run(connection))).await?;
    Ok(())
}

/// Rows are found by id or by the index of due jobs. Nothing else is ever right, whatever the statistics of a
/// table that fills and drains within seconds say. So a statement is planned once and not for each array of ids.
fn by_index(database: &PgConnectOptions) -> PgConnectOptions {
    database.clone().options([
        ("enable_seqscan", "off"),
        ("enable_hashjoin", "off"),
        ("enable_mergejoin", "off"),
        ("jit", "off"),
        ("plan_cache_mode", "force_generic_plan"),
    ])
}
