//! A chain of three workflows (label, review, last) with an annotator each, told of by webhooks as Label Studio sends
//! them.

use labelfleet::{
    domain::{AnnotatorId, AssignmentId, RoleId, WorkflowId},
    ops::assign::assign,
    queue,
};
use serde_json::{Value, json};
use sqlx::PgPool;

use super::{
    api::{Answer, Api},
    database::Database,
    factory,
};

const REVIEW: &str = r#"<View><Image name="image" value="$image"/>
    <Choices name="label" toName="image"><Choice value="red"/><Choice value="green"/></Choices>
    <Choices name="review_decision" toName="image"><Choice value="Accept"/><Choice value="Reject"/></Choices>
    <TextArea name="rejection_reason" toName="image"/></View>"#;

pub struct Chain {
    pub api: Api,
    pub queue: queue::Client,
    pub pool: PgPool,
    pub labelers: RoleId,
    pub reviewers: RoleId,
    pub label: WorkflowId,
    pub review: WorkflowId,
    pub last: WorkflowId,
    pub ann: AnnotatorId,
    pub reviewer: AnnotatorId,
}

impl Chain {
    /// With `images` images to label, in batches as large, and rejections treated by these fields.
    pub async fn new(database: &Database, images: i32, rejections: Value) -> Self {
        let api = Api::start(database).await;
        let pool = database.pool.clone();
        let (labelers, reviewers) = (factory::role(&pool).await, factory::role(&pool).await);
        let config = factory::labeling_config(&pool).await;
        let body = json!({ "name": "Review", "configXml": REVIEW });
        let review_config = api.create("/api/labeling-configs", body).await;
        let workflow = |name: &str, role: RoleId, config: i64| {
            json!({ "name": name, "roleId": role, "labelingConfigId": config, "imagesPerProject": images.max(1),
                    "shuffleImages": false, "s3SourcePath": "images/", "s3ExportPath": "exports" })
        };
        let label = workflow("label", labelers, config.0);
        let mut review = workflow("review", reviewers, review_config);
        review["previousWorkflowIndex"] = json!(0);
        review.as_object_mut().unwrap().extend(rejections.as_object().unwrap().clone());
        let mut last = workflow("last", labelers, config.0);
        last["previousWorkflowIndex"] = json!(1);
        // What the tests assign, they assign themselves.
        let list = [label, review, last].map(|mut workflow| {
            workflow["autoAssign"] = json!(false);
            workflow
        });
        let made = api.post("/api/workflows/bulk", json!({ "workflows": list })).await.expect(201);
        let id = |n: usize| WorkflowId(made["workflows"][n]["id"].as_i64().unwrap());
        factory::tasks(&pool, id(0), images).await;
        Self {
            queue: queue::Client::new(pool.clone()),
            labelers,
            reviewers,
            label: id(0),
            review: id(1),
            last: id(2),
            ann: factory::annotator(&pool, labelers).await,
            reviewer: factory::annotator(&pool, reviewers).await,
            api,
            pool,
        }
    }

    /// A batch in Label Studio: its project has the assignment's number, its tasks are 1001, 1002 …
    pub async fn hand_out(&self, workflow: WorkflowId, to: AnnotatorId) -> AssignmentId {
        let assignment = assign(&self.queue, workflow, to).await.unwrap();
        factory::publish(&self.pool, assignment, assignment.0).await;
        assignment
    }

    pub async fn tell(&self, annotator: AnnotatorId, body: &Value) -> Answer {
        let request = self.api.stranger().client.post(format!("{}/api/webhook", self.api.url));
        let request = request
            .header("X-Annotator-Id", annotator.0)
            .header("X-Webhook-Secret", self.api.webhook_secret(annotator.0));
        self.api.send(request.json(body)).await
    }

    /// Labels every task of a batch.
    pub async fn label_all(&self, assignment: AssignmentId, by: AnnotatorId, label: &str) {
        for n in 1..=self.size(assignment).await {
            let body = event("ANNOTATION_CREATED", assignment, n, 0, &json!([factory::choice(label)]));
            self.tell(by, &body).await.expect(200);
        }
    }

    /// Decides on task `n` of a batch.
    pub async fn decide(&self, assignment: AssignmentId, n: i64, action: &str, second: u32, says: &Value) {
        self.tell(self.reviewer, &event(action, assignment, n, second, says)).await.expect(200);
    }

    async fn size(&self, assignment: AssignmentId) -> i64 {
        let count = "SELECT count(*) FROM assignment_tasks WHERE assignment_id = $1";
        sqlx::query_scalar(count).bind(assignment).fetch_one(&self.pool).await.unwrap()
    }

    /// `(image, status, iteration)` of a workflow's tasks, by age.
    pub async fn tasks(&self, workflow: WorkflowId) -> Vec<(String, String, i32)> {
        sqlx::query_as(
            "SELECT split_part(image_key, '/', 2), status, iteration FROM tasks WHERE workflow_id = $1 ORDER BY id",
        )
        .bind(workflow)
        .fetch_all(&self.pool)
        .await
        .unwrap()
    }

    /// `(reviewed_count, rejection_count)`.
    pub async fn counters(&self, annotator: AnnotatorId) -> (i32, i32) {
        sqlx::query_as("SELECT reviewed_count, rejection_count FROM annotators WHERE id = $1")
            .bind(annotator)
            .fetch_one(&self.pool)
            .await
            .unwrap()
    }

    /// The only rejection, as the API shows it.
    pub async fn rejection(&self) -> Value {
        let list = self.api.get("/api/rejections").await.expect(200);
        assert_eq!(list["pagination"]["total"], 1, "{list}");
        let path = format!("/api/rejections/{}", list["data"][0]["id"]);
        self.api.get(&path).await.expect(200)
    }
}

pub fn accept() -> Value {
    json!([{"from_name": "review_decision", "to_name": "image", "type": "choices", "value": {"choices": ["Accept"]}}])
}

pub fn reject(reason: &str) -> Value {
    json!([
        {"from_name": "review_decision", "to_name": "image", "type": "choices", "value": {"choices": ["Reject"]}},
        {"from_name": "rejection_reason", "to_name": "image", "type": "textarea", "value": {"text": [reason]}},
    ])
}

/// What Label Studio sends of task `n` of a batch; each task has one annotation.
pub fn event(action: &str, assignment: AssignmentId, n: i64, second: u32, result: &Value) -> Value {
    let (task, annotation) = (1000 + n, assignment.0 * 100 + n);
    let time = format!("2026-04-06T12:00:{second:02}.000001Z");
    if action == "ANNOTATIONS_DELETED" {
        return json!({"action": action, "annotations": [{"id": annotation}], "project": {"id": assignment}});
    }
    json!({
        "action": action,
        "annotation": {"id": annotation, "result": result, "was_cancelled": false, "lead_time": 2.5,
            "created_at": time, "updated_at": time, "task": task, "project": assignment},
        "project": {"id": assignment, "title": format!("Batch {assignment}")},
        "task": {"id": task, "data": {"image": "http://elsewhere/x.png"}},
    })
}
