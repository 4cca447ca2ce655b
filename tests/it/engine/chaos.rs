//! Everything at once: workers killed at random, Redis killed and wiped, Postgres crashed, while thousands of jobs of
//! mixed kinds come in. At the end each effect stands once and nothing is lost.
//!
//! What happens when is drawn from a seed, which is printed: `CHAOS_SEED=… ` plays it again, `CHAOS_SECONDS` makes it
//! longer.

use std::{
    str::FromStr,
    time::{Duration, Instant},
};

use labelfleet::{
    queue::Client,
    up::{Postgres, PostgresOptions, Redis},
};
use nix::sys::signal::Signal;
use rand::{RngExt, SeedableRng, rngs::StdRng};
use tokio::time::sleep;

use super::{
    lab::Lab,
    probe::{Hardy, Sturdy},
    process::Process,
};
use crate::support::{database::Database, wait};

const LEASE: Duration = Duration::from_secs(4);
const DRAIN: Duration = Duration::from_secs(5);
/// With the default length 20,000 jobs in all.
const WAVE: i64 = 334;
const PATIENCE: Duration = Duration::from_secs(120);

fn setting<T: FromStr>(name: &str) -> Option<T> {
    std::env::var(name).ok()?.parse().ok()
}

#[derive(Debug, Clone, Copy)]
enum Event {
    Wave,
    KillWorker(usize),
    WipeRedis,
    KillRedis,
    CrashPostgres,
}

/// A wave each second, a worker killed every other second, Redis hit every five; Postgres crashes twice.
fn plan(random: &mut StdRng, seconds: u64) -> Vec<(Duration, Event)> {
    let mut events = Vec::new();
    let mut add = |millis, event| events.push((Duration::from_millis(millis), event));
    for second in 0..seconds {
        add(second * 1000, Event::Wave);
        if second % 2 == 1 {
            add(second * 1000 + random.random_range(0..900), Event::KillWorker(random.random_range(0..3)));
        }
        if second % 5 == 3 {
            let event = if random.random_bool(0.5) { Event::WipeRedis } else { Event::KillRedis };
            add(second * 1000 + random.random_range(0..900), event);
        }
        if second == seconds / 3 || second == 2 * seconds / 3 {
            add(second * 1000 + random.random_range(0..900), Event::CrashPostgres);
        }
    }
    events.sort_by_key(|(at, _)| *at);
    events
}

struct World {
    lab: Lab,
    redis: Redis,
    postgres: Postgres,
    workers: Vec<Process>,
    random: StdRng,
    jobs: i64,
}

impl World {
    async fn start(random: StdRng, dir: &std::path::Path) -> Self {
        let redis = Redis::start(&dir.join("redis"), &dir.join("redis.log"), None).await.unwrap();
        let postgres = Postgres::start(PostgresOptions::new(dir.join("postgres"))).await.unwrap();
        let lab = Lab::on(Database::create_on(&postgres.url()).await, redis.url()).await;
        let mut workers = Vec::new();
        for _ in 0..3 {
            workers.push(lab.process(LEASE, DRAIN).await);
        }
        Self { lab, redis, postgres, workers, random, jobs: 0 }
    }

    async fn happens(&mut self, event: Event) {
        match event {
            Event::Wave => self.wave().await,
            Event::KillWorker(number) => {
                self.workers[number].signal(Signal::SIGKILL);
                self.workers[number] = self.lab.process(LEASE, DRAIN).await;
            }
            Event::WipeRedis => {
                let client = redis::Client::open(self.redis.url()).unwrap();
                let mut connection = client.get_multiplexed_async_connection().await.unwrap();
                redis::cmd("FLUSHALL").query_async::<()>(&mut connection).await.unwrap();
            }
            Event::KillRedis => {
                self.redis.kill().await.unwrap();
                self.redis.restart().await.unwrap();
            }
            Event::CrashPostgres => {
                self.postgres.kill().await.unwrap();
                self.postgres.restart().await.unwrap();
            }
        }
    }

    /// Enqueued once, though the answer to the commit may be lost.
    async fn wave(&mut self) {
        let keys = self.jobs..self.jobs + WAVE;
        let jobs: Vec<Hardy> = keys
            .clone()
            .map(|key| Hardy {
                key,
                sleeps_millis: self.random.random_range(0..300),
                shares: self.random.random_bool(0.05),
            })
            .collect();
        let first = jobs.iter().map(|job| job.key).find(|key| key % 3 != 0);
        let loose: Vec<Sturdy> =
            jobs.iter().filter(|job| job.key % 3 == 0).map(|job| Sturdy(job.clone())).collect();
        let jobs: Vec<Hardy> = jobs.into_iter().filter(|job| job.key % 3 != 0).collect();
        let is_there = async || {
            let one =
                "SELECT EXISTS (SELECT FROM jobs WHERE kind = 'hardy' AND (args ->> 'key')::bigint = $1)";
            sqlx::query_scalar::<_, bool>(one).bind(first).fetch_one(self.lab.pool()).await
        };
        wait::until("the wave is enqueued", PATIENCE, async || match is_there().await {
            Ok(true) => Some(()),
            Ok(false) => enqueue(&self.lab.queue, &jobs, &loose).await.ok(),
            Err(_) => None,
        })
        .await;
        self.jobs += WAVE;
    }
}

async fn enqueue(queue: &Client, jobs: &[Hardy], loose: &[Sturdy]) -> sqlx::Result<()> {
    let mut tx = queue.begin().await?;
    tx.enqueue_many(jobs).await?;
    tx.enqueue_many(loose).await?;
    tx.commit().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_is_killed_each_effect_stands_once() {
    let seed = setting("CHAOS_SEED").unwrap_or_else(rand::random::<u64>);
    let seconds = setting("CHAOS_SECONDS").unwrap_or(60);
    println!("CHAOS_SEED={seed} CHAOS_SECONDS={seconds}");
    let mut random = StdRng::seed_from_u64(seed);
    let events = plan(&mut random, seconds);
    let dir = tempfile::tempdir().unwrap();
    let mut world = World::start(random, dir.path()).await;
    let begun = Instant::now();
    for (at, event) in events {
        sleep(at.saturating_sub(begun.elapsed())).await;
        println!("{:?} {event:?}", begun.elapsed());
        world.happens(event).await;
    }
    let jobs = world.jobs;
    let scalar = async |sql: &'static str| -> Option<i64> {
        sqlx::query_scalar(sql).fetch_one(world.lab.pool()).await.ok()
    };
    wait::until("all jobs ended", PATIENCE, async || {
        let ended = scalar("SELECT count(*) FROM jobs WHERE finalized_at IS NOT NULL").await?;
        (ended == jobs).then_some(())
    })
    .await;
    for (what, expected) in [
        ("SELECT count(*) FROM jobs WHERE state = 'completed'", jobs),
        ("SELECT count(*) FROM effects", jobs),
        ("SELECT count(DISTINCT key) FROM effects", jobs),
        ("SELECT count(*) FROM jobs WHERE worker_id IS NOT NULL", 0),
    ] {
        assert_eq!(scalar(what).await, Some(expected), "{what}");
    }
    assert!(
        scalar("SELECT count(*) FROM job_attempts WHERE outcome = 'lost'").await > Some(0),
        "nothing was hit"
    );
    for worker in &mut world.workers {
        worker.signal(Signal::SIGTERM);
        assert_eq!(worker.ended(DRAIN * 2).await, Some(0));
    }
}
