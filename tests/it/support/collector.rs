//! An OTLP collector of a test's own: takes spans over HTTP, in protobuf or JSON.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode, header},
    routing::post,
};
use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest,
    common::v1::{KeyValue, any_value::Value},
    trace::v1::{Span as Exported, span::SpanKind, status::StatusCode as SpanStatus},
};
use prost::Message;
use tokio::net::TcpListener;

use super::wait;

pub struct Collector {
    pub url: String,
    spans: Arc<Mutex<Vec<Span>>>,
    server: tokio::task::JoinHandle<()>,
}

/// Ids in hexadecimal, as in a `traceparent`.
#[derive(Debug, Clone)]
pub struct Span {
    pub service: String,
    pub trace: String,
    pub id: String,
    /// Empty: it begins its trace.
    pub parent: String,
    pub name: String,
    pub kind: SpanKind,
    pub is_failed: bool,
    /// Of a failure.
    pub error: String,
    pub attributes: BTreeMap<String, String>,
    /// How it came.
    pub content_type: String,
}

impl Span {
    pub fn traceparent(&self) -> String {
        format!("00-{}-{}-01", self.trace, self.id)
    }

    pub fn is_child_of(&self, parent: &Self) -> bool {
        (&self.trace, &self.parent) == (&parent.trace, &parent.id)
    }

    #[track_caller]
    pub fn expect(&self, kind: SpanKind, attributes: &[(&str, &str)]) {
        assert_eq!(self.kind, kind, "{self:?}");
        for (name, value) in attributes {
            assert_eq!(self.attributes.get(*name).map(String::as_str), Some(*value), "{name} of {self:?}");
        }
    }
}

impl Collector {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let spans = Arc::<Mutex<Vec<Span>>>::default();
        let router = Router::new().route("/v1/traces", post(take)).with_state(spans.clone());
        let server = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { url, spans, server }
    }

    pub fn spans(&self) -> Vec<Span> {
        self.spans.lock().unwrap().clone()
    }

    /// All spans of which this is true, once there are so many.
    pub async fn find(&self, what: &str, count: usize, test: impl Fn(&Span) -> bool) -> Vec<Span> {
        wait::until(&format!("{count} spans: {what}"), Duration::from_secs(60), async || {
            let found: Vec<Span> = self.spans().into_iter().filter(&test).collect();
            (found.len() >= count).then_some(found)
        })
        .await
    }

    /// The first child of this name.
    pub async fn child(&self, parent: &Span, name: &str) -> Span {
        let children = self.find(name, 1, |span| span.name == name && span.is_child_of(parent)).await;
        children.into_iter().next().unwrap()
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn take(State(spans): State<Arc<Mutex<Vec<Span>>>>, headers: HeaderMap, body: Bytes) -> StatusCode {
    let content_type = headers[header::CONTENT_TYPE].to_str().unwrap().to_owned();
    let request = match content_type.as_str() {
        "application/x-protobuf" => ExportTraceServiceRequest::decode(body).unwrap(),
        "application/json" => serde_json::from_slice(&body).unwrap(),
        _ => return StatusCode::UNSUPPORTED_MEDIA_TYPE,
    };
    for resource in request.resource_spans {
        let service =
            attributes(resource.resource.unwrap().attributes).remove("service.name").unwrap_or_default();
        let exported = resource.scope_spans.into_iter().flat_map(|scope| scope.spans);
        spans.lock().unwrap().extend(exported.map(|span| read(&service, &content_type, span)));
    }
    StatusCode::OK
}

fn read(service: &str, content_type: &str, span: Exported) -> Span {
    let kind = span.kind();
    let status = span.status.unwrap_or_default();
    Span {
        service: service.to_owned(),
        trace: hex::encode(span.trace_id),
        id: hex::encode(span.span_id),
        parent: hex::encode(span.parent_span_id),
        name: span.name,
        kind,
        is_failed: status.code() == SpanStatus::Error,
        error: status.message,
        attributes: attributes(span.attributes),
        content_type: content_type.to_owned(),
    }
}

fn attributes(all: Vec<KeyValue>) -> BTreeMap<String, String> {
    let text = |value| match value {
        Some(Value::StringValue(text)) => text,
        Some(Value::IntValue(number)) => number.to_string(),
        other => format!("{other:?}"),
    };
    all.into_iter().map(|one| (one.key, text(one.value.and_then(|value| value.value)))).collect()
}
