//! The calls, each one request (or one request a page).
//!
//! Readiness is `whoami`: `/health` answers before the database is touched.

use std::time::Duration;

use chrono::{DateTime, Utc};
use futures::{Stream, stream};
use reqwest::{Method, Request, RequestBuilder, header};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;
use tracing::{Instrument, Span, field::Empty};
use url::{Position, Url};

use labelfleet::{
    config::Secret,
    trace::{self, TRACEPARENT},
};

use super::{
    error::{Error, Result},
    types::{
        Imported, NewAnnotation, NewProject, NewTask, NewWebhook, Page, Project, ProjectCounts, Task,
        TaskPage, User, Webhook,
    },
};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Where nothing else is said.
const TIMEOUT: Duration = Duration::from_secs(30);
/// An import may take so many times as long as another call: 1,000 tasks take 0.4 s on an idle machine.
const IMPORT_PATIENCE: u32 = 4;
/// The largest page of projects that Label Studio gives.
const PAGE: usize = 100;
/// The data manager's order: a task's `updated_at` moves with its annotations.
const BY_CHANGE: &str = r#"{"ordering":["-tasks:updated_at"]}"#;
/// How much of a refusal an error keeps.
const BODY_KEPT: usize = 500;

/// One instance, and the token that opens it. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Client {
    http: reqwest::Client,
    base: Url,
    token: Secret,
    timeout: Duration,
}

impl Client {
    pub fn new(base_url: &str, token: impl Into<String>) -> Result<Self> {
        let bad = |source| Error::BadAddress { url: base_url.to_owned(), source };
        let base = Url::parse(base_url).map_err(bad)?;
        if base.cannot_be_a_base() {
            return Err(bad(url::ParseError::RelativeUrlWithCannotBeABaseBase));
        }
        let http = reqwest::Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            // Where a call without login is sent to a page to log in, the redirect itself is the answer.
            .redirect(reqwest::redirect::Policy::none())
            // The instance is on this machine or in the same network.
            .no_proxy()
            .build()
            .map_err(|source| Error::NoAnswer { method: Method::GET, path: base_url.to_owned(), source })?;
        Ok(Self { http, base, token: Secret::new(token), timeout: TIMEOUT })
    }

    /// How long an answer may take.
    pub fn with_timeout(self, timeout: Duration) -> Self {
        Self { timeout, ..self }
    }

    /// Whose token this is. Answers only when Label Studio truly serves.
    pub async fn whoami(&self) -> Result<User> {
        self.read(self.request(Method::GET, "/api/current-user/whoami")).await
    }

    pub async fn create_project(&self, project: &NewProject<'_>) -> Result<Project> {
        self.write(Method::POST, "/api/projects/", project).await
    }

    pub async fn update_project(&self, id: i64, project: &NewProject<'_>) -> Result<Project> {
        self.write(Method::PATCH, &format!("/api/projects/{id}/"), project).await
    }

    pub async fn project(&self, id: i64) -> Result<Project> {
        self.read(self.request(Method::GET, &format!("/api/projects/{id}/"))).await
    }

    /// Projects whose title is exactly this, oldest first; several, where one was created twice.
    pub async fn projects_titled(&self, title: &str) -> Result<Vec<Project>> {
        // Label Studio itself compares by "contains", in any case.
        let mut found = self.listed::<Project>("/api/projects/", &[("title", title)]).await?;
        found.retain(|project| project.title == title);
        found.sort_by_key(|project| project.id);
        Ok(found)
    }

    /// Removes a project with its tasks and annotations. One that is gone already is no error.
    pub async fn delete_project(&self, id: i64) -> Result<()> {
        self.delete(&format!("/api/projects/{id}/")).await
    }

    /// Adds tasks, all of them or (where it answers with an error) none. Not idempotent: after
    /// [`Error::NoAnswer`] look at the project's tasks before asking again.
    pub async fn import_tasks(&self, project: i64, tasks: &[NewTask]) -> Result<Imported> {
        let request = self
            .request(Method::POST, &format!("/api/projects/{project}/import"))
            .query(&[("return_task_ids", "true")])
            .timeout(self.timeout * IMPORT_PATIENCE)
            .json(tasks);
        self.read(request).await
    }

    /// The project's tasks with all their fields, annotations included, a page at a time and in the order of ids.
    pub fn tasks(&self, project: i64, page_size: usize) -> impl Stream<Item = Result<Vec<Task>>> + Send + '_ {
        self.task_pages(project, page_size, "{}")
    }

    /// [`Client::tasks`], those first that changed last. What changes meanwhile may be seen twice.
    pub fn tasks_by_change(
        &self,
        project: i64,
        page_size: usize,
    ) -> impl Stream<Item = Result<Vec<Task>>> + Send + '_ {
        self.task_pages(project, page_size, BY_CHANGE)
    }

    /// When anything in the project changed last; none in an empty one.
    pub async fn last_change(&self, project: i64) -> Result<Option<DateTime<Utc>>> {
        let page = self.task_page(project, 1, 1, BY_CHANGE).await?;
        Ok(page.and_then(|page| page.tasks.first()?.updated_at))
    }

    fn task_pages<'a>(
        &'a self,
        project: i64,
        page_size: usize,
        query: &'a str,
    ) -> impl Stream<Item = Result<Vec<Task>>> + Send + 'a {
        // (next page, tasks seen); None when the last page was given.
        stream::try_unfold(Some((1_usize, 0_usize)), move |state| async move {
            let Some((page, seen)) = state else { return Ok(None) };
            let Some(TaskPage { tasks, total }) = self.task_page(project, page, page_size, query).await?
            else {
                return Ok(None);
            };
            if tasks.is_empty() {
                return Ok(None);
            }
            let seen = seen.saturating_add(tasks.len());
            Ok(Some((tasks, (seen < total).then_some((page + 1, seen)))))
        })
    }

    /// None past the end: Label Studio answers 404 there.
    async fn task_page(
        &self,
        project: i64,
        page: usize,
        page_size: usize,
        query: &str,
    ) -> Result<Option<TaskPage>> {
        let request = self.request(Method::GET, "/api/tasks/").query(&[
            ("project", project.to_string()),
            ("page", page.to_string()),
            ("page_size", page_size.to_string()),
            ("fields", "all".to_owned()),
            ("query", query.to_owned()),
        ]);
        match self.read(request).await {
            Err(error) if error.is_not_found() && page > 1 => Ok(None),
            page => page.map(Some),
        }
    }

    /// One that is gone already is no error.
    pub async fn delete_task(&self, id: i64) -> Result<()> {
        self.delete(&format!("/api/tasks/{id}/")).await
    }

    /// Numbers of these projects; those that are not there are left out.
    pub async fn project_counts(&self, ids: &[i64]) -> Result<Vec<ProjectCounts>> {
        let mut counts = Vec::with_capacity(ids.len());
        for ids in ids.chunks(PAGE) {
            let ids = ids.iter().map(i64::to_string).collect::<Vec<_>>().join(",");
            counts.extend(self.listed::<ProjectCounts>("/api/projects/counts/", &[("ids", &ids)]).await?);
        }
        Ok(counts)
    }

    pub async fn webhooks(&self, project: i64) -> Result<Vec<Webhook>> {
        let request = self.request(Method::GET, "/api/webhooks/").query(&[("project", project.to_string())]);
        self.read(request).await
    }

    pub async fn create_webhook(&self, webhook: &NewWebhook<'_>) -> Result<Webhook> {
        self.write(Method::POST, "/api/webhooks/", webhook).await
    }

    /// One that is gone already is no error.
    pub async fn delete_webhook(&self, id: i64) -> Result<()> {
        self.delete(&format!("/api/webhooks/{id}/")).await
    }

    /// Submits (or, cancelled, skips) a task as the token's user; the annotation as Label Studio has it.
    pub async fn create_annotation(&self, task: i64, annotation: &NewAnnotation) -> Result<Value> {
        self.write(Method::POST, &format!("/api/tasks/{task}/annotations/"), annotation).await
    }

    pub async fn update_annotation(&self, id: i64, annotation: &NewAnnotation) -> Result<Value> {
        self.write(Method::PATCH, &format!("/api/annotations/{id}/"), annotation).await
    }

    pub async fn has_annotation(&self, id: i64) -> Result<bool> {
        match self.send(self.request(Method::GET, &format!("/api/annotations/{id}/"))).await {
            Err(error) if error.is_not_found() => Ok(false),
            answer => answer.map(|_| true),
        }
    }

    /// One that is gone already is no error.
    pub async fn delete_annotation(&self, id: i64) -> Result<()> {
        self.delete(&format!("/api/annotations/{id}/")).await
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let mut url = self.base.clone();
        url.set_path(path);
        self.http
            .request(method, url)
            .timeout(self.timeout)
            .header(header::AUTHORIZATION, format!("Token {}", self.token.expose()))
    }

    async fn write<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T> {
        self.read(self.request(method, path).json(body)).await
    }

    async fn delete(&self, path: &str) -> Result<()> {
        match self.send(self.request(Method::DELETE, path)).await {
            Err(error) if error.is_not_found() => Ok(()),
            outcome => outcome.map(drop),
        }
    }

    /// Every page of a list, by its `next`.
    async fn listed<T: DeserializeOwned>(&self, path: &str, query: &[(&str, &str)]) -> Result<Vec<T>> {
        let mut all = Vec::new();
        for page in 1_usize.. {
            let request = self
                .request(Method::GET, path)
                .query(query)
                .query(&[("page", page.to_string()), ("page_size", PAGE.to_string())]);
            let Page { next, results } = self.read(request).await?;
            all.extend::<Vec<T>>(results);
            if next.is_none() {
                break;
            }
        }
        Ok(all)
    }

    async fn read<T: DeserializeOwned>(&self, request: RequestBuilder) -> Result<T> {
        let (asked, body) = self.send(request).await?;
        serde_json::from_slice(&body).map_err(|source| Error::Malformed {
            method: asked.method,
            path: asked.path,
            source,
        })
    }

    async fn send(&self, request: RequestBuilder) -> Result<(Asked, bytes::Bytes)> {
        let built = |source: reqwest::Error| Error::NoAnswer {
            method: Method::GET,
            path: self.base.path().to_owned(),
            source: source.without_url(),
        };
        let mut request = request.build().map_err(built)?;
        let span = traced(&request);
        let asked = Asked { method: request.method().clone(), path: request.url().path().to_owned() };
        let answer = async {
            if let Some(Ok(context)) = trace::current().map(header::HeaderValue::try_from) {
                request.headers_mut().insert(TRACEPARENT, context);
            }
            let response = self.http.execute(request).await?;
            Ok((response.status(), response.bytes().await?))
        };
        let answer = answer.instrument(span.clone()).await.map_err(reqwest::Error::without_url);
        let (status, body) = answer.map_err(|source| {
            trace::fail(&span, &source);
            Error::NoAnswer { method: asked.method.clone(), path: asked.path.clone(), source }
        })?;
        span.record("http.response.status_code", i64::from(status.as_u16()));
        if status.is_success() {
            return Ok((asked, body));
        }
        trace::fail(&span, status);
        Err(Error::Status {
            method: asked.method,
            path: asked.path,
            status,
            body: String::from_utf8_lossy(&body).chars().take(BODY_KEPT).collect(),
        })
    }
}

/// What an error says of its request: never the query or a header.
struct Asked {
    method: Method,
    path: String,
}

/// The call in its trace: no more of it than in an error.
fn traced(request: &Request) -> Span {
    let (method, url) = (request.method().as_str(), request.url());
    tracing::info_span!(
        target: trace::TARGET,
        "label_studio",
        otel.name = %format_args!("{method} {}", template(url.path())),
        otel.kind = "client",
        http.request.method = method,
        http.response.status_code = Empty,
        server.address = url.host_str(),
        server.port = url.port_or_known_default().map(i64::from),
        url.full = &url[..Position::AfterPath],
    )
}

/// A path without the ids in it, so that calls of one sort have one name.
fn template(path: &str) -> String {
    let is_id = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    path.split('/').map(|part| if is_id(part) { "{id}" } else { part }).collect::<Vec<_>>().join("/")
}
