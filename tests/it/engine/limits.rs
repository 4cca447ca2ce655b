//! Levels, turns, and limits that hold across workers.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use labelfleet::queue::{
    Concurrency, JobArgs, JobContext, JobResult, Priority, Rate, Registry, Run, Worker, WorkerOptions,
};
use serde::{Deserialize, Serialize};
use tokio::time::sleep;

use super::{lab::Lab, probe::QUEUE};

const PATIENCE: Duration = Duration::from_secs(60);

/// What the workers of one test did, all of them together.
#[derive(Default)]
struct Log {
    starts: Mutex<Vec<(String, Instant)>>,
    /// Running now, and most at once, by key.
    running: Mutex<HashMap<String, (i32, i32)>>,
}

impl Log {
    fn names(&self) -> Vec<String> {
        self.starts.lock().unwrap().iter().map(|(name, _)| name.clone()).collect()
    }

    fn place(&self, name: &str) -> usize {
        self.names().iter().rposition(|one| one == name).unwrap_or_else(|| panic!("{name} never ran"))
    }

    fn most(&self, key: &str) -> i32 {
        self.running.lock().unwrap().get(key).map_or(0, |(_, most)| *most)
    }
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Limited {
    name: String,
    millis: u64,
    flow: Option<String>,
    /// Key and limit.
    concurrency: Option<(String, i32)>,
    /// Key, interval in milliseconds, burst.
    rate: Option<(String, u64, i32)>,
}

impl Limited {
    fn named(name: impl Into<String>) -> Self {
        Self { name: name.into(), ..Self::default() }
    }
}

impl JobArgs for Limited {
    type Output = ();

    const KIND: &'static str = "limited";
    const QUEUE: &'static str = QUEUE;

    fn flow(&self) -> Option<String> {
        self.flow.clone()
    }

    fn concurrency(&self) -> Option<Concurrency> {
        self.concurrency.clone().map(|(key, limit)| Concurrency { key, limit })
    }

    fn rate(&self) -> Option<Rate> {
        let (key, millis, burst) = self.rate.clone()?;
        Some(Rate { key, interval: Duration::from_millis(millis), burst })
    }
}

impl Run<Log> for Limited {
    async fn run(self, _: JobContext, log: Arc<Log>) -> JobResult {
        log.starts.lock().unwrap().push((self.name, Instant::now()));
        let key = self.concurrency.map(|(key, _)| key).unwrap_or_default();
        {
            let mut running = log.running.lock().unwrap();
            let (now, most) = running.entry(key.clone()).or_default();
            *now += 1;
            *most = (*most).max(*now);
        }
        sleep(Duration::from_millis(self.millis)).await;
        log.running.lock().unwrap().get_mut(&key).unwrap().0 -= 1;
        Ok(())
    }
}

macro_rules! level {
    ($name:ident, $kind:literal, $priority:ident) => {
        #[derive(Debug, Serialize, Deserialize)]
        struct $name {
            millis: u64,
        }

        impl JobArgs for $name {
            type Output = ();

            const KIND: &'static str = $kind;
            const QUEUE: &'static str = QUEUE;
            const PRIORITY: Priority = Priority::$priority;
        }

        impl Run<Log> for $name {
            async fn run(self, _: JobContext, log: Arc<Log>) -> JobResult {
                log.starts.lock().unwrap().push(($kind.to_owned(), Instant::now()));
                sleep(Duration::from_millis(self.millis)).await;
                Ok(())
            }
        }
    };
}

level!(Urgent, "urgent", Urgent);
level!(Low, "low", Low);
level!(Bulk, "bulk", Bulk);

async fn worker(lab: &Lab, log: &Arc<Log>, concurrency: usize) -> Worker {
    let registry =
        Registry::new().register::<Limited>().register::<Urgent>().register::<Low>().register::<Bulk>();
    let options = WorkerOptions { concurrency, ..lab.options() };
    Worker::start(options, registry, log.clone()).await.unwrap()
}

async fn enqueue<J: JobArgs>(lab: &Lab, jobs: &[J]) {
    let mut tx = lab.queue.begin().await.unwrap();
    assert_eq!(tx.enqueue_many(jobs).await.unwrap().len(), jobs.len());
    tx.commit().await.unwrap();
}

/// Redis where nobody listens.
async fn without_redis() -> Lab {
    Lab::on(crate::support::database::Database::create().await, "redis://127.0.0.1:1".into()).await
}

fn times<J>(count: usize, job: impl Fn() -> J) -> Vec<J> {
    (0..count).map(|_| job()).collect()
}

async fn a_higher_level_first(lab: Lab) {
    enqueue(&lab, &times(20, || Bulk { millis: 0 })).await;
    enqueue(&lab, &times(20, || Low { millis: 0 })).await;
    enqueue(&lab, &[Limited::named("normal")]).await;
    enqueue(&lab, &times(10, || Urgent { millis: 0 })).await;
    let log = Arc::default();
    let worker = worker(&lab, &log, 1).await;
    lab.completed(51, PATIENCE).await;
    worker.drain().await;
    let mut expected = times(10, || "urgent");
    expected.push("normal");
    assert_eq!(log.names()[..11], expected);
    assert_eq!(log.names().iter().filter(|name| *name == "bulk").count(), 20);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn higher_levels_go_first() {
    a_higher_level_first(Lab::new().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn higher_levels_go_first_without_redis() {
    a_higher_level_first(without_redis().await).await;
}

/// However many of a higher level wait.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_lowest_level_does_not_starve() {
    let lab = Lab::new().await;
    enqueue(&lab, &[Bulk { millis: 0 }]).await;
    enqueue(&lab, &times(1_500, || Urgent { millis: 3 })).await;
    let log = Arc::default();
    let worker = worker(&lab, &log, 2).await;
    lab.completed(1_501, PATIENCE).await;
    worker.drain().await;
    assert!((1..1_400).contains(&log.place("bulk")), "{}", log.place("bulk"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_of_one_flow_do_not_wait_for_thousands_of_another() {
    let lab = Lab::new().await;
    let of = |flow: &str| Limited { flow: Some(flow.to_owned()), ..Limited::named(flow) };
    enqueue(&lab, &times(2_000, || of("many"))).await;
    // Their ids are sent apart, as by another process.
    enqueue(&lab, &times(10, || of("few"))).await;
    enqueue(&lab, &times(10, || Limited::named("of no flow"))).await;
    let log = Arc::default();
    let worker = worker(&lab, &log, 1).await;
    lab.completed(2_020, PATIENCE).await;
    worker.drain().await;
    for name in ["few", "of no flow"] {
        assert!(log.place(name) < 40, "the last of {name} was number {}", log.place(name));
    }
}

async fn at_most_so_many_of_a_key(lab: Lab) {
    let of = |key: &str, limit| Limited {
        concurrency: Some((key.to_owned(), limit)),
        millis: 15,
        ..Limited::named(key)
    };
    let mut jobs = times(30, || of("three", 3));
    jobs.extend(times(15, || of("one", 1)));
    jobs.extend(times(60, || Limited { millis: 15, ..Limited::named("free") }));
    enqueue(&lab, &jobs).await;
    let log = Arc::default();
    let workers = [worker(&lab, &log, 8).await, worker(&lab, &log, 8).await];
    lab.completed(105, PATIENCE).await;
    for worker in workers {
        worker.drain().await;
    }
    assert_eq!((log.most("three"), log.most("one")), (3, 1));
    assert!(log.most("") > 3, "the others were held up");
    assert_eq!(lab.scalar("SELECT max(attempt)::bigint FROM jobs").await, 1);
    assert_eq!(lab.scalar("SELECT count(*) FROM job_attempts").await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_runs_no_more_than_its_limit_on_all_workers_together() {
    at_most_so_many_of_a_key(Lab::new().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_keys_limit_holds_without_redis() {
    at_most_so_many_of_a_key(without_redis().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rate_is_kept_and_what_waits_for_it_holds_no_slot() {
    let lab = Lab::new().await;
    let rated = || Limited { rate: Some(("host".into(), 100, 2)), ..Limited::named("rated") };
    let mut jobs = times(8, rated);
    jobs.push(Limited { flow: Some("other".into()), ..Limited::named("free") });
    enqueue(&lab, &jobs).await;
    let log: Arc<Log> = Arc::default();
    let workers = [worker(&lab, &log, 1).await, worker(&lab, &log, 1).await];
    lab.completed(9, PATIENCE).await;
    for worker in workers {
        worker.drain().await;
    }
    assert!(log.place("free") <= 4, "it was number {}", log.place("free"));
    let starts = log.starts.lock().unwrap().clone();
    let rated: Vec<Instant> = starts.iter().filter(|(name, _)| name == "rated").map(|(_, at)| *at).collect();
    // Two at once, then one each interval; what a start is late by is no other's gain.
    let took = rated[7].duration_since(rated[0]);
    assert!(took >= Duration::from_millis(500), "eight started within {took:?}");
    assert_eq!(lab.scalar("SELECT (max(attempt) + max(max_attempts))::bigint FROM jobs").await, 11);
    assert_eq!(lab.scalar("SELECT count(*) FROM job_attempts").await, 0);
}
