//! Rates: how many jobs of a key may start now, and when the others may.
//!
//! The bucket of each key is one time in Redis, at which it will be full again (the generic cell rate algorithm), by
//! Redis' clock, so all workers share it. Without Redis nobody can tell what others start: jobs with a rate wait.

use std::{collections::BTreeMap, time::Duration};

use redis::{Script, aio::MultiplexedConnection};
use sqlx::postgres::types::PgInterval;

use crate::queue::durations::interval;

/// Without Redis, jobs with a rate are looked at again after this time.
const BLIND: Duration = Duration::from_secs(1);

/// KEYS: the bucket. ARGV: how many want to start, interval in microseconds, burst. How many may, and in how many
/// microseconds the next may.
const TAKE: &str = r#"
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local wanted, interval, burst = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local full = math.max(tonumber(redis.call('GET', KEYS[1]) or now), now)
local granted = 0
while granted < wanted and full + interval - now <= burst * interval do
  full = full + interval
  granted = granted + 1
end
if granted > 0 then
  redis.call('SET', KEYS[1], string.format('%.0f', full), 'PX', math.ceil((full - now) / 1000) + 1)
end
return {granted, math.max(0, full + interval - burst * interval - now)}
"#;

/// What a due job asks for.
pub(super) struct Limits {
    pub id: i64,
    pub concurrency_key: Option<String>,
    pub rate_key: Option<String>,
    pub rate_interval: Option<PgInterval>,
    pub rate_burst: Option<i32>,
}

pub(super) struct Rates {
    script: Script,
    prefix: String,
    redis: Option<MultiplexedConnection>,
}

impl Rates {
    pub fn new(prefix: String) -> Self {
        Self { script: Script::new(TAKE), prefix, redis: None }
    }

    /// By this connection from now on; none: Redis is away.
    pub fn set_redis(&mut self, redis: Option<MultiplexedConnection>) {
        self.redis = redis;
    }

    /// Who may start now, and how long each of the others has to wait.
    pub async fn admit<'a>(
        &mut self,
        jobs: impl Iterator<Item = &'a Limits>,
    ) -> (Vec<i64>, Vec<(i64, PgInterval)>) {
        let (mut now, mut later) = (Vec::new(), Vec::new());
        let mut buckets: BTreeMap<&str, (i64, i32, Vec<i64>)> = BTreeMap::new();
        for job in jobs {
            match (&job.rate_key, &job.rate_interval, job.rate_burst) {
                (Some(key), Some(every), Some(burst)) => {
                    buckets.entry(key).or_insert((every.microseconds, burst, Vec::new())).2.push(job.id);
                }
                _ => now.push(job.id),
            }
        }
        for (key, (every, burst, ids)) in buckets {
            let (granted, next) = self.take(key, ids.len(), every, burst).await;
            let next = u64::try_from(next).unwrap_or_default();
            let every = u64::try_from(every).unwrap_or(1);
            let (first, rest) = ids.split_at(granted.min(ids.len()));
            now.extend(first);
            for (place, id) in (0..).zip(rest) {
                let wait = Duration::from_micros(next.saturating_add(every.saturating_mul(place)));
                later.push((*id, interval(wait)));
            }
        }
        (now, later)
    }

    async fn take(&mut self, key: &str, wanted: usize, every: i64, burst: i32) -> (usize, i64) {
        let blind = (0, i64::try_from(BLIND.as_micros()).unwrap_or(i64::MAX));
        let Some(redis) = &mut self.redis else { return blind };
        let mut call = self.script.key(format!("{}:rate:{key}", self.prefix));
        call.arg(wanted).arg(every).arg(burst);
        match call.invoke_async(redis).await {
            Ok(answer) => answer,
            Err(error) => {
                tracing::debug!(%error, key, "the rate of a key can't be looked up: its jobs wait");
                blind
            }
        }
    }
}
