//! Every example (`examples/queue`) runs to its end, shows what it is for, and leaves nothing behind.

use std::{process::Output, time::Duration};

use tokio::{process::Command, time::timeout};

use crate::support::{binary, database::Database, redis_url};

async fn run(args: &[&str], database: &str) -> Output {
    let mut command = Command::new(binary("examples/queue"));
    command.args(args).env("DATABASE_URL", database).env("REDIS_URL", redis_url()).kill_on_drop(true);
    timeout(Duration::from_secs(60), command.output()).await.expect("the example ends in time").unwrap()
}

fn lines(output: &Output) -> Vec<String> {
    let (out, error) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{out}{error}");
    out.lines().map(str::to_owned).collect()
}

async fn example(name: &str, last: &str) {
    let database = Database::create().await;
    let lines = lines(&run(&[name], &database.url).await);
    assert!(lines.len() > 1 && lines.last().unwrap().contains(last), "{lines:?}");
    let left: i64 = sqlx::query_scalar(
        "SELECT (SELECT count(*) FROM jobs) + (SELECT count(*) FROM workers) + (SELECT count(*) FROM schedules)",
    )
    .fetch_one(&database.pool)
    .await
    .unwrap();
    assert_eq!(left, 0);
}

macro_rules! examples {
    ($($name:ident: $last:literal,)*) => {
        $(
            #[tokio::test]
            async fn $name() {
                example(stringify!($name), $last).await;
            }
        )*

        #[tokio::test]
        async fn each_is_listed_and_tried() {
            let listed = lines(&run(&[], "").await);
            let names: Vec<&str> = listed.iter().filter_map(|line| line.split_whitespace().next()).collect();
            assert_eq!(names, [$(stringify!($name)),*]);
            let unknown = run(&["nothing"], "").await;
            assert_eq!(unknown.status.code(), Some(1));
            assert!(String::from_utf8_lossy(&unknown.stderr).contains("there is no example nothing"));
        }
    };
}

// What the last line says.
examples! {
    priorities: "the last password reset ran as number",
    concurrency: "2 at once, never more",
    rate_limits: "3 at once, then one each 100ms",
    unique: "a new job, since an operator deleted the first",
    schedules: "punctual ran at an operator's wish",
    batches: "complained of e.txt, and its end waits for the retry",
    chains: "then join them, then publish",
    bulk: "10000 jobs are completed, each ran once",
    pause: "resumed: the export has run",
    cancel: "it tidied up and is cancelled: cancelled: stopped at frame 2",
    progress: "completed: 100 %, the rest was well",
    results: "committed with the job's end, the balance is 150",
    dead_set: "3 are completed, and the one that nothing helps is deleted",
    retention: "the completed job is gone, the dead one is still there",
    unknown_kinds: "mended and retried: completed",
    drain: "the next worker has completed it",
    payload: r#"a result that is too large is replaced: {"bytes":100002,"truncated":true}"#,
    fairness: "the last of Small & Sons ran as number",
}
