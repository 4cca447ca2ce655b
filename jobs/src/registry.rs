//! Every kind of job that this worker runs, and what it starts by schedule.

use labelfleet::{
    config::EngineConfig,
    ops::jobs::{
        AssignBatch, ChainAssignment, CloseProject, CorrectRollups, CountReview, EXPORTS, ExportAssignment,
        ExportFile, INSTANCES, InjectGold, ProvisionInstance, PublishAssignment, ReclaimIdle, Reconcile,
        RemoveInstance, RouteRejection, ScoreGold, StopInstance, SyncSource,
    },
    queue::Registry,
};

use crate::Deps;

/// An instance takes a second of CPU and some hundred megabytes to come up: few at once.
const INSTANCES_AT_ONCE: usize = 4;

/// A file takes some 20 MB while it is written, and more where masks are painted.
const FILES_AT_ONCE: usize = 4;

/// Seconds first: half past three, when few label.
const NIGHTLY: &str = "0 30 3 * * *";

/// A minute after reconciliation by default, which brings what was missed.
const EVERY_FIVE_MINUTES: &str = "0 1/5 * * * *";

/// Fails on a malformed cron expression only.
pub fn registry(config: &EngineConfig) -> anyhow::Result<Registry<Deps>> {
    let registry = Registry::new()
        .register::<ProvisionInstance>()
        .register::<StopInstance>()
        .register::<RemoveInstance>()
        .register::<SyncSource>()
        .register::<AssignBatch>()
        .register::<InjectGold>()
        .register::<PublishAssignment>()
        .register::<ScoreGold>()
        .register::<ExportAssignment>()
        .register::<ExportFile>()
        .register::<ChainAssignment>()
        .register::<CloseProject>()
        .register::<ReclaimIdle>()
        .register::<CountReview>()
        .register::<RouteRejection>()
        .register::<Reconcile>()
        .register::<CorrectRollups>()
        .concurrency(INSTANCES, INSTANCES_AT_ONCE)
        .concurrency(EXPORTS, FILES_AT_ONCE)
        .schedule("reconcile", &config.reconcile_cron, Reconcile {})
        .map_err(|error| {
            anyhow::anyhow!("RECONCILE_CRON: {:?} is no schedule: {error}", config.reconcile_cron)
        })?
        .schedule("reclaim_idle", EVERY_FIVE_MINUTES, ReclaimIdle {})?
        .schedule("correct_rollups", NIGHTLY, CorrectRollups {})?;
    Ok(registry)
}
