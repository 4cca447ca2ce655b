//! What goes wrong around workers without killing anybody: a Redis that answers and takes nothing, a clock that jumps, a
//! network that falls silent.

use std::{path::Path, time::Duration};

use labelfleet::{queue::JobState, up::Redis};
use nix::sys::signal::Signal;
use url::Url;

use super::{
    lab::{Lab, nothing},
    probe::Act,
    process::Process,
};
use crate::support::{database::Database, redis_url, relay::Relay, wait};

const LEASE: Duration = Duration::from_secs(5);
const DRAIN: Duration = Duration::from_secs(10);
const PATIENCE: Duration = Duration::from_secs(30);

/// A Redis of its own, and what is told to it.
struct Server {
    server: Redis,
    connection: redis::aio::MultiplexedConnection,
}

impl Server {
    async fn start(dir: &Path) -> Self {
        let server = Redis::start(dir, &dir.join("redis.log"), None).await.unwrap();
        let client = redis::Client::open(server.url()).unwrap();
        let connection = client.get_multiplexed_async_connection().await.unwrap();
        Self { server, connection }
    }

    async fn ask(&self, command: &str) -> redis::RedisResult<redis::Value> {
        let mut call = redis::Cmd::new();
        for word in command.split(' ') {
            call.arg(word);
        }
        call.query_async(&mut self.connection.clone()).await
    }

    async fn refuses_writes(&self, with: &str) -> bool {
        self.ask("SET key value").await.is_err_and(|error| error.to_string().contains(with))
    }

    /// The worker takes ids from it again, and is given some.
    async fn is_used(&self, lab: &Lab, before: i64) {
        wait::until("the worker waits at Redis again", PATIENCE, async || {
            let clients = self.ask("CLIENT LIST").await.unwrap();
            format!("{clients:?}").contains("cmd=bzmpop").then_some(())
        })
        .await;
        lab.enqueue_all(&nothing(before..before + 200)).await;
        lab.completed(before + 200, PATIENCE).await;
    }
}

/// A small disk, for as long as this lives.
struct Disk(tempfile::TempDir);

impl Disk {
    /// None where mounting is not allowed.
    fn mount() -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let mut mount = std::process::Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=256k,mode=0777", "tmpfs"]).arg(dir.path());
        mount.output().is_ok_and(|done| done.status.success()).then(|| Self(dir))
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg("--lazy").arg(self.0.path()).output();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn jobs_go_on_while_the_disk_of_redis_is_full() {
    let Some(disk) = Disk::mount() else {
        println!("skipped: mounting a small disk needs root");
        return;
    };
    let redis = Server::start(disk.0.path()).await;
    let lab = Lab::on(Database::create().await, redis.server.url()).await;
    let mut worker = lab.process(LEASE, DRAIN).await;
    lab.enqueue_all(&nothing(0..200)).await;
    lab.completed(200, PATIENCE).await;

    let filler = disk.0.path().join("filler");
    let full = std::fs::write(&filler, vec![0; 1 << 20]);
    assert!(full.is_err(), "the disk has no end");
    redis::cmd("CONFIG")
        .arg(&["SET", "save", "3600 1"])
        .query_async::<()>(&mut redis.connection.clone())
        .await
        .unwrap();
    redis.ask("BGSAVE").await.unwrap();
    wait::until("Redis refuses writes", PATIENCE, async || {
        redis.refuses_writes("MISCONF").await.then_some(())
    })
    .await;
    lab.enqueue_all(&nothing(200..1_000)).await;
    lab.completed(1_000, PATIENCE).await;

    std::fs::remove_file(&filler).unwrap();
    redis.ask("BGSAVE").await.unwrap();
    wait::until("Redis takes writes", PATIENCE, async || redis.ask("SET key value").await.ok()).await;
    redis.is_used(&lab, 1_000).await;
    worker.signal(Signal::SIGTERM);
    assert_eq!(worker.ended(DRAIN).await, Some(0));
    assert_eq!(lab.scalar("SELECT count(*) FROM jobs WHERE attempt <> 1").await, 0);
}

/// Jobs that come in after the one command are run, and Redis is used again after the other.
async fn go_on_between(refuse: &str, allow: &str, is_refused: impl AsyncFn(&Server) -> bool) {
    let dir = tempfile::tempdir().unwrap();
    let redis = Server::start(dir.path()).await;
    let lab = Lab::on(Database::create().await, redis.server.url()).await;
    let mut worker = lab.process(LEASE, DRAIN).await;
    lab.enqueue_all(&nothing(0..200)).await;
    lab.completed(200, PATIENCE).await;

    redis.ask(refuse).await.unwrap();
    assert!(is_refused(&redis).await);
    lab.enqueue_all(&nothing(200..1_000)).await;
    lab.completed(1_000, PATIENCE).await;

    redis.ask(allow).await.unwrap();
    redis.is_used(&lab, 1_000).await;
    worker.signal(Signal::SIGTERM);
    assert_eq!(worker.ended(DRAIN).await, Some(0));
    assert_eq!(lab.scalar("SELECT count(*) FROM jobs WHERE attempt <> 1").await, 0);
}

/// It gives ids and takes none, so that a worker that waits there waits in vain.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn jobs_go_on_while_redis_takes_no_ids() {
    let is_refused = async |redis: &Server| redis.ask("EVAL return 0").await.is_err();
    go_on_between("ACL SETUSER default -@scripting", "ACL SETUSER default +@scripting", is_refused).await;
}

/// While its list is empty it takes ids all the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn jobs_go_on_while_the_memory_of_redis_is_full() {
    let is_refused = async |redis: &Server| redis.refuses_writes("OOM").await;
    go_on_between("CONFIG SET maxmemory 1", "CONFIG SET maxmemory 0", is_refused).await;
}

/// Debian's libfaketime, which `scripts/test` installs.
fn fake_time() -> String {
    let libraries = format!("/usr/lib/{}-linux-gnu/faketime/libfaketime.so.1", std::env::consts::ARCH);
    assert!(Path::new(&libraries).exists(), "{libraries} is missing: run scripts/setup libfaketime");
    libraries
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_that_jumps_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let clock = dir.path().join("clock");
    let set = |offset: &str| std::fs::write(&clock, offset).unwrap();
    set("+0h");
    let lab = Lab::new().await;
    let variables = [
        ("LD_PRELOAD", fake_time()),
        ("FAKETIME_TIMESTAMP_FILE", clock.to_str().unwrap().to_owned()),
        ("FAKETIME_NO_CACHE", "1".to_owned()),
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
        ("PROBE_CRON", "* * * * * *".to_owned()),
    ];
    let variables = variables.iter().map(|(name, value)| (*name, value.as_str()));
    // Alone at first, so it leads: what is due, who is dead and which tick is next is for the database to say.
    let mut jumping =
        Process::start_with(&lab.database.url, &lab.redis, &lab.prefix, LEASE, DRAIN, variables).await;
    let first = lab.enqueue(0, Act::TellTime).await;
    lab.ended(first).await;
    let other = lab.process_with(LEASE, DRAIN, "* * * * * *").await;
    let long = lab.enqueue(100, Act::Sleep { millis: 6_000 }).await;
    for (key, offset) in [(1, 3), (2, -3)] {
        set(&format!("{offset:+}h"));
        wait::until("the clock has jumped", PATIENCE, async || {
            let id = lab.enqueue(key, Act::TellTime).await;
            lab.ended(id).await;
            let told = format!("SELECT count(*) FROM effects WHERE key = {key} AND attempt = {offset}");
            (lab.scalar(&told).await > 0).then_some(())
        })
        .await;
        let beats = "SELECT count(*) FROM workers WHERE lease_until > now()
                       AND lease_until <= now() + interval '5 s' AND heartbeat_at > now() - interval '5 s'";
        assert_eq!(lab.scalar(beats).await, 2, "a lease by a worker's clock");
        lab.enqueue_all(&nothing(key * 1_000..key * 1_000 + 200)).await;
        let done = format!(
            "SELECT count(*) FROM jobs WHERE state = 'completed' AND (args ->> 'key')::int >= {}",
            key * 1_000
        );
        wait::until("jobs go on", PATIENCE, async || (lab.scalar(&done).await >= 200).then_some(())).await;
    }
    lab.ended(long).await;
    assert_eq!(lab.scalar("SELECT count(*) FROM job_attempts").await, 0, "a job did not end at once");
    assert_eq!(
        lab.scalar("SELECT count(*) FROM schedule_ticks WHERE tick > now() + interval '2 s'").await,
        0
    );
    assert_eq!(
        lab.scalar("SELECT count(*) FROM schedule_ticks WHERE tick < (SELECT min(started_at) FROM workers) - interval '2 s'").await,
        0
    );
    jumping.signal(Signal::SIGTERM);
    assert_eq!(jumping.ended(DRAIN).await, Some(0));
    other.signal(Signal::SIGTERM);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_network_that_is_silent_for_longer_than_the_lease_lets_nobody_finish_twice() {
    let database = Database::create().await;
    let mut url = Url::parse(&database.url).unwrap();
    let target = format!("{}:{}", url.host_str().unwrap(), url.port().unwrap_or(5432));
    let relay = Relay::start("127.0.0.1", &target).await;
    url.set_host(Some("127.0.0.1")).unwrap();
    url.set_port(Some(relay.port)).unwrap();
    let lab = Lab::on(database, redis_url()).await;
    let mut cut_off = Process::start(url.as_str(), &lab.redis, &lab.prefix, LEASE, DRAIN, None).await;
    let bound = lab.enqueue(1, Act::Effect { first_sleeps_millis: 1_500 }).await;
    let loose = lab.enqueue(2, Act::LooseEffect { first_sleeps_millis: 1_500 }).await;
    lab.rows("starts", 2, PATIENCE).await;
    relay.be_silent(true);
    let mut other = lab.process(LEASE, DRAIN).await;
    let first = lab.ended(bound).await;
    let second = lab.ended(loose).await;
    for job in [&first, &second] {
        assert_eq!((job.state, job.attempt), (JobState::Completed, 2));
    }
    relay.be_silent(false);
    // What was under way arrives now. Then it takes jobs again, once the other is gone.
    other.signal(Signal::SIGTERM);
    other.ended(DRAIN).await;
    let after = lab.enqueue(3, Act::Effect { first_sleeps_millis: 0 }).await;
    assert_eq!(lab.ended(after).await.state, JobState::Completed);
    assert_eq!(lab.job(bound).await, first, "the run that had lost its lease changed the job");
    assert_eq!(lab.job(loose).await, second, "the run that had lost its lease changed the job");
    assert_eq!(lab.scalar("SELECT count(*) FROM effects WHERE key = 1").await, 1);
    cut_off.signal(Signal::SIGTERM);
    assert_eq!(cut_off.ended(DRAIN * 2).await, Some(0));
}
