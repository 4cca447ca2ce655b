//! What every handler may use.

use std::sync::Arc;

use labelfleet::{config::Config, domain::Secrets, queue, s3::S3, store::publishing::Instance};
use sqlx::PgPool;

use crate::{
    label_studio::{self, Client},
    runtime::Runtime,
};

pub struct Deps {
    pub config: Config,
    pub pool: PgPool,
    pub queue: queue::Client,
    pub s3: S3,
    pub secrets: Secrets,
    pub runtime: Arc<dyn Runtime>,
}

impl Deps {
    /// The way into an annotator's Label Studio.
    pub fn label_studio(&self, instance: &Instance) -> label_studio::Result<Client> {
        let client = Client::new(&format!("http://{}:{}", instance.host, instance.port), &*instance.token)?;
        Ok(client.with_timeout(self.config.instances.timeout))
    }
}
