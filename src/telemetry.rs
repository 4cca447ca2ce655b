//! Logs and traces.
//!
//! Logs: one line an event, identifiers as fields; JSON with `LOG_FORMAT=json`, levels by `RUST_LOG`.
//!
//! Traces: the spans of [`crate::trace`] go to the OTLP endpoint that OpenTelemetry's standard variables name, whatever
//! `RUST_LOG` says. A thread of its own exports them, in batches from a bounded queue: a collector that is slow or away
//! costs spans and nothing else. Without an endpoint nothing of it is set up.

use std::{io::IsTerminal, time::Duration};

use anyhow::{Context, bail};
use opentelemetry::{KeyValue, trace::TracerProvider};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig};
use opentelemetry_sdk::{
    Resource,
    resource::{EnvResourceDetector, TelemetryResourceDetector},
    trace::SdkTracerProvider,
};
use tracing::{Subscriber, level_filters::LevelFilter};
use tracing_subscriber::{
    EnvFilter, Layer, filter::Targets, fmt, layer::SubscriberExt, registry::LookupSpan,
    util::SubscriberInitExt,
};

use crate::trace;

/// How long the spans that are left may take to be exported.
pub const FLUSH: Duration = Duration::from_secs(1);

/// What ends the export of traces; nothing, where none are exported.
#[must_use = "spans that are not flushed are lost"]
pub struct Traces(Option<SdkTracerProvider>);

/// Call once, first thing in `main`. `service` is what traces call this program; without it none are exported.
pub fn init(service: Option<&str>) -> Traces {
    let exported = service.map(|service| provider(service, |name| std::env::var(name).ok()));
    let (provider, problem) = match exported.transpose() {
        Ok(provider) => (provider.flatten(), None),
        Err(problem) => (None, Some(problem)),
    };
    let levels = std::env::var(EnvFilter::DEFAULT_ENV).ok().filter(|levels| !levels.is_empty());
    let without_traces = |levels: &str| EnvFilter::try_new(format!("{levels},{}=off", trace::TARGET));
    let levels = without_traces(levels.as_deref().unwrap_or("info"))
        .unwrap_or_else(|_| without_traces("info").unwrap_or_default());
    let registry = tracing_subscriber::registry();
    match &provider {
        None => registry.with(levels).with(lines()).init(),
        Some(provider) => {
            let traces = tracing_opentelemetry::layer()
                .with_tracer(provider.tracer(env!("CARGO_PKG_NAME")))
                .with_location(false)
                .with_threads(false)
                .with_target(false)
                .with_tracked_inactivity(false);
            let spans = Targets::new().with_target(trace::TARGET, LevelFilter::INFO);
            registry.with(traces.with_filter(spans)).with(lines().with_filter(levels)).init();
        }
    }
    if let Some(problem) = problem {
        tracing::error!(error = format!("{problem:#}"), "traces are not exported");
    }
    Traces(provider)
}

impl Traces {
    /// The part of the time in which a process has to end that belongs to [`Traces::flush`].
    pub fn reserve(&self, time: Duration) -> Duration {
        if self.0.is_some() { (time / 8).min(FLUSH) } else { Duration::ZERO }
    }

    /// Exports what is left, within this time. Afterwards nothing is exported any more.
    pub fn flush(&self, within: Duration) {
        let Some(provider) = &self.0 else { return };
        if let Err(error) = provider.shutdown_with_timeout(within) {
            tracing::warn!(%error, "the last spans could not be exported");
        }
    }
}

/// None: nobody asks for traces.
fn provider(
    service: &str,
    var: impl Fn(&str) -> Option<String>,
) -> anyhow::Result<Option<SdkTracerProvider>> {
    let Some(protocol) = protocol(var)? else { return Ok(None) };
    let exporter = SpanExporter::builder().with_http().with_protocol(protocol).build();
    let exporter = exporter.context("the variables OTEL_EXPORTER_OTLP_… are malformed")?;
    let provider =
        SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource(service));
    Ok(Some(provider.build()))
}

/// How to export, if these variables want traces exported.
fn protocol(var: impl Fn(&str) -> Option<String>) -> anyhow::Result<Option<Protocol>> {
    let get = |name| var(name).map(|value| value.trim().to_owned()).filter(|value| !value.is_empty());
    let is = |name, value: &str| get(name).is_some_and(|found| found.eq_ignore_ascii_case(value));
    let endpoint = get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT").or_else(|| get("OTEL_EXPORTER_OTLP_ENDPOINT"));
    if endpoint.is_none() || is("OTEL_SDK_DISABLED", "true") || is("OTEL_TRACES_EXPORTER", "none") {
        return Ok(None);
    }
    let protocol = get("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL").or_else(|| get("OTEL_EXPORTER_OTLP_PROTOCOL"));
    match protocol.as_deref() {
        None | Some("http/protobuf") => Ok(Some(Protocol::HttpBinary)),
        Some("http/json") => Ok(Some(Protocol::HttpJson)),
        Some(other) => bail!(
            "OTEL_EXPORTER_OTLP_PROTOCOL={other} is not spoken here: set it to http/protobuf or http/json, and the \
             endpoint to the collector's port for HTTP (usually 4318)"
        ),
    }
}

/// What OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES say goes before what is known here.
fn resource(service: &str) -> Resource {
    let resource = Resource::builder_empty()
        .with_service_name(service.to_owned())
        .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
        .with_detector(Box::new(TelemetryResourceDetector))
        .with_detector(Box::new(EnvResourceDetector::new()));
    match std::env::var("OTEL_SERVICE_NAME") {
        Ok(name) if !name.is_empty() => resource.with_service_name(name).build(),
        _ => resource.build(),
    }
}

/// Logs on standard error.
fn lines<S: Subscriber + for<'span> LookupSpan<'span>>() -> Box<dyn Layer<S> + Send + Sync> {
    if std::env::var("LOG_FORMAT").is_ok_and(|format| format == "json") {
        fmt::layer().json().with_writer(std::io::stderr).boxed()
    } else {
        fmt::layer()
            .with_ansi(std::io::stderr().is_terminal())
            .with_target(false)
            .with_writer(std::io::stderr)
            .boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENDPOINT: (&str, &str) = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318");

    fn chosen(vars: &[(&str, &str)]) -> anyhow::Result<Option<Protocol>> {
        protocol(|name| vars.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned()))
    }

    #[test]
    fn traces_are_exported_only_where_an_endpoint_is_named() {
        assert_eq!(chosen(&[]).unwrap(), None);
        assert_eq!(chosen(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "")]).unwrap(), None);
        assert_eq!(chosen(&[ENDPOINT]).unwrap(), Some(Protocol::HttpBinary));
        let own = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://collector:4318/v1/traces");
        assert_eq!(chosen(&[own]).unwrap(), Some(Protocol::HttpBinary));
        for off in [("OTEL_SDK_DISABLED", "true"), ("OTEL_TRACES_EXPORTER", "none")] {
            assert_eq!(chosen(&[ENDPOINT, off]).unwrap(), None, "{off:?}");
        }
        for on in [("OTEL_SDK_DISABLED", "false"), ("OTEL_TRACES_EXPORTER", "otlp")] {
            assert!(chosen(&[ENDPOINT, on]).unwrap().is_some(), "{on:?}");
        }
    }

    #[test]
    fn a_protocol_that_is_not_spoken_is_refused_with_the_way_out() {
        let general = ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc");
        let error = chosen(&[ENDPOINT, general]).unwrap_err().to_string();
        assert!(
            error.contains("grpc") && error.contains("http/protobuf") && error.contains("4318"),
            "{error}"
        );
        let own = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/json");
        assert_eq!(chosen(&[ENDPOINT, general, own]).unwrap(), Some(Protocol::HttpJson));
        assert_eq!(chosen(&[general]).unwrap(), None, "nobody asks for traces");
    }
}
