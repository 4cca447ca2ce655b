//! What holds for every list: the envelope, the pages, and what is said of bad ones. Walks the lists that the
//! OpenAPI document names.

use labelfleet::http;
use serde_json::{Value, json};

use crate::support::{api::Api, database::Database};

/// Path and query parameters of every operation that takes `limit`.
fn lists() -> Vec<(String, Vec<String>)> {
    let document = serde_json::to_value(http::document()).unwrap();
    let mut lists = Vec::new();
    for (path, operations) in document["paths"].as_object().unwrap() {
        let parameters = operations["get"]["parameters"].as_array().into_iter().flatten();
        let query: Vec<String> = parameters
            .filter(|parameter| parameter["in"] == "query")
            .map(|parameter| parameter["name"].as_str().unwrap().to_owned())
            .collect();
        // Pages by id are another thing: api/jobs.rs.
        let is_keyset = query.iter().any(|name| name == "before");
        if !is_keyset && query.iter().any(|name| name == "limit") {
            assert!(query.iter().any(|name| name == "offset"), "{path} has a limit and no offset");
            lists.push((path.clone(), query));
        }
        let answer = &operations["get"]["responses"]["200"]["content"]["application/json"]["schema"];
        let is_page = answer["$ref"].as_str().is_some_and(|name| name.contains("Paginated"));
        assert_eq!(is_page, lists.last().is_some_and(|(last, _)| last == path), "{path}: {answer}");
    }
    assert!(lists.len() >= 8, "{lists:?}");
    lists
}

fn pagination(total: i64, limit: i64, offset: i64, has_more: bool) -> Value {
    json!({ "total": total, "limit": limit, "offset": offset, "hasMore": has_more })
}

#[tokio::test]
async fn every_list_refuses_pages_that_are_none() {
    let database = Database::create().await;
    let api = Api::start(&database).await;
    for (path, _) in lists() {
        let cases: [(&str, &[&str]); 12] = [
            ("limit=0", &["limit"]),
            ("limit=501", &["limit"]),
            ("limit=-1", &["limit"]),
            ("limit=abc", &["limit"]),
            ("limit=", &["limit"]),
            ("limit=1.5", &["limit"]),
            ("limit=1&limit=2", &["limit"]),
            ("limit=99999999999999999999", &["limit"]),
            ("offset=-1", &["offset"]),
            ("offset=99999999999999999999", &["offset"]),
            ("limit=501&offset=-1", &["limit", "offset"]),
            ("limit=abc&offset=abc", &["limit", "offset"]),
        ];
        for (query, expected) in cases {
            let (message, fields) = api.get(&format!("{path}?{query}")).await.expect_error(400);
            assert_eq!(fields, expected, "{path}?{query}: {message}");
        }
    }
}

#[tokio::test]
async fn every_list_has_the_envelope_and_an_end() {
    let database = Database::create().await;
    let api = Api::start(&database).await;
    for (path, _) in lists() {
        let plain = api.get(&path).await.expect(200);
        let total = plain["pagination"]["total"].as_i64().unwrap();
        assert_eq!(plain["pagination"], pagination(total, 100, 0, false), "{path}");
        assert_eq!(plain["data"].as_array().unwrap().len() as i64, total, "{path}");
        for offset in [i64::from(i32::MAX), i64::MAX - 1, i64::MAX] {
            let beyond = api.get(&format!("{path}?limit=500&offset={offset}")).await.expect(200);
            assert_eq!(
                beyond,
                json!({ "data": [], "pagination": pagination(total, 500, offset, false) }),
                "{path}"
            );
        }
        api.get(&format!("{path}?limit=1&nobodyKnowsThis=1")).await.expect(200);
    }
}

/// A filter that is no such thing is named together with the page.
#[tokio::test]
async fn every_bad_parameter_is_named_at_once() {
    let database = Database::create().await;
    let api = Api::start(&database).await;
    let mut filtered = 0;
    for (path, parameters) in lists() {
        let ids: Vec<_> = parameters.iter().filter(|name| name.ends_with("Id")).cloned().collect();
        let bad: String = ids.iter().map(|name| format!("&{name}=x")).collect();
        let (_, fields) = api.get(&format!("{path}?limit=0&offset=x{bad}")).await.expect_error(400);
        for field in ["limit".to_owned(), "offset".to_owned()].iter().chain(&ids) {
            assert!(fields.contains(field), "{path}: {field} is not among {fields:?}");
        }
        filtered += ids.len();
    }
    assert!(filtered >= 3, "{filtered} filters");
}

#[tokio::test]
async fn pages_follow_each_other() {
    let database = Database::create().await;
    let api = Api::start(&database).await;
    for number in 0..5 {
        api.create_role(&format!("r{number}")).await;
    }
    let all = api.get("/api/roles").await.expect(200)["data"].clone();
    for (limit, offset, has_more) in [(2, 0, true), (2, 2, true), (2, 4, false), (5, 0, false), (3, 2, false)]
    {
        let page = api.get(&format!("/api/roles?limit={limit}&offset={offset}")).await.expect(200);
        assert_eq!(page["pagination"], pagination(5, limit, offset, has_more));
        let expected = all.as_array().unwrap().iter().skip(offset as usize).take(limit as usize);
        assert_eq!(page["data"].as_array().unwrap().iter().collect::<Vec<_>>(), expected.collect::<Vec<_>>());
    }
}
