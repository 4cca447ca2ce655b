//! `labelfleet api`

use std::time::Duration;

use anyhow::Context;
use labelfleet::{
    config::Config,
    http::{self, AppState},
    ops, queue, store,
};
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
    time::Instant,
};

const CONNECTIONS: u32 = 32;

/// How long the database may take to come up.
const PATIENCE: Duration = Duration::from_secs(60);

pub async fn run() -> anyhow::Result<()> {
    let config = super::config()?;
    let pool = super::pool(config.database_url.expose(), CONNECTIONS).context("DATABASE_URL")?;
    let dispatcher = queue::Dispatcher::spawn(config.redis_url.expose(), &config.redis_prefix)
        .context("REDIS_URL is malformed")?;
    let queue =
        queue::Client::with_dispatcher(pool, dispatcher).with_cipher(config.engine.args_cipher.clone());
    let mut stop = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let shutdown = async move {
        tokio::select! { _ = stop.0.recv() => {}, _ = stop.1.recv() => {} }
        tracing::info!("stopping: no new requests, those under way are answered");
    };
    let mut shutdown = Box::pin(shutdown);
    tokio::select! {
        ready = prepare(&queue, &config) => ready?,
        () = &mut shutdown => return Ok(()),
    }
    let address = format!("{}:{}", config.host, config.port);
    let listener = TcpListener::bind(&address).await.with_context(|| format!("can't listen on {address}"))?;
    tracing::info!(%address, public_url = config.public_url, "the API is ready");
    // For whoever started it: from here on it answers.
    println!("ready api {}", config.public_url);
    http::serve(listener, AppState::new(config, queue), shutdown).await.context("serving")
}

/// Waits for the database, looks at its schema, and makes sure that the administrator can log in.
async fn prepare(queue: &queue::Client, config: &Config) -> anyhow::Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while let Err(error) = store::ping(queue.pool()).await {
        if Instant::now() >= deadline {
            return Err(anyhow::Error::from(error).context("the database of DATABASE_URL does not answer"));
        }
        tracing::warn!(error = format!("{error:#}"), "the database does not answer yet");
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    let missing = store::migrations::missing(queue.pool()).await?;
    anyhow::ensure!(missing == 0, "the schema lacks {missing} migrations: run `labelfleet migrate`");
    match (&config.admin_email, &config.admin_password) {
        (Some(email), Some(password)) => ops::auth::ensure_admin(queue, email, password).await?,
        _ if !ops::auth::has_users(queue).await? => {
            tracing::warn!("nobody can log in: set ADMIN_EMAIL and ADMIN_PASSWORD and start again");
        }
        _ => {}
    }
    Ok(())
}
