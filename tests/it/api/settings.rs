//! Settings: any JSON by any key, and what is said of those that mean something.

use labelfleet::{domain::settings::KNOWN, store};
use serde_json::json;

use super::{fields, is_time, sorted};
use crate::support::{api::Api, database::Database};

#[tokio::test]
async fn settings_hold_any_json() {
    let database = Database::create().await;
    let api = Api::start(&database).await;
    api.get("/api/settings/s3.bucket").await.expect_error(404);
    let body = json!({ "value": "my-annotation-bucket", "description": "where" });
    let set = api.put("/api/settings/s3.bucket", body).await.expect(200);
    assert_eq!(fields(&set), sorted(&["id", "key", "value", "description", "updatedAt"]));
    assert!(is_time(&set["updatedAt"]), "{set}");
    for value in [json!(null), json!(7.5), json!([1, { "a": [] }]), json!("text"), json!(false)] {
        let set = api.put("/api/settings/s3.bucket", json!({ "value": value })).await.expect(200);
        assert_eq!((&set["value"], &set["description"]), (&value, &json!("where")));
        assert_eq!(api.get("/api/settings/s3.bucket").await.expect(200), set);
    }
    assert_eq!(api.put("/api/settings/x", json!({})).await.expect_error(400).1, ["value"]);
    let long = "k".repeat(201);
    assert_eq!(
        api.put(&format!("/api/settings/{long}"), json!({ "value": 1 })).await.expect_error(400).1,
        ["key"]
    );
    let list = api.get("/api/settings").await.expect(200);
    assert_eq!(list["pagination"]["total"], 1);
    assert_eq!(list["data"][0]["key"], "s3.bucket");
}

#[tokio::test]
async fn known_settings_take_what_they_mean() {
    let database = Database::create().await;
    let api = Api::start(&database).await;
    let mut db = database.pool.acquire().await.unwrap();
    for known in KNOWN {
        let path = format!("/api/settings/{}", known.key);
        let above = json!(known.range.end() + 1.0);
        for bad in [json!("1"), json!([1]), above, json!(-1)] {
            let (message, fields) = api.put(&path, json!({ "value": bad })).await.expect_error(400);
            assert_eq!(fields, ["value"], "{bad}");
            assert!(message.contains(known.unit), "{message}");
        }
        api.get(&path).await.expect_error(404);
        assert_eq!(store::settings::effective(&mut db, known).await.unwrap(), known.default);
        let set = api.put(&path, json!({ "value": known.range.end() })).await.expect(200);
        assert_eq!(set["value"], json!(known.range.end()));
        assert_eq!(store::settings::effective(&mut db, known).await.unwrap(), *known.range.end());
    }
    let both = json!({ "value": "x", "description": "d".repeat(501) });
    let answer = api.put(&format!("/api/settings/{}", KNOWN[0].key), both).await;
    assert_eq!(answer.expect_error(400).1, ["value", "description"]);
}
