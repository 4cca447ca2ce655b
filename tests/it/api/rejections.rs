//! The audit trail of rejected work.

use serde_json::json;

use super::{fields, is_time, sorted};
use crate::support::{
    database::Database,
    review::{Chain, accept, reject},
};

const FIELDS: &[&str] = &[
    "id",
    "workflowId",
    "taskId",
    "imageKey",
    "reason",
    "iteration",
    "status",
    "escalated",
    "actionTaken",
    "archiveKey",
    "flagged",
    "originalAnnotatorId",
    "originalAssignmentId",
    "reviewerAnnotatorId",
    "reviewerAssignmentId",
    "reworkTaskId",
    "routedToAssignmentId",
    "routedAt",
    "createdAt",
    "originalAnnotator",
    "reviewerAnnotator",
];

/// Work of three tasks whose reviewer rejects the first two.
async fn rejected(database: &Database) -> Chain {
    let chain = Chain::new(database, 3, json!({ "rejectionMode": "archive" })).await;
    let batch = chain.hand_out(chain.label, chain.ann).await;
    chain.label_all(batch, chain.ann, "red").await;
    let mut tx = chain.queue.begin().await.unwrap();
    labelfleet::ops::chaining::go_on(&mut tx, batch).await.unwrap();
    tx.commit().await.unwrap();
    let review = chain.hand_out(chain.review, chain.reviewer).await;
    chain.decide(review, 1, "ANNOTATION_CREATED", 1, &reject("too loose")).await;
    chain.decide(review, 2, "ANNOTATION_CREATED", 2, &reject(" ")).await;
    chain.decide(review, 3, "ANNOTATION_CREATED", 3, &accept()).await;
    chain
}

#[tokio::test]
async fn rejections_are_listed_by_whom_where_and_what_was_done() {
    let database = Database::create().await;
    let chain = rejected(&database).await;
    let all = chain.api.get("/api/rejections").await.expect(200);
    let rows = all["data"].as_array().unwrap();
    assert_eq!(fields(&rows[0]), sorted(FIELDS));
    assert_eq!(fields(&rows[0]["originalAnnotator"]), ["email", "id", "name"]);
    // The newest first.
    let reasons: Vec<_> = rows.iter().map(|row| &row["reason"]).collect();
    assert_eq!(reasons, [&json!(null), &json!("too loose")]);
    let first = rows[1]["id"].as_i64().unwrap();
    let (review, ann, reviewer) = (chain.review, chain.ann, chain.reviewer);
    for (query, count) in [
        (format!("workflowId={review}&annotatorId={ann}&actionTaken=archive"), 2),
        (format!("workflowId={}", chain.label), 0),
        (format!("annotatorId={reviewer}"), 0),
        ("actionTaken=none".into(), 0),
        ("actionTaken=route_to_workflow".into(), 0),
    ] {
        let list = chain.api.get(&format!("/api/rejections?{query}")).await.expect(200);
        assert_eq!(list["pagination"]["total"], count, "{query}");
        assert_eq!(list["data"].as_array().unwrap().len(), count, "{query}");
    }
    let page = chain.api.get("/api/rejections?limit=1&offset=1").await.expect(200);
    assert_eq!(page["data"][0]["id"], first);
    let (_, named) = chain.api.get("/api/rejections?actionTaken=forget&limit=0").await.expect_error(400);
    assert_eq!(sorted(&named.iter().map(String::as_str).collect::<Vec<_>>()), ["actionTaken", "limit"]);
}

#[tokio::test]
async fn a_rejection_is_shown_with_all_that_belongs_to_it() {
    let database = Database::create().await;
    let chain = rejected(&database).await;
    let list = chain.api.get("/api/rejections").await.expect(200);
    let rejection = chain.api.get(&format!("/api/rejections/{}", list["data"][1]["id"])).await.expect(200);
    let relations = ["reviewerAssignment", "originalAssignment", "routedToAssignment"];
    assert_eq!(fields(&rejection), sorted(&[FIELDS, &relations].concat()));
    let expected = json!({
        "workflowId": chain.review, "imageKey": "images/00000.png", "reason": "too loose", "iteration": 1,
        "status": "pending", "escalated": false, "actionTaken": "archive", "archiveKey": null,
        "originalAnnotatorId": chain.ann, "reviewerAnnotatorId": chain.reviewer, "routedAt": null,
        "routedToAssignment": null, "reworkTaskId": null,
    });
    for (field, value) in expected.as_object().unwrap() {
        assert_eq!(&rejection[field], value, "{field}");
    }
    assert_eq!(rejection["reviewerAssignment"]["workflow"], json!({ "id": chain.review, "name": "review" }));
    assert_eq!(rejection["reviewerAssignment"]["id"], rejection["reviewerAssignmentId"]);
    assert_eq!(rejection["originalAssignment"]["workflow"]["name"], "label");
    assert_eq!(rejection["originalAssignment"]["annotator"]["id"], chain.ann.0);
    assert!(is_time(&rejection["createdAt"]), "{rejection}");
    chain.api.get("/api/rejections/999").await.expect_error(404);
    chain.api.get("/api/rejections/x").await.expect_error(400);
    // A workflow whose work is in the audit trail stays.
    chain.api.delete(&format!("/api/workflows/{}", chain.review)).await.expect_error(409);
}
