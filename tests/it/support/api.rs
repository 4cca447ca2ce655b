//! The API on a port of its own, and a client that is logged in.

use std::{collections::BTreeMap, net::SocketAddr};

use labelfleet::{
    config::Config,
    domain::{AnnotatorId, Secrets},
    http::{self, AppState},
    ops, queue,
};
use reqwest::{Client, Method, RequestBuilder, StatusCode};
use serde_json::{Value, json};
use sqlx::PgPool;
use tokio::{net::TcpListener, sync::oneshot};

use super::database::Database;

pub const ADMIN_EMAIL: &str = "admin@fleet.local";
pub const ADMIN_PASSWORD: &str = "admin-password";
pub const SECRET_KEY: &str = "a secret key of the tests";

/// A client of the API, which serves until this is dropped.
pub struct Api {
    /// `http://127.0.0.1:{port}`
    pub url: String,
    pub client: Client,
    pub secrets: Secrets,
    _stop: Option<oneshot::Sender<()>>,
}

/// An answer, whole.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: reqwest::header::HeaderMap,
    pub body: Value,
}

impl Answer {
    /// The body, if the status is this one.
    #[track_caller]
    pub fn expect(self, status: u16) -> Value {
        assert_eq!(self.status.as_u16(), status, "{}", self.body);
        self.body
    }

    /// The message and the fields named, if the status is this one and the envelope the agreed one.
    #[track_caller]
    pub fn expect_error(self, status: u16) -> (String, Vec<String>) {
        let body = self.expect(status);
        let message = body["error"].as_str().unwrap_or_else(|| panic!("no error in {body}")).to_owned();
        let details =
            body.get("details").map(|details| details.as_array().unwrap().clone()).unwrap_or_default();
        let fields = details.iter().map(|issue| issue["path"].as_str().unwrap().to_owned());
        (message, fields.collect())
    }
}

/// Settings that point at this database; change what a test needs otherwise.
pub fn config(database_url: &str) -> Config {
    let vars = [
        ("DATABASE_URL", database_url),
        ("REDIS_URL", "redis://127.0.0.1:1"),
        ("SECRET_KEY", SECRET_KEY),
        ("S3_ENDPOINT", "http://127.0.0.1:1"),
        ("S3_BUCKET", "fleet"),
        ("AWS_ACCESS_KEY_ID", "test"),
        ("AWS_SECRET_ACCESS_KEY", "test-secret"),
    ];
    let vars: BTreeMap<_, _> = vars.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    Config::from_map(&vars).unwrap()
}

impl Api {
    /// On this database, logged in as its administrator.
    pub async fn start(database: &Database) -> Self {
        let api = Self::serve(config(&database.url), database.pool.clone()).await;
        let queue = queue::Client::new(database.pool.clone());
        ops::auth::ensure_admin(&queue, ADMIN_EMAIL, &ADMIN_PASSWORD.to_owned().into()).await.unwrap();
        api.log_in(ADMIN_EMAIL, ADMIN_PASSWORD).await.expect(200);
        api
    }

    /// With these settings and this pool, nobody logged in.
    pub async fn serve(config: Config, pool: PgPool) -> Self {
        Self::serve_on(SocketAddr::from(([127, 0, 0, 1], 0)), config, queue::Client::new(pool)).await
    }

    /// With a queue client of one's own (one that dispatches, say), on this address.
    pub async fn serve_on(address: SocketAddr, config: Config, queue: queue::Client) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (stop, stopped) = oneshot::channel::<()>();
        let secrets = Secrets::new(config.secret_key.expose());
        let state = AppState::new(config, queue);
        tokio::spawn(http::serve(listener, state, async {
            let _ = stopped.await;
        }));
        Self { url, client: client(), secrets, _stop: Some(stop) }
    }

    /// One that somebody else serves, with this module's secret key.
    pub fn at(url: &str) -> Self {
        Self { url: url.to_owned(), client: client(), secrets: Secrets::new(SECRET_KEY), _stop: None }
    }

    /// The two calls of a login; the client keeps the session.
    pub async fn log_in(&self, email: &str, password: &str) -> Answer {
        let csrf = self.get("/api/auth/csrf").await.expect(200)["csrfToken"].as_str().unwrap().to_owned();
        let form = [("email", email), ("password", password), ("csrfToken", &csrf), ("json", "true")];
        self.send(self.request(Method::POST, "/api/auth/callback/credentials").form(&form)).await
    }

    /// The same API for somebody who is not logged in.
    pub fn stranger(&self) -> Stranger<'_> {
        Stranger { api: self, client: client() }
    }

    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("{}{path}", self.url))
    }

    pub async fn send(&self, request: RequestBuilder) -> Answer {
        answer(request).await
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.send(self.request(Method::GET, path)).await
    }

    pub async fn post(&self, path: &str, body: Value) -> Answer {
        self.send(self.request(Method::POST, path).json(&body)).await
    }

    pub async fn put(&self, path: &str, body: Value) -> Answer {
        self.send(self.request(Method::PUT, path).json(&body)).await
    }

    pub async fn delete(&self, path: &str) -> Answer {
        self.send(self.request(Method::DELETE, path)).await
    }

    /// Creates a thing by `POST path` and answers its id.
    pub async fn create(&self, path: &str, body: Value) -> i64 {
        self.post(path, body).await.expect(201)["id"].as_i64().unwrap()
    }

    /// What an annotator's Label Studio shows: version 1 of its webhook secret.
    pub fn webhook_secret(&self, annotator: i64) -> String {
        self.secrets.webhook(AnnotatorId(annotator), 1)
    }

    pub async fn create_role(&self, name: &str) -> i64 {
        self.create("/api/roles", json!({ "name": name })).await
    }

    pub async fn create_config(&self) -> i64 {
        let body = json!({ "name": "Classes", "configXml": CONFIG_XML });
        self.create("/api/labeling-configs", body).await
    }

    pub async fn create_annotator(&self, name: &str) -> i64 {
        let email = format!("{}@example.com", name.to_lowercase());
        self.create("/api/annotators", json!({ "name": name, "email": email })).await
    }

    pub async fn create_workflow(&self, name: &str) -> i64 {
        let body = json!({ "name": name, "s3SourcePath": "images/", "s3ExportPath": "exports/" });
        self.create("/api/workflows", body).await
    }
}

pub const CONFIG_XML: &str = r#"<View><Image name="image" value="$image"/><Choices name="label" toName="image"><Choice value="cat"/><Choice value="dog"/></Choices></View>"#;

pub struct Stranger<'a> {
    api: &'a Api,
    pub client: Client,
}

impl Stranger<'_> {
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("{}{path}", self.api.url))
    }

    pub async fn send(&self, method: Method, path: &str) -> Answer {
        answer(self.request(method, path)).await
    }
}

/// Keeps cookies and follows nothing.
fn client() -> Client {
    Client::builder().cookie_store(true).redirect(reqwest::redirect::Policy::none()).build().unwrap()
}

pub async fn answer(request: RequestBuilder) -> Answer {
    let response = request.send().await.unwrap();
    let (status, headers) = (response.status(), response.headers().clone());
    let text = response.text().await.unwrap();
    let body = serde_json::from_str(&text).unwrap_or(Value::String(text));
    Answer { status, headers, body }
}
