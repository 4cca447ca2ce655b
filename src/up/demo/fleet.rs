//! The fleet's public HTTP API, as any program outside would call it.

use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use reqwest::{Client, Method, RequestBuilder};
use serde_json::Value;

use super::screen::seconds;

/// A batch is assigned, or exported and scored, within this.
pub const STEP: Duration = Duration::from_secs(120);

pub struct Fleet {
    http: Client,
    base: String,
}

impl Fleet {
    /// Logs in, as `docs` of the API say: a CSRF token, then the form; the session is a cookie.
    pub async fn log_in(base: &str, email: &str, password: &str) -> anyhow::Result<Self> {
        let http = Client::builder().cookie_store(true).timeout(Duration::from_secs(30)).build()?;
        let fleet = Self { http, base: base.to_owned() };
        let csrf = fleet.get("/api/auth/csrf").await?;
        let token = csrf["csrfToken"].as_str().context("no csrfToken in the answer")?;
        let form = [("email", email), ("password", password), ("csrfToken", token), ("json", "true")];
        let request = fleet.request(Method::POST, "/api/auth/callback/credentials").form(&form);
        fleet.send(request).await.context("log in")?;
        Ok(fleet)
    }

    pub async fn get(&self, path: &str) -> anyhow::Result<Value> {
        self.send(self.request(Method::GET, path)).await
    }

    pub async fn post(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        self.send(self.request(Method::POST, path).json(body)).await
    }

    /// Creates something and returns its id.
    pub async fn create(&self, path: &str, body: &Value) -> anyhow::Result<i64> {
        id(&self.post(path, body).await?)
    }

    /// The batch of a workflow that waits to be worked on, once there is one.
    pub async fn open_batch(&self, workflow: i64) -> anyhow::Result<Value> {
        poll("the next batch", STEP, async || {
            for batch in self.batches(workflow).await? {
                let is_new = batch["completedTaskCount"].as_i64() == Some(0);
                match batch["status"].as_str() {
                    Some("in_progress") if is_new => return Ok(Some(batch)),
                    Some("failed") => bail!("batch {} failed: {}", batch["id"], batch["statusReason"]),
                    _ => {}
                }
            }
            Ok(None)
        })
        .await
    }

    /// The newest first.
    pub async fn batches(&self, workflow: i64) -> anyhow::Result<Vec<Value>> {
        let answer = self.get(&format!("/api/assignments?workflowId={workflow}")).await?;
        Ok(answer["data"].as_array().context("no data in the answer")?.clone())
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, format!("{}{path}", self.base))
    }

    async fn send(&self, request: RequestBuilder) -> anyhow::Result<Value> {
        let (client, request) = request.build_split();
        let request = request?;
        let called = format!("{} {}", request.method(), request.url().path());
        let answer = client.execute(request).await.with_context(|| called.clone())?;
        let status = answer.status();
        let body = answer.text().await.with_context(|| called.clone())?;
        if !status.is_success() {
            bail!("{called} answered {status}: {body}");
        }
        serde_json::from_str(&body).with_context(|| format!("{called} answered no JSON: {body}"))
    }
}

pub fn id(object: &Value) -> anyhow::Result<i64> {
    object["id"].as_i64().with_context(|| format!("no id in {object}"))
}

/// Asks until there is an answer.
pub async fn poll<T>(
    what: &str,
    patience: Duration,
    mut ask: impl AsyncFnMut() -> anyhow::Result<Option<T>>,
) -> anyhow::Result<T> {
    let end = Instant::now() + patience;
    loop {
        if let Some(answer) = ask().await? {
            return Ok(answer);
        }
        if Instant::now() > end {
            bail!("waited {} for {what}, in vain", seconds(patience));
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}
