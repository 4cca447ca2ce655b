//! Traces: what everyone shares, so that one leads from a request through its jobs to the calls that they make.
//! [`crate::telemetry`] exports them where the settings ask for it.
//!
//! A span of a trace is made by `tracing::info_span!(target: trace::TARGET, …)`. The target keeps it apart from the spans
//! of the logs: while nobody exports traces it is disabled where it stands and costs nothing, and it adds nothing to
//! log lines. Its fields are attributes by OpenTelemetry's semantic conventions; `otel.name` and `otel.kind` are
//! what they say.
//!
//! From process to process a context goes as the `traceparent` of <https://www.w3.org/TR/trace-context/>. Its companion
//! `tracestate` is not kept.

use std::fmt::Display;

use opentelemetry::{
    Context,
    trace::{SpanContext, SpanId, Status, TraceContextExt, TraceFlags, TraceId, TraceState},
};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;

/// Of the spans that belong to traces.
pub const TARGET: &str = "otel";

/// The name of the header.
pub const TRACEPARENT: &str = "traceparent";

/// The `traceparent` of the current span. None if it is not sampled, or if there is none.
pub fn current() -> Option<String> {
    Context::map_current(|context| {
        let span = context.span();
        let span = span.span_context();
        span.is_sampled().then(|| format!("00-{}-{}-01", span.trace_id(), span.span_id()))
    })
}

/// Puts `span`, which nobody has entered yet, into the trace of this `traceparent`. A malformed one changes nothing.
pub fn continue_from(span: &Span, traceparent: &str) {
    if span.is_disabled() {
        return;
    }
    if let Some(parent) = parse(traceparent) {
        // It fails where nobody exports the span, which is then nobody's child.
        let _ = span.set_parent(Context::new().with_remote_span_context(parent));
    }
}

/// Says that what the span stands for went wrong.
pub fn fail(span: &Span, why: impl Display) {
    if !span.is_disabled() {
        span.set_status(Status::error(why.to_string()));
    }
}

fn parse(traceparent: &str) -> Option<SpanContext> {
    let mut parts = traceparent.split('-');
    let mut part = |length| parts.next().filter(|part| part.len() == length && part.bytes().all(is_hex));
    let (version, trace, span, flags) = (part(2)?, part(32)?, part(16)?, part(2)?);
    // A version to come may have more parts; ff is none.
    if version == "ff" || version == "00" && parts.next().is_some() {
        return None;
    }
    let flags = TraceFlags::new(u8::from_str_radix(flags, 16).ok()?) & TraceFlags::SAMPLED;
    let (trace, span) = (TraceId::from_hex(trace).ok()?, SpanId::from_hex(span).ok()?);
    Some(SpanContext::new(trace, span, flags, true, TraceState::NONE)).filter(SpanContext::is_valid)
}

/// Lower case only.
fn is_hex(byte: u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'a'..=b'f')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TRACEPARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn current_in(context: Option<SpanContext>) -> Option<String> {
        let _attached = context.map(|context| Context::new().with_remote_span_context(context).attach());
        current()
    }

    #[test]
    fn a_context_goes_from_process_to_process() {
        assert_eq!(current_in(parse(TRACEPARENT)).as_deref(), Some(TRACEPARENT));
        let later = format!("cc-{}-and-more", &TRACEPARENT[3..]);
        assert_eq!(current_in(parse(&later)).as_deref(), Some(TRACEPARENT), "of a version to come");
        let flags = TRACEPARENT.replace("-01", "-ff");
        assert_eq!(current_in(parse(&flags)).as_deref(), Some(TRACEPARENT), "unknown flags go");
    }

    #[test]
    fn what_is_not_sampled_goes_nowhere() {
        let unsampled = parse(&TRACEPARENT.replace("-01", "-00"));
        assert!(unsampled.is_some());
        assert_eq!(current_in(unsampled), None);
        assert_eq!(current_in(None), None);
    }

    #[test]
    fn what_is_malformed_is_none() {
        for malformed in [
            "",
            "00",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-+bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4bf92f35-00f067aa-01",
            " 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        ] {
            assert!(parse(malformed).is_none(), "{malformed}");
        }
    }

    proptest! {
        #[test]
        fn whatever_comes_is_no_panic(text in "\\PC*") {
            parse(&text);
        }

        #[test]
        fn what_we_write_we_read(trace in 1_u128.., span in 1_u64..) {
            let context = SpanContext::new(
                TraceId::from(trace), SpanId::from(span), TraceFlags::SAMPLED, true, TraceState::NONE,
            );
            let written = current_in(Some(context.clone())).unwrap();
            prop_assert_eq!(written.len(), 55);
            prop_assert_eq!(parse(&written), Some(context));
        }
    }
}
