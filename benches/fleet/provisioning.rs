//! From `start` to `active`, by a real worker: cold (no template database yet) and warm, beside what Label Studio
//! itself takes to serve on a database that is migrated. Then a batch of 1,000 tasks on its way into an instance.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use labelfleet::{
    config::Config,
    domain::{AnnotatorId, AnnotatorStatus, AssignmentStatus},
    lock::{Key, Session},
    ops::{annotators, assign::assign},
    store::{assignments, instances},
    up::label_studio,
};
use labelfleet_jobs::{Deps, instance, label_studio::Client};
use nix::sys::signal::Signal;
use tokio::time::sleep;

use crate::{
    fleet::Fleet,
    report::{Bound, Section},
    seed,
};

/// Each after the other; both kinds take turns, so that the machine's noise meets both.
const ROUNDS: usize = 3;
const AIM: f64 = 1.3;
const BATCH: i32 = 1_000;
const PATIENCE: Duration = Duration::from_secs(300);
const POLL: Duration = Duration::from_millis(10);

pub async fn measure(fleet: &Fleet) -> anyhow::Result<Section> {
    let mut env = fleet.env(&fleet.database("provisioning").await?);
    env.insert("INSTANCE_DIR".into(), fleet.dir().join("instances").to_string_lossy().into_owned());
    env.insert("LABEL_STUDIO_BIN".into(), label_studio::find()?.to_string_lossy().into_owned());
    let deps = Deps::new(Config::from_map(&env)?)?;
    let mut worker = fleet.worker(env).await?;
    let measured = rounds(&deps, worker.log()).await;
    let stopped = worker.stop(Signal::SIGTERM, PATIENCE).await;
    // Instances outlive workers.
    for instance in deps.runtime.list().await? {
        deps.runtime.remove(instance.annotator).await?;
    }
    stopped?;

    let (cold, mut warm, mut own, published) = measured?;
    let (warm, own) = (median(&mut warm), median(&mut own));
    let mut section = Section::new(format!("Provisioning, one at a time; medians of {ROUNDS}"));
    section.row("start to active, cold (makes the template database)", cold, "s");
    section.row("start to active, warm", warm, "s");
    section.row("Label Studio's own start on a migrated database", own, "s");
    section.row_with_aim("warm against its own start", warm / own, "times", Bound::AtMost(AIM));
    section.row(format!("a batch of {BATCH} tasks, from assign to in_progress"), published, "s");
    Ok(section)
}

async fn rounds(deps: &Deps, log: &Path) -> anyhow::Result<(f64, Vec<f64>, Vec<f64>, f64)> {
    let (id, cold) = start_to_active(deps, log).await?;
    deps.runtime.remove(id).await?;
    let (mut warm, mut own) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        own.push(own_start(deps).await?);
        let (id, taken) = start_to_active(deps, log).await?;
        warm.push(taken);
        deps.runtime.remove(id).await?;
    }
    let (id, _) = start_to_active(deps, log).await?;
    Ok((cold, warm, own, publish(deps, id).await?))
}

async fn start_to_active(deps: &Deps, log: &Path) -> anyhow::Result<(AnnotatorId, f64)> {
    let id = annotator(deps).await?;
    let begun = Instant::now();
    annotators::start(&deps.queue, id).await?;
    let mut db = deps.pool.acquire().await?;
    loop {
        let status = instances::status(&mut db, id).await?;
        if status == Some(AnnotatorStatus::Active) {
            break;
        }
        ensure!(
            status == Some(AnnotatorStatus::Starting) && begun.elapsed() < PATIENCE,
            "the annotator is {status:?}: read {}",
            log.display()
        );
        sleep(POLL).await;
    }
    Ok((id, begun.elapsed().as_secs_f64()))
}

/// Reserving, gold, project, webhook and import, by the worker's jobs.
async fn publish(deps: &Deps, id: AnnotatorId) -> anyhow::Result<f64> {
    let (workflow, role) = seed::workflow(&deps.pool, BATCH).await?;
    let give_role = sqlx::query("UPDATE annotators SET role_id = $2 WHERE id = $1").bind(id).bind(role);
    give_role.execute(&deps.pool).await?;
    seed::tasks(&deps.pool, workflow, BATCH.into(), "available").await?;
    let begun = Instant::now();
    let batch = assign(&deps.queue, workflow, id).await?;
    let mut db = deps.pool.acquire().await?;
    loop {
        let status = assignments::get(&mut db, batch).await?.context("the batch is there")?.status;
        if status == AssignmentStatus::InProgress {
            return Ok(begun.elapsed().as_secs_f64());
        }
        ensure!(begun.elapsed() < PATIENCE, "the batch is {status}");
        sleep(POLL).await;
    }
}

/// The same instance on a clone that is ready, without the job.
async fn own_start(deps: &Deps) -> anyhow::Result<f64> {
    let id = annotator(deps).await?;
    let mut db = deps.pool.acquire().await?;
    let owner = instances::owner(&mut db, id).await?.context("the annotator is there")?;
    drop(db);
    let server = instance::server(deps)?;
    let version = deps.runtime.label_studio_version().await?;
    let password = deps.secrets.database_password(id, owner.secret_version);
    let lock = Session::try_acquire(&deps.pool, Key::Annotator(id.0)).await?;
    let fleet = &deps.config.instances.fleet;
    let database = server.ensure_clone(lock.held(), fleet, id, &version, &password).await?;
    lock.release().await;
    let spec = instance::spec(deps, &server, &owner, &database, &password);
    let token = deps.secrets.label_studio_token(id, owner.secret_version);

    let begun = Instant::now();
    deps.runtime.ensure_running(&spec).await?;
    loop {
        let instance = deps.runtime.get(id).await?.filter(|instance| instance.running);
        let instance = instance.context("Label Studio ended while starting")?;
        if let Some(address) = instance.address
            && Client::new(&address.url(), token.as_str())?.whoami().await.is_ok()
        {
            break;
        }
        ensure!(begun.elapsed() < PATIENCE, "Label Studio does not serve");
        sleep(POLL).await;
    }
    let taken = begun.elapsed().as_secs_f64();
    deps.runtime.remove(id).await?;
    Ok(taken)
}

async fn annotator(deps: &Deps) -> anyhow::Result<AnnotatorId> {
    let insert = "INSERT INTO annotators (name, email) VALUES ('Bench', gen_random_uuid() || '@example.com')
                  RETURNING id";
    Ok(AnnotatorId(sqlx::query_scalar(insert).fetch_one(&deps.pool).await?))
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}
