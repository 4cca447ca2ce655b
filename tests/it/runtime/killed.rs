//! The provisioning worker dies, by SIGKILL, right after each of its steps; whoever takes the job over must end
//! with one instance, one database, one role.
//!
//! The worker is a process of its own: this test binary, run again for [`worker`] alone. It reaches Postgres through
//! a relay that keeps back the answer to the step's statement: at that moment the step is done, and the worker has
//! not gone on.

use std::{collections::BTreeMap, process::Stdio, sync::Arc, time::Duration};

use futures::{StreamExt, stream};
use labelfleet::{
    domain::{AnnotatorId, AnnotatorStatus},
    ops::jobs::{AssignBatch, ProvisionInstance},
    queue::{JobArgs, JobContext, JobId, Run},
    up::{Postgres, PostgresOptions},
};
use sqlx::PgPool;
use tokio::process::Command;

use crate::support::{
    fleet::{Fleet, WORKER},
    relay::Relay,
};

/// A Label Studio may take this long to start when the whole suite runs beside it.
const PATIENCE: Duration = Duration::from_secs(180);

/// Each step by a part of its statement, in the order in which they come.
const STEPS: &[&str] = &[
    "SELECT id AS \"id: AnnotatorId\", email",
    "CREATE ROLE",
    "ALTER ROLE",
    "CREATE DATABASE",
    "REASSIGN OWNED",
    "SELECT setval",
    "RENAME TO",
    // The first look at whether it is still wanted, after the instance was started.
    "SELECT status AS",
    // It serves.
    "UPDATE annotators SET",
    "INSERT INTO container_events",
    "INSERT INTO jobs",
    "UPDATE jobs SET state = 'completed'",
    // Done, but the worker does not know.
    "COMMIT",
];

#[tokio::test(flavor = "multi_thread")]
async fn killed_after_any_step_the_next_run_ends_with_one_of_each() {
    let fleet = Fleet::local().await;
    let victims = Victims::of(&fleet).await;
    let mut annotators = Vec::new();
    for step in STEPS {
        let id = fleet.annotator(AnnotatorStatus::Starting).await;
        victims.kill_after(step, &fleet, id).await;
        annotators.push(id);
    }

    stream::iter(&annotators)
        .for_each_concurrent(3, async |&id| {
            let job = ProvisionInstance { annotator_id: id };
            fleet.run_attempt(job, 2).await.expect("the next run succeeds");
        })
        .await;
    for (id, step) in annotators.iter().zip(STEPS) {
        assert_eq!(fleet.status(*id).await, AnnotatorStatus::Active, "killed after {step}");
        assert_eq!(fleet.events(*id).await, ["started"], "killed after {step}");
        fleet.client(*id).await.whoami().await.expect("it serves where it says");
    }
    let (databases, roles) = fleet.databases_and_roles().await;
    let instances = fleet.deps.runtime.list().await.expect("a list");
    assert_eq!((databases.len(), roles.len(), instances.len()), (STEPS.len(), STEPS.len(), STEPS.len()));
    assert!(instances.iter().all(|instance| instance.running));
    let all = i64::try_from(STEPS.len()).expect("a small number");
    assert_eq!(fleet.open_jobs::<AssignBatch>().await, all, "each first batch is asked for once");
    fleet.tear_down().await;
}

/// On a server of its own, which has no template yet.
#[tokio::test(flavor = "multi_thread")]
async fn killed_while_it_makes_the_template_the_next_run_makes_it() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let options = PostgresOptions { durable: false, ..PostgresOptions::new(dir.path().join("postgres")) };
    let mut postgres = Postgres::start(options).await.expect("a server");
    let fleet = Fleet::with([("INSTANCE_DATABASE_URL".to_owned(), postgres.url())]).await;
    let victims = Victims::of(&fleet).await;
    let admin = PgPool::connect(&postgres.url()).await.expect("a connection");
    let templates = async || -> Vec<String> {
        sqlx::query_scalar("SELECT datname::text FROM pg_database WHERE datname LIKE 'ls\\_template%'")
            .fetch_all(&admin)
            .await
            .expect("the catalog is readable")
    };

    let id = fleet.annotator(AnnotatorStatus::Starting).await;
    // The last thing before Label Studio's migrations run, and the last before the template has its name.
    for step in ["GRANT ALL ON SCHEMA", "ALLOW_CONNECTIONS false"] {
        victims.kill_after(step, &fleet, id).await;
        let left = templates().await;
        assert!(left.iter().all(|name| name.ends_with("_making")), "no half template has the name: {left:?}");
    }
    fleet.run_attempt(ProvisionInstance { annotator_id: id }, 2).await.expect("the next run succeeds");
    assert_eq!(fleet.status(id).await, AnnotatorStatus::Active);
    let made = templates().await;
    assert_eq!(made.len(), 1, "{made:?}");
    assert!(!made[0].ends_with("_making"));

    admin.close().await;
    fleet.tear_down().await;
    postgres.stop().await.expect("it stops");
}

/// Workers that die.
struct Victims {
    relays: Vec<Relay>,
    settings: BTreeMap<String, String>,
}

impl Victims {
    async fn of(fleet: &Fleet) -> Self {
        let mut settings = fleet.settings.clone();
        let mut relays = Vec::new();
        // Label Studio itself goes the direct way, which outlives the test's relay.
        let direct = url::Url::parse(&settings["INSTANCE_DATABASE_URL"]).expect("a URL");
        let direct = format!("127.0.0.1:{}", direct.port().unwrap_or(5432));
        settings.insert("INSTANCE_DATABASE_HOST".to_owned(), direct);
        for name in ["DATABASE_URL", "INSTANCE_DATABASE_URL"] {
            let mut url = url::Url::parse(&settings[name]).expect("a URL");
            let relay = Relay::start("127.0.0.1", &format!("127.0.0.1:{}", url.port().unwrap_or(5432))).await;
            url.set_port(Some(relay.port)).expect("a URL with a host");
            settings.insert(name.to_owned(), url.into());
            relays.push(relay);
        }
        Self { relays, settings }
    }

    /// Runs the annotator's provisioning in a process of its own until `step` is done, and kills it there.
    async fn kill_after(&self, step: &str, fleet: &Fleet, id: AnnotatorId) {
        let job = fleet.claimed(ProvisionInstance { annotator_id: id }, 1).await;
        let (one, two) = (self.relays[0].hold_answer_to(step), self.relays[1].hold_answer_to(step));
        let mut worker = Command::new(std::env::current_exe().expect("a test has a path"))
            .args(["--exact", "runtime::killed::worker", "--ignored", "--nocapture"])
            .envs(&self.settings)
            .env("WORKER_OF", id.to_string())
            .env("WORKER_JOB", job.to_string())
            .stdout(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("the worker starts");
        tokio::select! {
            Ok(()) = one => {}
            Ok(()) = two => {}
            status = worker.wait() => panic!("the worker never came to {step}: {status:?}"),
            () = tokio::time::sleep(PATIENCE) => panic!("not within {PATIENCE:?}: {step}"),
        }
        worker.kill().await.expect("it is killed");
    }
}

/// Not a test: one run of the job in a process that can be killed.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "started by the tests above"]
async fn worker() {
    let Ok(annotator) = std::env::var("WORKER_OF") else { return };
    let annotator_id = AnnotatorId(annotator.parse().expect("an id"));
    let id = JobId(std::env::var("WORKER_JOB").expect("an id").parse().expect("an id"));
    let settings: BTreeMap<String, String> = std::env::vars().collect();
    let pool = PgPool::connect(&settings["DATABASE_URL"]).await.expect("a connection");
    let deps = crate::support::fleet::deps(&settings, pool);
    let context = JobContext::new(id, 1, ProvisionInstance::MAX_ATTEMPTS, WORKER);
    ProvisionInstance { annotator_id }.run(context, Arc::clone(&deps)).await.expect("it is provisioned");
}
