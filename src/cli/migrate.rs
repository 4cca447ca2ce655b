//! `labelfleet migrate`

use anyhow::Context;
use labelfleet::{config::Secret, store::migrations};
use sqlx::{Connection, PgConnection};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// The database to migrate.
    #[arg(long, env = "DATABASE_URL", hide_env_values = true)]
    database_url: Secret,
}

pub async fn run(args: Args) -> anyhow::Result<()> {
    let mut connection = PgConnection::connect(args.database_url.expose())
        .await
        .context("the database of DATABASE_URL does not answer")?;
    migrations::run(&mut connection).await.context("migrating")?;
    Ok(super::print(&format!(
        "the schema is up to date ({} migrations)\n",
        migrations::MIGRATIONS.iter().count()
    ))?)
}
