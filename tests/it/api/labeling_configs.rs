//! Labeling configs: the XML's rules, what is told of it, and what locks it.

use std::time::Duration;

use serde_json::json;
use sqlx::PgPool;

use super::{fields, is_time, sorted};
use crate::support::{
    api::{Api, CONFIG_XML},
    database::Database,
    factory, wait,
};

#[tokio::test]
async fn labeling_configs_tell_who_uses_them() {
    let database = Database::create().await;
    let api = Api::start(&database).await;
    let body = json!({ "name": "Classes", "description": "cats or dogs", "configXml": CONFIG_XML });
    let id = api.create("/api/labeling-configs", body).await;
    let path = format!("/api/labeling-configs/{id}");
    let config = api.get(&path).await.expect(200);
    let plain = ["id", "name", "description", "configXml", "createdAt"];
    let counts = ["workflowCount", "goldTaskCount", "isLocked", "variables", "objectTags", "controlTags"];
    assert_eq!(fields(&config), sorted(&[&plain[..], &counts[..]].concat()));
    assert_eq!((&config["workflowCount"], &config["isLocked"]), (&json!(0), &json!(false)));
    assert_eq!(config["configXml"], CONFIG_XML);
    let list = api.get("/api/labeling-configs").await.expect(200);
    assert_eq!(fields(&list["data"][0]), sorted(&plain));

    let other = CONFIG_XML.replace("dog", "mouse");
    api.put(&path, json!({ "configXml": other })).await.expect(200);
    let gold = json!({ "s3ImageKey": "gold/1.jpg", "expectedLabels": [factory::choice("cat")], "labelingConfigId": id });
    let gold = api.create("/api/gold-tasks", gold).await;
    let locked = api.get(&path).await.expect(200);
    assert_eq!((&locked["goldTaskCount"], &locked["isLocked"]), (&json!(1), &json!(true)));
    api.put(&path, json!({ "configXml": CONFIG_XML })).await.expect_error(409);
    assert_eq!(api.get(&path).await.expect(200)["configXml"], other);
    // The name may change, and the same XML is no change.
    api.put(&path, json!({ "name": "Animals", "configXml": other })).await.expect(200);
    api.delete(&path).await.expect_error(409);

    api.delete(&format!("/api/gold-tasks/{gold}")).await.expect(200);
    let workflow = json!({
        "name": "w", "s3SourcePath": "a/", "s3ExportPath": "b/", "labelingConfigId": id
    });
    let workflow = api.create("/api/workflows", workflow).await;
    assert_eq!(api.get(&path).await.expect(200)["workflowCount"], 1);
    api.delete(&path).await.expect_error(409);
    api.delete(&format!("/api/workflows/{workflow}")).await.expect(200);
    api.delete(&path).await.expect(200);
}

/// Each of them is also given to a real Label Studio, in `labeling::chain`.
#[tokio::test]
async fn what_label_studio_takes_is_taken_and_told() {
    let database = Database::create().await;
    let api = Api::start(&database).await;
    for xml in factory::CONFIGS {
        let answer = api.post("/api/labeling-configs", json!({ "name": "c", "configXml": xml })).await;
        assert_eq!(answer.expect(201)["configXml"], *xml);
    }
    let config = api.get("/api/labeling-configs/1").await.expect(200);
    assert_eq!(config["variables"], json!(["image"]));
    assert_eq!(config["objectTags"], json!([{ "name": "image", "tag": "Image" }]));
    assert_eq!(config["controlTags"][0]["toName"], json!(["image"]));
    assert!(is_time(&config["createdAt"]), "{config}");
}

#[tokio::test]
async fn every_problem_of_the_xml_is_told_with_its_line() {
    let database = Database::create().await;
    let api = Api::start(&database).await;
    let xml = "<View>\n<Image name='i'/>\n<Rating name='i' toName='x'/>\n</View>";
    let answer = api.post("/api/labeling-configs", json!({ "name": "", "configXml": xml })).await.expect(400);
    let details = answer["details"].as_array().unwrap();
    let told: Vec<_> = details
        .iter()
        .map(|issue| (issue["path"].as_str().unwrap(), issue["message"].as_str().unwrap()))
        .collect();
    assert_eq!(told[0].0, "name");
    let starts: Vec<_> = told[1..].iter().map(|(path, message)| (*path, &message[..6])).collect();
    assert_eq!(
        starts,
        [("configXml", "line 2"), ("configXml", "line 3"), ("configXml", "line 3")],
        "{told:?}"
    );
}

/// Entities are not expanded, nor is anything fetched, and it costs no time.
#[tokio::test]
async fn hostile_xml_is_refused() {
    let database = Database::create().await;
    let api = Api::start(&database).await;
    let laughs = (1..30)
        .map(|n| format!("<!ENTITY l{n} '{}'>", format!("&l{};", n - 1).repeat(10)))
        .collect::<String>();
    for xml in [
        format!("<!DOCTYPE v [<!ENTITY l0 'lol'>{laughs}]><View><Text name='t' value='&l29;'/></View>"),
        "<!DOCTYPE v [<!ENTITY x SYSTEM 'file:///etc/passwd'>]><View><Text name='t' value='$t'/>&x;</View>"
            .into(),
        "<!DOCTYPE v SYSTEM 'http://127.0.0.1:1/x.dtd'><View><Text name='t' value='$t'/></View>".into(),
    ] {
        let (message, named) = api
            .post("/api/labeling-configs", json!({ "name": "c", "configXml": xml }))
            .await
            .expect_error(400);
        assert_eq!(named, ["configXml"]);
        assert!(message.contains("document type declaration"), "{message}");
    }
}

/// Waits until a request stands in line for a lock that the test holds.
async fn until_blocked(pool: &PgPool) {
    wait::until("a request waits for the lock", Duration::from_secs(60), || async {
        let waiting: i64 = sqlx::query_scalar(
            "SELECT count(*) FROM pg_stat_activity
             WHERE datname = current_database() AND wait_event_type = 'Lock' AND backend_type = 'client backend'",
        )
        .fetch_one(pool)
        .await
        .unwrap();
        (waiting > 0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn gold_that_is_being_added_locks_the_xml() {
    let database = Database::create().await;
    let api = Api::start(&database).await;
    let id = api.create_config().await;
    let mut adding = database.pool.begin().await.unwrap();
    sqlx::query(
        "INSERT INTO gold_tasks (s3_image_key, expected_labels, labeling_config_id) VALUES ('a.png', '[{}]', $1)",
    )
    .bind(id)
    .execute(&mut *adding)
    .await
    .unwrap();
    let change = json!({ "configXml": CONFIG_XML.replace("dog", "mouse") });
    let path = format!("/api/labeling-configs/{id}");
    let (answer, ()) = tokio::join!(api.put(&path, change), async {
        until_blocked(&database.pool).await;
        adding.commit().await.unwrap();
    });
    answer.expect_error(409);
    assert_eq!(api.get(&path).await.expect(200)["configXml"], CONFIG_XML);
}

#[tokio::test]
async fn gold_is_held_against_the_xml_that_is_being_written() {
    let database = Database::create().await;
    let api = Api::start(&database).await;
    let id = api.create_config().await;
    let mut changing = database.pool.begin().await.unwrap();
    // As a change takes it.
    sqlx::query("SELECT FROM labeling_configs WHERE id = $1 FOR UPDATE")
        .bind(id)
        .execute(&mut *changing)
        .await
        .unwrap();
    sqlx::query("UPDATE labeling_configs SET config_xml = replace(config_xml, 'cat', 'mouse')")
        .execute(&mut *changing)
        .await
        .unwrap();
    let gold =
        json!({ "s3ImageKey": "a.png", "expectedLabels": [factory::choice("cat")], "labelingConfigId": id });
    let (answer, ()) = tokio::join!(api.post("/api/gold-tasks", gold), async {
        until_blocked(&database.pool).await;
        changing.commit().await.unwrap();
    });
    let (_, named) = answer.expect_error(400);
    assert_eq!(named, ["expectedLabels[0].value.choices[0]"]);
}
