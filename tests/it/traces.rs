//! One trace leads from a request through its jobs to the calls they make: the programs as processes, and a collector
//! that takes what they export.

use std::time::{Duration, Instant};

use labelfleet::{
    ops::jobs::{CloseProject, Reconcile},
    queue::Client,
};
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use reqwest::Method;
use serde_json::json;
use tokio::net::TcpListener;

use crate::support::{
    batch::Batch,
    collector::{Collector, Span},
    fleet::Fleet,
    program::Program,
    wait,
};

const CALLER: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
const PATIENCE: Duration = Duration::from_secs(60);

/// Spans are exported at once.
fn exporting(collector: &Collector) -> [(&str, &str); 2] {
    [("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.url), ("OTEL_BSP_SCHEDULE_DELAY", "50")]
}

/// The run at a worker's start is one of the far future, so that it does not look after simulated instances.
async fn without_reconciliation(queue: &Client) {
    let mut tx = queue.begin().await.unwrap();
    tx.enqueue_in(&Reconcile {}, Duration::from_secs(86_400)).await.unwrap();
    tx.commit().await.unwrap();
}

async fn contexts(queue: &Client, kind: &str) -> Vec<Option<String>> {
    let contexts =
        sqlx::query_scalar("SELECT trace_context FROM jobs WHERE kind = $1 ORDER BY id").bind(kind);
    contexts.fetch_all(queue.pool()).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_trace_leads_from_a_request_through_its_jobs_to_their_calls() {
    let batch = Batch::published(2, 4).await;
    let (fleet, studio) = (&batch.day.fleet, &batch.studio);
    without_reconciliation(&fleet.deps.queue).await;
    let collector = Collector::start().await;
    let (api_process, api) = Program::api(&fleet.settings, &exporting(&collector)).await;
    // The first attempt at what is asked of Label Studio fails.
    studio.refuse(true);
    let asked = studio.requests();
    let path = format!("/api/assignments/{}", batch.id);
    api.send(api.request(Method::DELETE, &path).header("traceparent", CALLER)).await.expect(200);
    let worker = Program::worker(&fleet.settings, &exporting(&collector)).await;
    wait::until("Label Studio is asked", PATIENCE, async || (studio.requests() > asked).then_some(())).await;
    studio.refuse(false);

    let name = "DELETE /api/assignments/{id}";
    let request = collector.find(name, 1, |span| span.name == name).await.remove(0);
    assert_eq!(format!("00-{}-{}-01", request.trace, request.parent), CALLER);
    assert_eq!(request.service, "labelfleet");
    assert_eq!(request.content_type, "application/x-protobuf");
    request.expect(
        SpanKind::Server,
        &[
            ("http.request.method", "DELETE"),
            ("http.route", "/api/assignments/{id}"),
            ("http.response.status_code", "200"),
        ],
    );

    for kind in ["close_project", "assign_batch"] {
        assert_eq!(contexts(&fleet.deps.queue, kind).await, [Some(request.traceparent())]);
    }

    // Each attempt is a child of the request.
    let is_attempt = |span: &Span| span.name == "process close_project" && span.is_child_of(&request);
    let done = |span: &Span| is_attempt(span) && !span.is_failed;
    let attempt = collector.find("an attempt that succeeded", 1, done).await.remove(0);
    assert_eq!(attempt.service, "labelfleet-worker");
    attempt.expect(
        SpanKind::Consumer,
        &[
            ("messaging.operation.name", "process"),
            ("messaging.destination.name", "labeling"),
            ("job.kind", "close_project"),
        ],
    );
    let failed =
        collector.find("the first attempt", 1, |span| is_attempt(span) && span.is_failed).await.remove(0);
    failed.expect(SpanKind::Consumer, &[("job.attempt", "1"), ("job.outcome", "retry")]);
    assert!(failed.error.contains("Label Studio answered 500"), "{failed:?}");
    assert_eq!(failed.attributes["messaging.message.id"], attempt.attributes["messaging.message.id"]);

    // Calls are children of the attempt, and Label Studio was told so.
    let refused = collector.child(&failed, "GET /api/projects/").await;
    refused.expect(SpanKind::Client, &[("http.response.status_code", "500")]);
    assert!(refused.is_failed);
    let removed = collector.child(&attempt, "DELETE /api/projects/{id}/").await;
    let port = studio.port.to_string();
    removed.expect(
        SpanKind::Client,
        &[("http.request.method", "DELETE"), ("http.response.status_code", "204"), ("server.port", &port)],
    );
    assert!(!removed.is_failed, "{removed:?}");
    for call in [refused, removed] {
        assert!(studio.traceparents().contains(&call.traceparent()), "{call:?}");
    }

    // A handler's jobs go on in its trace, to their calls.
    let assign = collector.child(&request, "process assign_batch").await;
    collector.child(&assign, "process inject_gold").await;
    let publish = collector.child(&assign, "process publish_assignment").await;
    collector.child(&publish, "POST /api/projects/").await;

    assert_eq!(api_process.stop(PATIENCE).await.0, Some(0));
    assert_eq!(worker.stop(PATIENCE).await.0, Some(0));
}

/// To S3, to where instances run; and what a caller may send.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn other_calls_and_other_callers() {
    let batch = Batch::published(2, 4).await;
    let fleet = &batch.day.fleet;
    without_reconciliation(&fleet.deps.queue).await;
    let collector = Collector::start().await;
    let json = ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json");
    let own_name = ("OTEL_SERVICE_NAME", "fleet-in-test");
    let more = [&exporting(&collector)[..], &[json, own_name]].concat();
    let (_api_process, api) = Program::api(&fleet.settings, &more).await;
    let _worker = Program::worker(&fleet.settings, &more).await;

    // Malformed: a trace begins.
    let body = json!({ "name": "Other", "s3SourcePath": "other/", "s3ExportPath": "exports/" });
    let create = api.request(Method::POST, "/api/workflows").json(&body);
    api.send(create.header("traceparent", CALLER.replace("00-", "00-x"))).await.expect(201);
    let created =
        collector.find("the workflow", 1, |span| span.name == "POST /api/workflows").await.remove(0);
    assert_eq!((created.parent.as_str(), created.service.as_str()), ("", "fleet-in-test"));
    assert_eq!(created.content_type, "application/json");
    let sync = collector.child(&created, "process sync_source").await;
    let list = collector.child(&sync, "S3.ListObjectsV2").await;
    list.expect(SpanKind::Client, &[("rpc.service", "S3"), ("rpc.method", "ListObjectsV2")]);
    assert!(!list.is_failed, "{list:?}");

    // Not sampled by the caller: neither is what follows, and the row says nothing.
    let stop = format!("/api/annotators/{}/stop", batch.annotator);
    let unsampled = CALLER.strip_suffix("01").unwrap().to_owned() + "00";
    api.send(api.request(Method::POST, &stop).header("traceparent", unsampled)).await.expect(200);
    assert_eq!(contexts(&fleet.deps.queue, "stop_instance").await, [None]);
    // Its job begins a trace.
    let stopped = collector.find("the stop", 1, |span| span.name == "process stop_instance").await.remove(0);
    assert_eq!(stopped.parent, "");
    collector.child(&stopped, "process stop").await.expect(SpanKind::Client, &[]);
    let caller = CALLER.split('-').nth(1).unwrap();
    assert!(collector.spans().iter().all(|span| span.trace != caller));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_tick_of_a_schedule_starts_a_trace() {
    let fleet = Fleet::local().await;
    let collector = Collector::start().await;
    let more = [&exporting(&collector)[..], &[("RECONCILE_CRON", "* * * * * *")]].concat();
    let worker = Program::worker(&fleet.settings, &more).await;
    let is_tick = |span: &Span| span.name == "schedule reconcile";
    let ticks = collector.find("ticks", 2, is_tick).await;
    for tick in &ticks {
        tick.expect(SpanKind::Producer, &[("job.kind", "reconcile")]);
        assert_eq!(tick.parent, "");
    }
    assert_ne!(ticks[0].trace, ticks[1].trace);
    let is_run =
        |span: &Span| span.name == "process reconcile" && ticks.iter().any(|tick| span.is_child_of(tick));
    collector.find("a run in the trace of its tick", 1, is_run).await;
    worker.stop(PATIENCE).await;
}

/// Spans that wait are exported when the process ends.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_left_is_exported_at_the_end() {
    let fleet = Fleet::local().await;
    let collector = Collector::start().await;
    let more =
        [("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url.as_str()), ("OTEL_BSP_SCHEDULE_DELAY", "600000")];
    let (api_process, api) = Program::api(&fleet.settings, &more).await;
    let worker = Program::worker(&fleet.settings, &more).await;
    api.create_role("labeler").await;
    wait::until("the first job is done", PATIENCE, async || {
        (fleet.open_jobs::<Reconcile>().await == 0).then_some(())
    })
    .await;
    assert!(collector.spans().is_empty());
    assert_eq!(worker.stop(PATIENCE).await.0, Some(0));
    assert_eq!(api_process.stop(PATIENCE).await.0, Some(0));
    for name in ["POST /api/roles", "process reconcile"] {
        assert!(collector.spans().iter().any(|span| span.name == name), "{name}");
    }
}

/// A collector that takes connections and never answers, and one that nobody can reach.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collector_that_is_away_harms_nothing() {
    let hung = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let hung_url = format!("http://{}", hung.local_addr().unwrap());
    for url in [hung_url.as_str(), "http://127.0.0.1:1"] {
        let fleet = Fleet::local().await;
        let drain = Duration::from_secs(8);
        let more = [
            ("OTEL_EXPORTER_OTLP_ENDPOINT", url),
            ("OTEL_BSP_SCHEDULE_DELAY", "50"),
            ("OTEL_BSP_MAX_QUEUE_SIZE", "4"),
            ("DRAIN_SECS", "8"),
        ];
        let (api_process, api) = Program::api(&fleet.settings, &more).await;
        let worker = Program::worker(&fleet.settings, &more).await;
        for name in ["a", "b", "c", "d", "e", "f", "g", "h"] {
            api.create_role(name).await;
        }
        wait::until("the first job is done", PATIENCE, async || {
            (fleet.open_jobs::<Reconcile>().await == 0).then_some(())
        })
        .await;
        let told = Instant::now();
        let (code, log) = worker.stop(drain).await;
        assert_eq!(code, Some(0), "{log}");
        assert!(told.elapsed() < drain, "{:?}", told.elapsed());
        assert_eq!(api_process.stop(PATIENCE).await.0, Some(0));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_protocol_that_is_not_spoken_is_told_and_harms_nothing() {
    let fleet = Fleet::local().await;
    let more =
        [("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4317"), ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")];
    let (process, api) = Program::api(&fleet.settings, &more).await;
    api.create_role("labeler").await;
    let (code, log) = process.stop(PATIENCE).await;
    assert_eq!(code, Some(0));
    assert!(log.contains("traces are not exported") && log.contains("set it to http/protobuf"), "{log}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_collector_jobs_know_of_no_trace() {
    nothing_is_traced(&[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_nobody_samples_is_not_traced() {
    let collector = Collector::start().await;
    let more = [&exporting(&collector)[..], &[("OTEL_TRACES_SAMPLER", "always_off")]].concat();
    nothing_is_traced(&more).await;
    assert!(collector.spans().is_empty());
}

async fn nothing_is_traced(more: &[(&str, &str)]) {
    let batch = Batch::published(2, 4).await;
    let (fleet, studio) = (&batch.day.fleet, &batch.studio);
    without_reconciliation(&fleet.deps.queue).await;
    let (_api_process, api) = Program::api(&fleet.settings, more).await;
    let path = format!("/api/assignments/{}", batch.id);
    api.send(api.request(Method::DELETE, &path).header("traceparent", CALLER)).await.expect(200);
    let _worker = Program::worker(&fleet.settings, more).await;
    wait::until("the next batch is published", PATIENCE, async || {
        (contexts(&fleet.deps.queue, "publish_assignment").await.len() == 2).then_some(())
    })
    .await;
    wait::until("the project is closed", PATIENCE, async || {
        (fleet.open_jobs::<CloseProject>().await == 0).then_some(())
    })
    .await;
    let known: i64 = sqlx::query_scalar("SELECT count(*) FROM jobs WHERE trace_context IS NOT NULL")
        .fetch_one(fleet.deps.queue.pool())
        .await
        .unwrap();
    assert_eq!((known, studio.traceparents().len()), (0, 0));
}
