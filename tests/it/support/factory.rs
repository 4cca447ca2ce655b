//! Rows with good defaults, for tests that begin where a labeling day already runs.

use labelfleet::domain::{AnnotatorId, AssignmentId, GoldTaskId, LabelingConfigId, RoleId, WorkflowId};
use serde_json::{Value, json};
use sqlx::PgPool;
use uuid::Uuid;

pub const CHOICES: &str = r#"<View><Image name="image" value="$image"/><Choices name="label" toName="image"><Choice value="red"/><Choice value="green"/><Choice value="blue"/></Choices></View>"#;

pub async fn role(pool: &PgPool) -> RoleId {
    let name = format!("role {}", Uuid::new_v4());
    let insert = sqlx::query_scalar("INSERT INTO roles (name) VALUES ($1) RETURNING id").bind(name);
    RoleId(insert.fetch_one(pool).await.unwrap())
}

pub async fn labeling_config(pool: &PgPool) -> LabelingConfigId {
    let insert = "INSERT INTO labeling_configs (name, config_xml) VALUES ('colours', $1) RETURNING id";
    LabelingConfigId(sqlx::query_scalar(insert).bind(CHOICES).fetch_one(pool).await.unwrap())
}

pub struct Workflow {
    pub role: RoleId,
    pub config: LabelingConfigId,
    pub batch: i32,
    pub gold_rate: f64,
    pub shuffle: bool,
}

impl Workflow {
    pub async fn new(pool: &PgPool) -> Self {
        Self {
            role: role(pool).await,
            config: labeling_config(pool).await,
            batch: 10,
            gold_rate: 0.0,
            shuffle: true,
        }
    }

    pub async fn create(&self, pool: &PgPool) -> WorkflowId {
        let insert =
            "INSERT INTO workflows (name, role_id, labeling_config_id, s3_source_path, s3_export_path,
                          images_per_project, gold_standard_rate, shuffle_images)
                      VALUES ('Colours', $1, $2, 'images/', 'exports/', $3, $4, $5) RETURNING id";
        let id = sqlx::query_scalar(insert)
            .bind(self.role)
            .bind(self.config)
            .bind(self.batch)
            .bind(self.gold_rate)
            .bind(self.shuffle)
            .fetch_one(pool)
            .await;
        WorkflowId(id.unwrap())
    }
}

/// Available tasks `images/00000.png`, `images/00001.png` …
pub async fn tasks(pool: &PgPool, workflow: WorkflowId, count: i32) {
    sqlx::query(
        "INSERT INTO tasks (workflow_id, origin, image_key)
         SELECT $1, 's3', format('images/%s.png', lpad(n::text, 5, '0')) FROM generate_series(0, $2 - 1) AS n",
    )
    .bind(workflow)
    .bind(count)
    .execute(pool)
    .await
    .unwrap();
}

pub async fn gold(pool: &PgPool, config: LabelingConfigId, label: &str) -> GoldTaskId {
    let insert = "INSERT INTO gold_tasks (s3_image_key, expected_labels, labeling_config_id)
                  VALUES ($1, $2, $3) RETURNING id";
    let id = sqlx::query_scalar(insert)
        .bind(format!("gold/{}.png", Uuid::new_v4()))
        .bind(json!([choice(label)]))
        .bind(config)
        .fetch_one(pool)
        .await;
    GoldTaskId(id.unwrap())
}

/// One region of [`CHOICES`].
pub fn choice(label: &str) -> Value {
    json!({"from_name": "label", "to_name": "image", "type": "choices", "value": {"choices": [label]}})
}

/// Active, at an address where nobody answers.
pub async fn annotator(pool: &PgPool, role: RoleId) -> AnnotatorId {
    annotator_at(pool, role, 1, "token").await
}

/// Active, with their Label Studio at this port of this machine.
pub async fn annotator_at(pool: &PgPool, role: RoleId, port: u16, token: &str) -> AnnotatorId {
    let insert =
        "INSERT INTO annotators (name, email, role_id, status, container_id, container_ip, container_port,
                      subdomain, api_token)
                  VALUES ('Ann', $1, $2, 'active', 'test', '127.0.0.1', $3, $1, $4) RETURNING id";
    let id = sqlx::query_scalar(insert)
        .bind(format!("{}@example.com", Uuid::new_v4()))
        .bind(role)
        .bind(i32::from(port))
        .bind(token)
        .fetch_one(pool)
        .await;
    AnnotatorId(id.unwrap())
}

/// Takes an assignment past its publishing, as if Label Studio called its tasks 1001, 1002 … by position.
pub async fn publish(pool: &PgPool, assignment: AssignmentId, project: i64) {
    sqlx::query(
        "UPDATE assignments SET gold_at = coalesce(gold_at, now()), ls_project_id = $2, published_at = now(),
             status = 'in_progress' WHERE id = $1",
    )
    .bind(assignment)
    .bind(project)
    .execute(pool)
    .await
    .unwrap();
    sqlx::query("UPDATE assignment_tasks SET ls_task_id = 1001 + position WHERE assignment_id = $1")
        .bind(assignment)
        .execute(pool)
        .await
        .unwrap();
}
