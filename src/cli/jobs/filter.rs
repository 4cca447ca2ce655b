//! Which jobs a command means.

use chrono::{DateTime, Utc};
use labelfleet::queue::{
    BatchId,
    admin::{JobFilter, JobState},
};

#[derive(Debug, clap::Args)]
pub struct Filter {
    /// scheduled, available, running, retryable, completed, cancelled or discarded; several with commas between them.
    #[arg(long = "state", value_delimiter = ',')]
    states: Vec<JobState>,
    /// provision_instance, say.
    #[arg(long)]
    kind: Option<String>,
    #[arg(long)]
    queue: Option<String>,
    /// The jobs of this batch.
    #[arg(long, value_name = "ID")]
    batch: Option<i64>,
    /// In the arguments or the last error, in any case.
    #[arg(long)]
    text: Option<String>,
    /// 2026-04-06T12:00:00Z, say.
    #[arg(long, value_name = "TIME")]
    created_from: Option<DateTime<Utc>>,
    /// Exclusive.
    #[arg(long, value_name = "TIME")]
    created_to: Option<DateTime<Utc>>,
}

impl From<Filter> for JobFilter {
    fn from(filter: Filter) -> Self {
        let Filter { states, kind, queue, batch, text, created_from, created_to } = filter;
        Self { states, kind, queue, batch: batch.map(BatchId), created_from, created_to, text }
    }
}
