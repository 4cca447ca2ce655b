//! Gold tasks, and how their expected labels must fit the labeling config.

use serde_json::{Value, json};

use super::{fields, sorted};
use crate::support::{api::Api, database::Database, factory};

#[tokio::test]
async fn gold_tasks_from_creation_to_deletion() {
    let database = Database::create().await;
    let api = Api::start(&database).await;
    let (config, other) = (api.create_config().await, api.create_config().await);
    let labels = json!([{ "from_name": "label", "to_name": "image", "type": "choices", "value": { "choices": ["cat"] } }]);
    let body = json!({
        "name": "Gold - Cat", "s3ImageKey": "gold/cat_001.jpg", "expectedLabels": labels,
        "labelingConfigId": config, "category": "animals", "difficulty": "easy"
    });
    let gold = api.post("/api/gold-tasks", body.clone()).await.expect(201);
    let expected = [
        "id",
        "name",
        "s3ImageKey",
        "expectedLabels",
        "labelingConfigId",
        "category",
        "difficulty",
        "createdAt",
    ];
    assert_eq!(fields(&gold), sorted(&expected));
    for (field, value) in body.as_object().unwrap() {
        assert_eq!(&gold[field], value, "{field}");
    }
    let path = format!("/api/gold-tasks/{}", gold["id"]);
    assert_eq!(api.get(&path).await.expect(200), gold);

    let plain = json!({ "s3ImageKey": "gold/2.jpg", "expectedLabels": labels, "labelingConfigId": other });
    api.create("/api/gold-tasks", plain).await;
    for (query, count) in [
        ("", 2),
        (&*format!("?labelingConfigId={other}"), 1),
        ("?category=animals", 1),
        ("?category=plants", 0),
        (&*format!("?category=animals&labelingConfigId={other}"), 0),
    ] {
        let list = api.get(&format!("/api/gold-tasks{query}")).await.expect(200);
        assert_eq!(list["pagination"]["total"], count, "{query}");
        assert_eq!(list["data"].as_array().unwrap().len(), count, "{query}");
    }

    let changed = api.put(&path, json!({ "difficulty": "hard", "category": null })).await.expect(200);
    assert_eq!((&changed["difficulty"], &changed["category"]), (&json!("hard"), &Value::Null));
    let (_, named) = api.put(&path, json!({ "labelingConfigId": 999 })).await.expect_error(400);
    assert_eq!(named, ["labelingConfigId"]);
    api.put(&path, json!({})).await.expect_error(400);
    let (_, named) =
        api.put(&path, json!({ "expectedLabels": [factory::choice("cow")] })).await.expect_error(400);
    assert_eq!(named, ["expectedLabels[0].value.choices[0]"]);
    api.delete(&path).await.expect(200);
    api.get(&path).await.expect_error(404);
}

#[tokio::test]
async fn expected_labels_that_no_annotator_can_give_are_named() {
    let database = Database::create().await;
    let api = Api::start(&database).await;
    let config = api.create_config().await;
    let labels = json!([
        factory::choice("cat"),
        { "from_name": "box", "to_name": "image", "type": "rectanglelabels", "value": {} },
        { "from_name": "label", "to_name": "text", "type": "rating", "value": { "rating": 3 } },
        { "from_name": "label", "to_name": "image", "type": "choices", "value": { "choices": ["cat", "cow"] } },
    ]);
    let body = json!({ "s3ImageKey": "", "expectedLabels": labels, "labelingConfigId": config });
    let (_, named) = api.post("/api/gold-tasks", body).await.expect_error(400);
    let expected = [
        "s3ImageKey",
        "expectedLabels[1].from_name",
        "expectedLabels[1].value.x",
        "expectedLabels[1].value.y",
        "expectedLabels[1].value.width",
        "expectedLabels[1].value.height",
        "expectedLabels[1].value.rectanglelabels",
        "expectedLabels[2].to_name",
        "expectedLabels[2].type",
        "expectedLabels[3].value.choices",
        "expectedLabels[3].value.choices[1]",
    ];
    assert_eq!(named, expected);
    assert_eq!(api.get("/api/gold-tasks").await.expect(200)["pagination"]["total"], 0);
}
