//! Gold tasks as batches meet them, and how they were answered.

use serde_json::Value;
use sqlx::PgConnection;

use crate::{
    domain::{AnnotatorId, AssignmentTaskId, GoldTaskId, JobRef, LabelingConfigId},
    lock::{Held, Key},
};

/// Up to `count` gold tasks of a labeling config, none twice: those that this annotator has met least often come first,
/// and `seed` draws lots among equals. Needs the lock on what the annotator gets: two batches made at once would get
/// the same.
pub async fn draw(
    db: &mut PgConnection,
    lock: &Held,
    config: LabelingConfigId,
    annotator: AnnotatorId,
    count: i64,
    seed: i64,
) -> sqlx::Result<Vec<GoldTaskId>> {
    debug_assert_eq!(lock.key(), Key::AssignTo(annotator.0));
    sqlx::query_scalar!(
        r#"SELECT gold_tasks.id AS "id: GoldTaskId"
           FROM gold_tasks
           LEFT JOIN (SELECT gold_task_id, count(*) AS times
                      FROM assignments JOIN assignment_tasks ON assignment_id = assignments.id
                      WHERE annotator_id = $2 AND gold_task_id IS NOT NULL AND state <> 'released'
                      GROUP BY gold_task_id) AS met ON met.gold_task_id = gold_tasks.id
           WHERE labeling_config_id = $1
           ORDER BY COALESCE(times, 0), hashint8extended(gold_tasks.id, $4), gold_tasks.id
           LIMIT $3"#,
        config.0,
        annotator.0,
        count,
        seed
    )
    .fetch_all(db)
    .await
}

/// A gold task's expected result and the newest answer to it.
#[derive(Debug)]
pub struct Answer {
    /// The labeling config that both were made in.
    pub config_xml: String,
    pub expected: Value,
    pub given: Option<Value>,
    /// It stands as skipped. An answer beside a skip counts as the answer.
    pub is_skipped: bool,
}

pub async fn answer(db: &mut PgConnection, task: AssignmentTaskId) -> sqlx::Result<Option<Answer>> {
    sqlx::query_as!(
        Answer,
        r#"SELECT config_xml, expected_labels AS expected,
                  (SELECT payload -> 'result' FROM annotations
                   WHERE assignment_task_id = assignment_tasks.id AND deleted_at IS NULL AND NOT was_cancelled
                   ORDER BY ls_updated_at DESC LIMIT 1) AS given,
                  state = 'skipped' AS "is_skipped!"
           FROM assignment_tasks
           JOIN gold_tasks ON gold_tasks.id = gold_task_id
           JOIN labeling_configs ON labeling_configs.id = labeling_config_id
           WHERE assignment_tasks.id = $1
           FOR UPDATE OF assignment_tasks"#,
        task.0
    )
    .fetch_optional(db)
    .await
}

/// Keeps the score of the newest answer; none: it was skipped.
pub async fn set_score(
    db: &mut PgConnection,
    task: AssignmentTaskId,
    score: Option<f64>,
    details: &Value,
    job: JobRef,
) -> sqlx::Result<()> {
    sqlx::query!(
        "INSERT INTO gold_results
             (assignment_task_id, assignment_id, annotator_id, gold_task_id, score, skipped, details, job_id)
         SELECT assignment_tasks.id, assignment_id, annotator_id, gold_task_id, $2, $2::double precision IS NULL, $3, $4
         FROM assignment_tasks JOIN assignments ON assignments.id = assignment_id
         WHERE assignment_tasks.id = $1 AND gold_task_id IS NOT NULL
         ON CONFLICT ON CONSTRAINT gold_results_assignment_task_id_key DO UPDATE
         SET score = excluded.score, skipped = excluded.skipped, details = excluded.details,
             job_id = excluded.job_id, evaluated_at = now()
         WHERE (gold_results.score, gold_results.details) IS DISTINCT FROM (excluded.score, excluded.details)",
        task.0,
        score,
        details,
        job.0
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Takes a score back whose answer is gone.
pub async fn remove_score(db: &mut PgConnection, task: AssignmentTaskId) -> sqlx::Result<()> {
    sqlx::query!("DELETE FROM gold_results WHERE assignment_task_id = $1", task.0).execute(db).await?;
    Ok(())
}
