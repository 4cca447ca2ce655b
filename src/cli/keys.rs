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

use super::{Showing, json, time};

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

pub async fn run(args: Args) -> anyhow::Result<()> {
    let queue = queue::Client::new(args.showing.pool()?);
    let as_json = args.showing.json;
    let text = match args.command {
        Command::Create { name, scopes, expires_in_days } => {
            let expires_at = expires_in_days.map(|days| Utc::now() + TimeDelta::days(days.into()));
            let fields = ApiKeyFields { name, scopes, expires_at };
            let (key, row) = ops::api_keys::create(&queue, &fields, "command line").await?;
            if as_json {
                let mut created = serde_json::to_value(&row)?;
                created["key"] = key.expose().into();
                json(&created)?
            } else {
                format!("{}\n\nkey {} is shown this once: keep it now\n", key.expose(), row.id)
            }
        }
        Command::List { limit, offset } => {
            let mut db = queue.pool().acquire().await?;
            let keys = api_keys::list(&mut db, Page { limit, offset }).await?.rows;
            if as_json { json(&keys)? } else { table(&keys, Utc::now()) }
        }
        Command::Revoke { id } => {
            ops::api_keys::revoke(&queue, ApiKeyId(id)).await?;
            if as_json {
                json(&serde_json::json!({ "success": true }))?
            } else {
                format!("key {id} is revoked\n")
            }
        }
    };
    Ok(super::print(&text)?)
}

fn table(keys: &[ApiKeyRow], now: DateTime<Utc>) -> String {
    let row = |cells: [&str; 7]| {
        let [id, prefix, scopes, state, used, by, name] = cells;
        format!("{id:>6}  {prefix:<12}  {scopes:<16}  {state:<28}  {used:<20}  {by:<24}  {name}\n")
    };
    let mut text = row(["ID", "KEY", "SCOPES", "STATE", "LAST USED", "MADE BY", "NAME"]);
    for key in keys {
        let scopes: Vec<_> = key.scopes.iter().map(|scope| scope.as_str()).collect();
        let state = match (key.revoked_at, key.expires_at) {
            (Some(at), _) => format!("revoked {}", time(at)),
            (None, Some(at)) if at <= now => format!("expired {}", time(at)),
            (None, Some(at)) => format!("until {}", time(at)),
            (None, None) => "valid".to_owned(),
        };
        text += &row([
            &key.id.to_string(),
            &format!("{}…", key.prefix),
            &scopes.join(","),
            &state,
            &key.last_used_at.map_or_else(|| "never".to_owned(), time),
            &key.created_by,
            &key.name,
        ]);
    }
    text
}
