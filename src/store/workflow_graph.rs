//! How workflows hang together: the chain that one stands in, and the whole as a graph with live figures.

use serde::Serialize;
use sqlx::PgConnection;
use utoipa::ToSchema;

use crate::domain::{RejectionMode, RoleId, WorkflowId};

/// A workflow in a chain.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ChainLink {
    #[schema(value_type = i64)]
    pub id: WorkflowId,
    pub name: String,
    #[schema(value_type = Option<i64>)]
    pub previous_workflow_id: Option<WorkflowId>,
    pub is_active: bool,
}

/// The way that leads to a workflow: from its origin to itself.
pub async fn upstream(db: &mut PgConnection, id: WorkflowId) -> sqlx::Result<Vec<ChainLink>> {
    sqlx::query_as!(
        ChainLink,
        r#"WITH RECURSIVE link AS (
               SELECT id, previous_workflow_id, 0 AS step FROM workflows WHERE id = $1
               UNION ALL
               SELECT workflows.id, workflows.previous_workflow_id, step + 1
               FROM link JOIN workflows ON workflows.id = link.previous_workflow_id
           ) CYCLE id SET is_cycle USING path
           SELECT workflows.id AS "id: WorkflowId", name,
                  workflows.previous_workflow_id AS "previous_workflow_id: WorkflowId", is_active
           FROM link JOIN workflows ON workflows.id = link.id
           WHERE NOT is_cycle ORDER BY step DESC"#,
        id.0
    )
    .fetch_all(db)
    .await
}

/// All that follow a workflow, the nearest first.
pub async fn downstream(db: &mut PgConnection, id: WorkflowId) -> sqlx::Result<Vec<ChainLink>> {
    sqlx::query_as!(
        ChainLink,
        r#"WITH RECURSIVE link AS (
               SELECT $1::bigint AS id, 0 AS step
               UNION ALL
               SELECT workflows.id, step + 1
               FROM link JOIN workflows ON workflows.previous_workflow_id = link.id
           ) CYCLE id SET is_cycle USING path
           SELECT workflows.id AS "id: WorkflowId", name,
                  previous_workflow_id AS "previous_workflow_id: WorkflowId", is_active
           FROM link JOIN workflows ON workflows.id = link.id
           WHERE NOT is_cycle AND step > 0 ORDER BY step, workflows.id"#,
        id.0
    )
    .fetch_all(db)
    .await
}

/// A workflow with its ways out and its figures.
#[derive(Debug, Clone)]
pub struct Node {
    pub id: WorkflowId,
    pub name: String,
    pub role_id: Option<RoleId>,
    pub role_name: Option<String>,
    pub role_color: Option<String>,
    pub is_active: bool,
    pub previous_workflow_id: Option<WorkflowId>,
    pub rejection_mode: RejectionMode,
    pub rejection_route_workflow_id: Option<WorkflowId>,
    pub total_assignments: i64,
    pub completed_assignments: i64,
    pub active_annotators: i64,
    /// Decisions of reviewers in this workflow, and how many of them reject.
    pub reviewed: i64,
    pub rejected: i64,
}

/// Every workflow, by id. Assignments are counted in one pass and decisions over an index that holds nothing else.
pub async fn nodes(db: &mut PgConnection) -> sqlx::Result<Vec<Node>> {
    sqlx::query_as!(
        Node,
        r#"WITH batches AS (
               SELECT workflow_id, count(*) AS total, count(*) FILTER (WHERE status = 'completed') AS completed,
                      count(DISTINCT annotator_id) FILTER (WHERE status IN ('pending', 'in_progress')) AS annotators
               FROM assignments GROUP BY workflow_id
           ), reviews AS (
               SELECT workflow_id, sum(reviewed)::bigint AS reviewed, sum(rejected)::bigint AS rejected
               FROM (SELECT assignment_id, count(*) AS reviewed,
                            count(*) FILTER (WHERE review_decision = 'reject') AS rejected
                     FROM assignment_tasks WHERE review_decision IS NOT NULL GROUP BY assignment_id) AS counted
               JOIN assignments ON assignments.id = assignment_id
               GROUP BY workflow_id
           )
           SELECT workflows.id AS "id: WorkflowId", workflows.name, role_id AS "role_id: RoleId",
                  roles.name AS "role_name?", roles.color AS "role_color?", is_active,
                  previous_workflow_id AS "previous_workflow_id: WorkflowId",
                  rejection_mode AS "rejection_mode: RejectionMode",
                  rejection_route_workflow_id AS "rejection_route_workflow_id: WorkflowId",
                  COALESCE(total, 0) AS "total_assignments!", COALESCE(completed, 0) AS "completed_assignments!",
                  COALESCE(annotators, 0) AS "active_annotators!",
                  COALESCE(reviewed, 0) AS "reviewed!", COALESCE(rejected, 0) AS "rejected!"
           FROM workflows
           LEFT JOIN roles ON roles.id = role_id
           LEFT JOIN batches ON batches.workflow_id = workflows.id
           LEFT JOIN reviews ON reviews.workflow_id = workflows.id
           ORDER BY workflows.id"#
    )
    .fetch_all(db)
    .await
}
