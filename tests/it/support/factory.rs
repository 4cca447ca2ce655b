//! Rows with good defaults, for tests that begin where a labeling day already runs.

use labelfleet::domain::{AnnotatorId, AssignmentId, GoldTaskId, LabelingConfigId, RoleId, WorkflowId};
use serde_json::{Value, json};
use sqlx::PgPool;
use uuid::Uuid;

pub const CHOICES: &str = r#"<View><Image name="image" value="$image"/><Choices name="label" toName="image"><Choice value="red"/><Choice value="green"/><Choice value="blue"/></Choices></View>"#;

/// Configs that Label Studio takes: a tag of each kind, several objects, nested views, repeated tags.
pub const CONFIGS: &[&str] = &[
    CHOICES,
    r#"<View><Image name="image" value="$image"/><RectangleLabels name="box" toName="image"><Label value="car"/></RectangleLabels><PolygonLabels name="area" toName="image"><Label value="road"/></PolygonLabels><BrushLabels name="brush" toName="image"><Label value="sky"/></BrushLabels><KeyPointLabels name="point" toName="image"><Label value="nose"/></KeyPointLabels><EllipseLabels name="ellipse" toName="image"><Label value="wheel"/></EllipseLabels><Relations><Relation value="part of"/></Relations></View>"#,
    r#"<View><View className="a"><Header value="Read $title"/><Text name="text" value="$text"/></View><Labels name="ner" toName="text"><Label value="PER" alias="person"/></Labels><Filter name="filter" toName="ner"/><TextArea name="note" toName="text"/><Taxonomy name="topic" toName="text"><Choice value="a"><Choice value="b"/></Choice></Taxonomy><Number name="n" toName="text"/><Rating name="stars" toName="text"/><DateTime name="when" toName="text"/></View>"#,
    r#"<View><Text name="a" value="$a"/><Text name="b" value="$b"/><Pairwise name="better" toName="a,b"/></View>"#,
    r#"<View><Audio name="audio" value="$audio"/><Labels name="speech" toName="audio"><Label value="voice"/></Labels></View>"#,
    r#"<View><Video name="video" value="$video"/><TimelineLabels name="scene" toName="video"><Label value="goal"/></TimelineLabels></View>"#,
    r#"<View><List name="results" value="$items" title="Results"/><Ranker name="rank" toName="results"/></View>"#,
    r#"<View><HyperText name="page" value="$html"/><HyperTextLabels name="part" toName="page"><Label value="title"/></HyperTextLabels><Choices name="dynamic" toName="page" value="$options" choice="multiple"/></View>"#,
    r#"<View><Image name="pages" valueList="$pages"/><Choices name="kind" toName="pages"><View><Choice value="letter"/><Choice value="bill"/></View></Choices></View>"#,
];

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
    let id = idle_annotator(pool, role).await;
    activate(pool, id, 1, "token").await;
    id
}

/// Without an instance.
pub async fn idle_annotator(pool: &PgPool, role: RoleId) -> AnnotatorId {
    let id = sqlx::query_scalar(
        "INSERT INTO annotators (name, email, role_id, subdomain) VALUES ('Ann', $1, $2, $1) RETURNING id",
    )
    .bind(format!("{}@example.com", Uuid::new_v4()))
    .bind(role)
    .fetch_one(pool)
    .await;
    AnnotatorId(id.unwrap())
}

/// Makes them active, with their Label Studio at this port of this machine.
pub async fn activate(pool: &PgPool, id: AnnotatorId, port: u16, token: &str) {
    sqlx::query(
        "UPDATE annotators SET status = 'active', container_id = 'test', container_ip = '127.0.0.1',
             container_port = $2, api_token = $3 WHERE id = $1",
    )
    .bind(id)
    .bind(i32::from(port))
    .bind(token)
    .execute(pool)
    .await
    .unwrap();
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
