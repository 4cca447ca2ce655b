//! The order in which due jobs start, kept in Redis: a sorted set of ids for each level of a queue.
//!
//! Flows of a level take turns. Each id gets the place after the last of its flow, or after the first that waits if its flow
//! has nothing waiting: ten ids that come behind ten thousand of another flow stand among its first twenty.
//! Places are numbers that only grow while anything waits, and an id that is sent twice keeps its place.

use std::time::Duration;

use redis::{AsyncTypedCommands, Script, aio::MultiplexedConnection};

use super::{job::JobId, limits::Priority};

/// One turn of so many begins at a lower level.
const SHARE: u64 = 16;

/// The set that holds the due ids of a queue's level.
pub(crate) fn key(prefix: &str, queue: &str, level: i16) -> String {
    format!("{prefix}:queue:{queue}:{level}")
}

/// The last place of each flow.
const FLOWS: &str = ":flows";

/// KEYS: the set, its flows. ARGV: flow, count and ids, again and again.
const PUSH: &str = r#"
local first = redis.call('ZRANGE', KEYS[1], 0, 0, 'WITHSCORES')[2]
if not first or redis.call('HLEN', KEYS[2]) > 10000 then redis.call('DEL', KEYS[2]) end
local before = (tonumber(first) or 1) - 1
local at = 1
while at < #ARGV do
  local flow, count = ARGV[at], tonumber(ARGV[at + 1])
  local last = math.max(tonumber(redis.call('HGET', KEYS[2], flow) or before), before)
  local from = 1
  while from <= count do
    local pairs = {}
    for n = from, math.min(from + 1999, count) do
      pairs[#pairs + 1] = last + n
      pairs[#pairs + 1] = ARGV[at + 1 + n]
    end
    redis.call('ZADD', KEYS[1], 'NX', unpack(pairs))
    from = from + 2000
  end
  redis.call('HSET', KEYS[2], flow, last + count)
  at = at + 2 + count
end
"#;

/// Appends ids to their flows.
pub(crate) struct Push(Script);

impl Default for Push {
    fn default() -> Self {
        Self(Script::new(PUSH))
    }
}

impl Push {
    /// All of one level of a queue.
    pub async fn send(
        &self,
        connection: &mut MultiplexedConnection,
        key: &str,
        flows: impl IntoIterator<Item = (&str, &[JobId])>,
    ) -> redis::RedisResult<()> {
        let mut call = self.0.key(key);
        call.key(format!("{key}{FLOWS}"));
        for (flow, ids) in flows {
            call.arg(flow).arg(ids.len());
            for id in ids {
                call.arg(id.0);
            }
        }
        call.invoke_async(connection).await
    }
}

/// Takes ids of one queue, level by level.
pub(crate) struct Pop {
    keys: Vec<String>,
    turn: u64,
}

impl Pop {
    pub fn new(prefix: &str, queue: &str) -> Self {
        let keys = Priority::ALL.iter().map(|priority| key(prefix, queue, priority.level())).collect();
        Self { keys, turn: 0 }
    }

    /// The level at which the next turn begins: the highest, but for the share of the lower ones.
    pub fn next_level(&mut self) -> i16 {
        self.turn += 1;
        if self.turn.is_multiple_of(SHARE) {
            let lower = Priority::ALL.len() as u64 - 1;
            // At most 3.
            1 + (self.turn / SHARE % lower) as i16
        } else {
            0
        }
    }

    /// The first ids of the first level that has any, from the level of this turn on and then from the highest; none
    /// after `wait`.
    pub async fn ids(
        &mut self,
        connection: &mut MultiplexedConnection,
        wait: Duration,
        count: usize,
    ) -> redis::RedisResult<Vec<i64>> {
        let level = usize::try_from(self.next_level()).unwrap_or_default();
        let (highest, lower) = self.keys.split_at(level.min(self.keys.len()));
        let mut call = redis::cmd("BZMPOP");
        call.arg(wait.as_secs_f64()).arg(self.keys.len()).arg(lower).arg(highest);
        call.arg("MIN").arg("COUNT").arg(count);
        let popped: Option<(String, Vec<(i64, f64)>)> = call.query_async(connection).await?;
        Ok(popped.map(|(_, ids)| ids.into_iter().map(|(id, _)| id).collect()).unwrap_or_default())
    }
}

/// How many ids wait in each level of a queue.
pub(crate) async fn lengths(
    connection: &mut MultiplexedConnection,
    prefix: &str,
    queue: &str,
) -> redis::RedisResult<Vec<usize>> {
    let mut lengths = Vec::new();
    for priority in Priority::ALL {
        lengths.push(connection.zcard(key(prefix, queue, priority.level())).await?);
    }
    Ok(lengths)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_turn_of_sixteen_begins_lower_and_each_level_has_its_own() {
        let mut pop = Pop::new("p", "q");
        let levels: Vec<i16> = (0..16 * 6).map(|_| pop.next_level()).collect();
        assert_eq!(levels.iter().filter(|level| **level == 0).count(), 15 * 6);
        for level in 1..4 {
            assert_eq!(levels.iter().filter(|one| **one == level).count(), 2, "{level}");
        }
    }
}
