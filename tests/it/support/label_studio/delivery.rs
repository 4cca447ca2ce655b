//! Webhooks as Label Studio sends them: inside the request that caused them, with one second's patience, once.
//! What a network does to them on the way is planned by the test.

use std::{sync::atomic::Ordering, time::Duration};

use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use serde_json::{Map, Value};

use super::Shared;

/// Label Studio's `WEBHOOK_TIMEOUT`.
const TIMEOUT: Duration = Duration::from_secs(1);

/// What becomes of one webhook.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    Deliver,
    Lose,
    Double,
    /// Kept until the test releases it.
    Hold,
}

#[derive(Debug, Clone)]
pub struct Delivery {
    url: String,
    headers: HeaderMap,
    pub body: Value,
}

pub fn client() -> reqwest::Client {
    reqwest::Client::builder().timeout(TIMEOUT).no_proxy().build().unwrap()
}

impl Shared {
    /// Tells every active webhook of the project that wants this action.
    pub async fn tell(&self, project: i64, action: &str, payload: Value) {
        let deliveries = self.deliveries(project, action, payload);
        for delivery in deliveries {
            let fate = (self.plan.lock().unwrap())(action);
            match fate {
                Fate::Deliver => self.send(&delivery).await,
                Fate::Double => {
                    self.send(&delivery).await;
                    self.send(&delivery).await;
                }
                Fate::Hold => self.held.lock().unwrap().push(delivery),
                Fate::Lose => {}
            }
        }
    }

    fn deliveries(&self, project: i64, action: &str, payload: Value) -> Vec<Delivery> {
        let world = self.world.lock().unwrap();
        let mut body = Map::from_iter([("action".to_owned(), Value::from(action))]);
        body.extend(payload.as_object().cloned().unwrap_or_default());
        if let Some(project) = world.project(project) {
            body.insert("project".to_owned(), project);
        }
        let hears = |webhook: &&Value| {
            let wants = webhook["actions"].as_array().is_some_and(|all| all.contains(&action.into()));
            webhook["project"] == project && webhook["is_active"] == true && wants
        };
        let webhooks = world.webhooks.values().filter(hears);
        webhooks
            .map(|webhook| Delivery {
                url: webhook["url"].as_str().unwrap().to_owned(),
                headers: headers(&webhook["headers"]),
                body: body.clone().into(),
            })
            .collect()
    }

    /// Any failure is Label Studio's log's business only.
    pub async fn send(&self, delivery: &Delivery) {
        let request = self.http.post(&delivery.url).headers(delivery.headers.clone()).json(&delivery.body);
        let is_taken = request.send().await.is_ok_and(|answer| answer.status().is_success());
        if !is_taken {
            self.not_delivered.fetch_add(1, Ordering::SeqCst);
        }
    }
}

fn headers(given: &Value) -> HeaderMap {
    let given = given.as_object().into_iter().flatten();
    given
        .map(|(name, value)| {
            let name: HeaderName = name.parse().unwrap();
            (name, HeaderValue::from_str(value.as_str().unwrap()).unwrap())
        })
        .collect()
}
