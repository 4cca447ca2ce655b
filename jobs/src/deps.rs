//! What every handler may use.

use std::sync::Arc;

use labelfleet::{config::Config, domain::Secrets, queue, s3::S3};
use sqlx::PgPool;

use crate::runtime::Runtime;

pub struct Deps {
    pub config: Config,
    pub pool: PgPool,
    pub queue: queue::Client,
    pub s3: S3,
    pub secrets: Secrets,
    pub runtime: Arc<dyn Runtime>,
}
