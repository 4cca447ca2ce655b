//! `labelfleet queues`, `workers` and `schedules`.

use serde_json::Value;

use super::{labelfleet, stdout};
use crate::support::database::Database;

#[tokio::test]
async fn queues_workers_and_schedules_are_shown_and_told() {
    let database = Database::create().await;
    let url = Some(database.url.as_str());
    for sql in [
        "INSERT INTO jobs (kind, queue, state, args, max_attempts, attempt, attempted_at, dispatched_at, finalized_at)
         SELECT 'export', 'exports', 'discarded', '{}', 3, 3, now(), NULL, now() FROM generate_series(1, 3)",
        "INSERT INTO jobs (kind, queue, args, max_attempts) VALUES ('export', 'nowhere', '{}', 3)",
        "INSERT INTO workers (id, name, queues, lease_until)
         VALUES (gen_random_uuid(), 'north', '{exports,labeling}', now() + interval '1 h')",
        "INSERT INTO schedules (name, cron, kind, next_at) VALUES ('nightly', '0 0 3 * * *', 'reconcile', 'infinity')",
    ] {
        sqlx::query(sql).execute(&database.pool).await.unwrap();
    }
    let row = async |args: &[&str], name: &str| {
        let table = stdout(&labelfleet(url, args).await);
        table.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("{table}")).to_owned()
    };
    let exports = row(&["queues", "list"], "exports").await;
    assert!(exports.contains(" 3 ") && exports.ends_with("1  runs"), "{exports}");
    let nowhere = row(&["queues", "list"], "nowhere").await;
    assert!(nowhere.ends_with("0  no worker takes from it"), "{nowhere}");
    assert_eq!(stdout(&labelfleet(url, &["queues", "pause", "exports"]).await), "queue exports is paused\n");
    let exports = row(&["queues", "list"], "exports").await;
    assert!(exports.contains(" ago by ") && exports.ends_with("by command line"), "{exports}");
    let resumed = stdout(&labelfleet(url, &["queues", "resume", "exports", "--json"]).await);
    assert_eq!(serde_json::from_str::<Value>(&resumed).unwrap()["pausedAt"], Value::Null);
    let missing = labelfleet(url, &["queues", "pause", "exprots"]).await;
    assert!(String::from_utf8_lossy(&missing.stderr).contains("there is no queue"), "{missing:?}");

    let north = row(&["workers"], "north").await;
    assert!(
        north.contains("exports,labeling") && north.contains("s ago") && north.contains("alive"),
        "{north}"
    );
    let workers = stdout(&labelfleet(url, &["workers", "--json"]).await);
    assert_eq!(serde_json::from_str::<Value>(&workers).unwrap()[0]["runningJobs"], 0);

    let nightly = row(&["schedules", "list"], "nightly").await;
    assert!(nightly.contains("0 0 3 * * *") && nightly.ends_with("runs"), "{nightly}");
    stdout(&labelfleet(url, &["schedules", "run", "nightly"]).await);
    assert!(row(&["schedules", "list"], "nightly").await.contains("asked to run"));
    stdout(&labelfleet(url, &["schedules", "pause", "nightly"]).await);
    assert!(row(&["schedules", "list"], "nightly").await.contains("paused"));
    let resumed = stdout(&labelfleet(url, &["schedules", "resume", "nightly", "--json"]).await);
    assert_eq!(serde_json::from_str::<Value>(&resumed).unwrap()["pausedAt"], Value::Null);
    let missing = labelfleet(url, &["schedules", "run", "weekly"]).await;
    assert!(String::from_utf8_lossy(&missing.stderr).contains("there is no schedule"), "{missing:?}");
}
