//! Rows put in place in bulk.

use labelfleet::domain::{AnnotatorId, RoleId, WorkflowId};
use sqlx::PgPool;

pub const CHOICES: &str = r#"<View><Image name="image" value="$image"/><RectangleLabels name="label" toName="image"><Label value="car"/><Label value="person"/><Label value="sign"/></RectangleLabels></View>"#;

/// A workflow that assigns batches of `batch`, shuffled, from `images/`, and its role.
pub async fn workflow(pool: &PgPool, batch: i32) -> sqlx::Result<(WorkflowId, RoleId)> {
    let role =
        sqlx::query_scalar("INSERT INTO roles (name) VALUES ('bench') RETURNING id").fetch_one(pool).await?;
    let config: i64 = sqlx::query_scalar(
        "INSERT INTO labeling_configs (name, config_xml) VALUES ('boxes', $1) RETURNING id",
    )
    .bind(CHOICES)
    .fetch_one(pool)
    .await?;
    let workflow = sqlx::query_scalar(
        "INSERT INTO workflows (name, role_id, labeling_config_id, s3_source_path, s3_export_path, images_per_project)
         VALUES ('Boxes', $1, $2, 'images/', 'exports/', $3) RETURNING id",
    )
    .bind(role)
    .bind(config)
    .bind(batch)
    .fetch_one(pool)
    .await?;
    Ok((workflow, role))
}

/// Active annotators, at an address where nobody answers.
pub async fn annotators(pool: &PgPool, role: RoleId, count: i32) -> sqlx::Result<Vec<AnnotatorId>> {
    sqlx::query_scalar(
        "INSERT INTO annotators (name, email, role_id, status, container_id, container_ip, container_port, api_token)
         SELECT 'Ann ' || n, n || '@example.com', $1, 'active', 'bench', '127.0.0.1', 9, 'token'
         FROM generate_series(1, $2) AS n RETURNING id",
    )
    .bind(role)
    .bind(count)
    .fetch_all(pool)
    .await
}

/// Tasks in this status.
pub async fn tasks(pool: &PgPool, workflow: WorkflowId, count: i64, status: &str) -> sqlx::Result<()> {
    sqlx::query(
        "INSERT INTO tasks (workflow_id, origin, image_key, size_bytes, status)
         SELECT $1, 's3', format('images/%s.jpg', lpad(n::text, 8, '0')), 250000, $3
         FROM generate_series(1, $2) AS n",
    )
    .bind(workflow)
    .bind(count)
    .bind(status)
    .execute(pool)
    .await?;
    sqlx::query("VACUUM ANALYZE tasks").execute(pool).await?;
    Ok(())
}

/// Deals the workflow's assigned tasks out in published batches, to each of `annotators` in turn. Label Studio calls
/// each task as we do, and the project by the batch's number.
pub async fn published_batches(
    pool: &PgPool,
    workflow: WorkflowId,
    annotators: &[AnnotatorId],
    batches: i64,
    batch: i32,
) -> sqlx::Result<()> {
    let annotators: Vec<i64> = annotators.iter().map(|annotator| annotator.0).collect();
    sqlx::query(
        "INSERT INTO assignments
             (workflow_id, annotator_id, status, task_count, ls_project_id, gold_at, published_at)
         SELECT $1, $2[1 + n % cardinality($2)], 'in_progress', $4, n, now(), now()
         FROM generate_series(0, $3 - 1) AS n",
    )
    .bind(workflow)
    .bind(&annotators)
    .bind(batches)
    .bind(batch)
    .execute(pool)
    .await?;
    sqlx::query(
        "INSERT INTO assignment_tasks (assignment_id, task_id, position, ls_task_id)
         SELECT assignments.id, dealt.id, dealt.place % $2, dealt.id
         FROM (SELECT id, row_number() OVER (ORDER BY id) - 1 AS place FROM tasks
               WHERE workflow_id = $1 AND status = 'assigned') AS dealt
         JOIN assignments ON ls_project_id = dealt.place / $2",
    )
    .bind(workflow)
    .bind(batch)
    .execute(pool)
    .await?;
    sqlx::query("VACUUM ANALYZE").execute(pool).await?;
    Ok(())
}
