//! What the engine's speed rests on, and one more index would quietly take away.

use super::lab::Lab;

/// Else each claim would write to every index of `jobs` (docs/QUEUE.md, "Speed").
#[tokio::test]
async fn no_index_speaks_of_what_a_claim_writes() {
    let lab = Lab::new().await;
    let slowing: Vec<String> = sqlx::query_scalar(
        "SELECT DISTINCT format('%s speaks of %s', dependent.objid::regclass, attname)
         FROM pg_depend AS dependent
         JOIN pg_index ON indexrelid = dependent.objid
         JOIN pg_attribute ON attrelid = dependent.refobjid AND attnum = dependent.refobjsubid
         WHERE dependent.classid = 'pg_class'::regclass AND dependent.refobjid = 'jobs'::regclass
           AND attname IN ('state', 'attempt', 'worker_id', 'attempted_at', 'progress')",
    )
    .fetch_all(lab.pool())
    .await
    .unwrap();
    assert_eq!(slowing, Vec::<String>::new());
}
