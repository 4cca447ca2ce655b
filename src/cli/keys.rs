//! `labelfleet keys`: API keys for people (tables) and for scripts (`--json`). Whoever reaches the database may
//! make keys: so the first one of a new fleet needs no login.

use chrono::{DateTime, TimeDelta, Utc};
use clap::Subcommand;
use labelfleet::{
    domain::{ApiKeyId, Scope, fields::ApiKeyFields},
    ops, queue,
    store::{
        Page,
        api_keys::{self, ApiKeyRow},
    },
};

use super::{OPERATOR, Showing, table::table, time};

#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    showing: Showing,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make a key and show it, this once.
    Create {
        /// What it is for.
        #[arg(long)]
        name: String,
        /// read, write or admin, each with all before it; may be given more than once.
        #[arg(long = "scope", required = true)]
        scopes: Vec<Scope>,
        /// It opens nothing after so many days. Without: it does not expire.
        #[arg(long, value_name = "DAYS", value_parser = clap::value_parser!(u32).range(1..=36_500))]
        expires_in_days: Option<u32>,
    },
    /// The newest first, revoked and expired ones too.
    List {
        #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(i64).range(1..=1000))]
        limit: i64,
        #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(i64).range(0..))]
        offset: i64,
    },
    /// From now on the key opens nothing.
    Revoke { id: i64 },
}

pub async fn run(Args { showing, command }: Args) -> anyhow::Result<()> {
    let queue = queue::Client::new(showing.pool()?);
    match command {
        Command::Create { name, scopes, expires_in_days } => {
            let expires_at = expires_in_days.map(|days| Utc::now() + TimeDelta::days(days.into()));
            let fields = ApiKeyFields { name, scopes, expires_at };
            let (key, row) = ops::api_keys::create(&queue, &fields, OPERATOR).await?;
            let mut created = serde_json::to_value(&row)?;
            created["key"] = key.expose().into();
            let words = || format!("{}\n\nkey {} is shown this once: keep it now\n", key.expose(), row.id);
            showing.answer(&created, words)
        }
        Command::List { limit, offset } => {
            let mut db = queue.pool().acquire().await?;
            let keys = api_keys::list(&mut db, Page { limit, offset }).await?.rows;
            showing.answer(&keys, || overview(&keys, Utc::now()))
        }
        Command::Revoke { id } => {
            ops::api_keys::revoke(&queue, ApiKeyId(id)).await?;
            showing.done(|| format!("key {id} is revoked\n"))
        }
    }
}

fn overview(keys: &[ApiKeyRow], now: DateTime<Utc>) -> String {
    let rows: Vec<_> = keys
        .iter()
        .map(|key| {
            let scopes: Vec<_> = key.scopes.iter().map(|scope| scope.as_str()).collect();
            let state = match (key.revoked_at, key.expires_at) {
                (Some(at), _) => format!("revoked {}", time(at)),
                (None, Some(at)) if at <= now => format!("expired {}", time(at)),
                (None, Some(at)) => format!("until {}", time(at)),
                (None, None) => "valid".to_owned(),
            };
            [
                key.id.to_string(),
                format!("{}…", key.prefix),
                scopes.join(","),
                state,
                key.last_used_at.map_or_else(|| "never".to_owned(), time),
                key.created_by.clone(),
                key.name.clone(),
            ]
        })
        .collect();
    table([">ID", "KEY", "SCOPES", "STATE", "LAST USED", "MADE BY", "NAME"], &rows)
}
