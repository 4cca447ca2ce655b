//! A backend whose calls are spans of their trace.

use std::collections::BTreeMap;

use async_trait::async_trait;
use labelfleet::{domain::AnnotatorId, trace};
use tracing::Instrument;

use super::{Instance, InstanceSpec, Runtime};

pub struct Traced<R> {
    backend: R,
    name: &'static str,
}

impl<R: Runtime> Traced<R> {
    pub fn new(name: &'static str, backend: R) -> Self {
        Self { backend, name }
    }

    async fn call<T>(
        &self,
        operation: &'static str,
        annotator: Option<AnnotatorId>,
        call: impl Future<Output = anyhow::Result<T>>,
    ) -> anyhow::Result<T> {
        let span = tracing::info_span!(
            target: trace::TARGET,
            "runtime",
            otel.name = %format_args!("{} {operation}", self.name),
            otel.kind = "client",
            annotator.id = annotator.map(|annotator| annotator.0),
        );
        let outcome = call.instrument(span.clone()).await;
        if let Err(error) = &outcome {
            trace::fail(&span, format_args!("{error:#}"));
        }
        outcome
    }
}

#[async_trait]
impl<R: Runtime> Runtime for Traced<R> {
    async fn ensure_running(&self, spec: &InstanceSpec) -> anyhow::Result<Instance> {
        self.call("ensure_running", Some(spec.annotator), self.backend.ensure_running(spec)).await
    }

    async fn stop(&self, annotator: AnnotatorId) -> anyhow::Result<()> {
        self.call("stop", Some(annotator), self.backend.stop(annotator)).await
    }

    async fn remove(&self, annotator: AnnotatorId) -> anyhow::Result<()> {
        self.call("remove", Some(annotator), self.backend.remove(annotator)).await
    }

    async fn get(&self, annotator: AnnotatorId) -> anyhow::Result<Option<Instance>> {
        self.call("get", Some(annotator), self.backend.get(annotator)).await
    }

    async fn list(&self) -> anyhow::Result<Vec<Instance>> {
        self.call("list", None, self.backend.list()).await
    }

    async fn last_lines(&self, annotator: AnnotatorId) -> anyhow::Result<String> {
        self.call("last_lines", Some(annotator), self.backend.last_lines(annotator)).await
    }

    async fn migrate(&self, env: &BTreeMap<String, String>) -> anyhow::Result<()> {
        self.call("migrate", None, self.backend.migrate(env)).await
    }

    async fn label_studio_version(&self) -> anyhow::Result<String> {
        self.call("label_studio_version", None, self.backend.label_studio_version()).await
    }

    fn this_machine(&self) -> &'static str {
        self.backend.this_machine()
    }
}
