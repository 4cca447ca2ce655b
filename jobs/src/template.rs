//! The template database of a Label Studio version: its migrations, run once, of which every annotator's database is a
//! clone. A new database would cost each of them Label Studio's forty seconds.

use std::time::Duration;

use anyhow::Context;
use labelfleet::{lock::Held, store::instance_databases::Server};
use tokio::time::Instant;
use uuid::Uuid;

use crate::{Deps, instance};

/// How long another worker may take to make it: some 40 s on two idle cores, several times that on busy ones.
const PATIENCE: Duration = Duration::from_secs(450);

/// Makes it, if nobody has, and closes the server's other databases to instances.
pub async fn ensure(deps: &Deps, server: &Server, version: &str) -> anyhow::Result<()> {
    let open = server.open_databases().await.context("reaching the instances' database server")?;
    if open.is_empty() && server.has_template(version).await? {
        return Ok(());
    }
    let lock = server.lock_template(PATIENCE).await.context("waiting for the template database")?;
    let made = make(deps, server, lock.held(), version).await;
    lock.release().await;
    made
}

async fn make(deps: &Deps, server: &Server, lock: &Held, version: &str) -> anyhow::Result<()> {
    // Looked at again: whoever had the lock before may have done it.
    let open = server.open_databases().await?;
    server.close_databases(lock, &open).await.context("closing the other databases to instances")?;
    if server.has_template(version).await? {
        return Ok(());
    }
    let started = Instant::now();
    // The password lives as long as the making.
    let password = Uuid::new_v4().simple().to_string();
    let making =
        server.begin_template(lock, version, password).await.context("making a template database")?;
    let env = instance::database_env(deps, server, &making.database, &making.role, &making.password);
    deps.runtime.migrate(&env).await?;
    server.finish_template(lock, making).await.context("finishing the template database")?;
    tracing::info!(version, seconds = started.elapsed().as_secs_f64(), "made the template database");
    Ok(())
}
