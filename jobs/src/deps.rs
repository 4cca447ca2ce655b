//! What every handler may use.

use std::sync::Arc;

use anyhow::Context;
use labelfleet::{
    config::Config,
    domain::Secrets,
    queue::{self, Dispatcher},
    s3::S3,
    store::publishing::Instance,
};
use sqlx::{PgPool, postgres::PgPoolOptions};

use crate::{
    label_studio::{self, Client},
    runtime::{self, Runtime},
};

/// Of the handlers; the engine has its own.
const CONNECTIONS: u32 = 20;

pub struct Deps {
    pub config: Config,
    pub pool: PgPool,
    pub queue: queue::Client,
    pub s3: S3,
    pub secrets: Secrets,
    pub runtime: Arc<dyn Runtime>,
}

impl Deps {
    /// Connects to nothing yet.
    pub fn new(config: Config) -> anyhow::Result<Self> {
        let database = config.database_url.expose().parse().context("DATABASE_URL")?;
        let dispatcher =
            Dispatcher::spawn(config.redis_url.expose(), &config.redis_prefix).context("REDIS_URL")?;
        let pool = PgPoolOptions::new().max_connections(CONNECTIONS).connect_lazy_with(database);
        Ok(Self {
            queue: queue::Client::with_dispatcher(pool.clone(), dispatcher)
                .with_cipher(config.engine.args_cipher.clone()),
            pool,
            s3: S3::new(&config.s3),
            secrets: Secrets::new(config.secret_key.expose()),
            runtime: runtime::from_config(&config.instances)?,
            config,
        })
    }

    /// The way into an annotator's Label Studio.
    pub fn label_studio(&self, instance: &Instance) -> label_studio::Result<Client> {
        let client = Client::new(&format!("http://{}:{}", instance.host, instance.port), &*instance.token)?;
        Ok(client.with_timeout(self.config.instances.timeout))
    }
}
