//! What reviewers say of earlier work: the decision of a place in their batch, the rejection that stands behind it,
//! and the counters of the annotator whose work it was. Whoever writes here holds the batch's row lock.

use serde_json::Value;
use sqlx::PgConnection;

use crate::domain::{AnnotationId, AssignmentTaskId, RejectionId, RejectionStatus, ReviewDecision};

/// What stands at a place.
#[derive(Debug)]
pub struct Standing {
    /// As decided before.
    pub decision: Option<ReviewDecision>,
    /// None: the place has no annotation, or is skipped.
    pub annotation_id: Option<AnnotationId>,
    pub result: Option<Value>,
}

pub async fn standing(db: &mut PgConnection, place: AssignmentTaskId) -> sqlx::Result<Standing> {
    sqlx::query_as!(
        Standing,
        r#"SELECT review_decision AS "decision: ReviewDecision", standing.id AS "annotation_id?: AnnotationId",
                  standing.payload -> 'result' AS result
           FROM assignment_tasks
           LEFT JOIN LATERAL
               (SELECT id, payload FROM annotations
                WHERE assignment_task_id = assignment_tasks.id AND deleted_at IS NULL AND NOT was_cancelled
                ORDER BY ls_updated_at DESC, ls_annotation_id DESC LIMIT 1) AS standing ON true
           WHERE assignment_tasks.id = $1"#,
        place.0
    )
    .fetch_one(db)
    .await
}

/// A place's rejection.
#[derive(Debug, Clone, Copy)]
pub struct Known {
    pub id: RejectionId,
    pub status: RejectionStatus,
}

/// The rejection of a place, if there is one, locked: nobody routes it meanwhile.
pub async fn rejection(db: &mut PgConnection, place: AssignmentTaskId) -> sqlx::Result<Option<Known>> {
    sqlx::query_as!(
        Known,
        r#"SELECT id AS "id: RejectionId", status AS "status: RejectionStatus"
           FROM rejections WHERE assignment_task_id = $1 FOR UPDATE"#,
        place.0
    )
    .fetch_optional(db)
    .await
}

pub async fn decide(
    db: &mut PgConnection,
    place: AssignmentTaskId,
    decision: Option<ReviewDecision>,
) -> sqlx::Result<()> {
    sqlx::query!(
        "UPDATE assignment_tasks SET review_decision = $2 WHERE id = $1 AND review_decision IS DISTINCT FROM $2",
        place.0,
        decision.map(ReviewDecision::as_str)
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Keeps a rejection that is to be routed: a new one, one that was withdrawn, or one that says something else now.
/// None if nothing is new, or the place goes on with no earlier work: then there is nothing to reject.
pub async fn reject(
    db: &mut PgConnection,
    place: AssignmentTaskId,
    annotation: AnnotationId,
    reason: Option<&str>,
) -> sqlx::Result<Option<RejectionId>> {
    sqlx::query_scalar!(
        r#"INSERT INTO rejections
               (assignment_task_id, annotation_id, workflow_id, reviewer_annotator_id, reviewer_assignment_id, task_id,
                original_annotation_id, original_annotator_id, original_assignment_id, image_key, reason, iteration,
                action_taken, flags_annotator)
           SELECT place.id, $2, batch.workflow_id, batch.annotator_id, batch.id, task.source_task_id, original.id,
                  original.annotator_id, original_place.assignment_id, task.image_key, $3, task.iteration + 1,
                  rejection_mode, rejection_flag_annotator
           FROM assignment_tasks AS place
           JOIN assignments AS batch ON batch.id = place.assignment_id
           JOIN workflows ON workflows.id = batch.workflow_id
           JOIN tasks AS task ON task.id = place.task_id
           JOIN annotations AS original ON original.id = task.source_annotation_id
           JOIN assignment_tasks AS original_place ON original_place.id = original.assignment_task_id
           WHERE place.id = $1
           ON CONFLICT ON CONSTRAINT rejections_assignment_task_id_key DO UPDATE
           SET annotation_id = excluded.annotation_id, reason = excluded.reason, status = 'pending',
               action_taken = excluded.action_taken, flags_annotator = excluded.flags_annotator,
               updated_at = clock_timestamp()
           WHERE rejections.status = 'withdrawn'
              OR (rejections.annotation_id, rejections.reason) IS DISTINCT FROM (excluded.annotation_id, excluded.reason)
           RETURNING id AS "id: RejectionId""#,
        place.0,
        annotation.0,
        reason
    )
    .fetch_optional(db)
    .await
}

/// Takes a rejection back, and its rework with it as long as nobody got it. False if somebody did: then it stands.
pub async fn withdraw(db: &mut PgConnection, rejection: RejectionId) -> sqlx::Result<bool> {
    sqlx::query!(
        "UPDATE tasks SET status = 'withdrawn', updated_at = now() WHERE rejection_id = $1 AND status = 'available'",
        rejection.0
    )
    .execute(&mut *db)
    .await?;
    if is_in_hand(db, rejection).await? {
        return Ok(false);
    }
    sqlx::query!(
        "WITH withdrawn AS (
             UPDATE rejections SET status = 'withdrawn', updated_at = clock_timestamp()
             WHERE id = $1 AND status <> 'withdrawn' RETURNING task_id
         )
         UPDATE tasks SET status = 'completed', updated_at = now()
         WHERE id = (SELECT task_id FROM withdrawn) AND status = 'escalated'",
        rejection.0
    )
    .execute(db)
    .await?;
    Ok(true)
}

/// Whether the rework that a rejection called for was handed out.
pub async fn is_in_hand(db: &mut PgConnection, rejection: RejectionId) -> sqlx::Result<bool> {
    sqlx::query_scalar!(
        r#"SELECT EXISTS (SELECT FROM tasks WHERE rejection_id = $1 AND status NOT IN ('available', 'withdrawn'))
               AS "in_hand!""#,
        rejection.0
    )
    .fetch_one(db)
    .await
}

/// Brings the counters of the annotator whose work was reviewed to what the place says. What is counted is kept with
/// the place and its rejection, so a second call changes nothing. Locks the batch first, as everybody does.
pub async fn count(db: &mut PgConnection, place: AssignmentTaskId) -> sqlx::Result<()> {
    sqlx::query!(
        "SELECT FROM assignments WHERE id = (SELECT assignment_id FROM assignment_tasks WHERE id = $1)
         FOR NO KEY UPDATE",
        place.0
    )
    .fetch_optional(&mut *db)
    .await?;
    sqlx::query!(
        "WITH review AS (
             SELECT place.id, original.annotator_id, is_review_counted AS was_counted,
                    review_decision IS NOT NULL AS is_counted, rejections.id AS rejection_id,
                    COALESCE(is_flagged, false) AS was_flagged,
                    COALESCE(flags_annotator AND rejections.status <> 'withdrawn', false) AS is_flagged
             FROM assignment_tasks AS place
             JOIN tasks ON tasks.id = place.task_id
             JOIN annotations AS original ON original.id = tasks.source_annotation_id
             LEFT JOIN rejections ON rejections.assignment_task_id = place.id
             WHERE place.id = $1
         ), counted AS (
             UPDATE assignment_tasks SET is_review_counted = is_counted
             FROM review WHERE assignment_tasks.id = review.id AND was_counted <> is_counted
         ), flagged AS (
             UPDATE rejections SET is_flagged = review.is_flagged
             FROM review WHERE rejections.id = review.rejection_id AND was_flagged <> review.is_flagged
         )
         UPDATE annotators
         SET reviewed_count = reviewed_count + is_counted::integer - was_counted::integer,
             rejection_count = rejection_count + is_flagged::integer - was_flagged::integer
         FROM review
         WHERE annotators.id = review.annotator_id AND (was_counted, was_flagged) <> (is_counted, is_flagged)",
        place.0
    )
    .execute(db)
    .await?;
    Ok(())
}
