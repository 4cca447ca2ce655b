//! How a run ended, and what that makes of the job: a pure decision.

use std::{fmt, time::Duration};

use super::super::{backoff, cipher::Sealed, job::JobError};

/// How a run ended when it did not succeed.
#[derive(Debug)]
pub(crate) enum Failure {
    Retry(anyhow::Error),
    Discard(anyhow::Error),
    Snooze(Duration),
    /// The arguments are none of the kind's.
    Undecodable(serde_json::Error),
    /// They are encrypted, and another worker may have the key.
    Sealed(Sealed),
    Panic(String),
    Timeout(Duration),
    /// The worker stops: others may run it.
    Released,
    /// An operator asked it to stop, and it did not succeed all the same. With what it ended by.
    Cancelled(String),
}

impl From<JobError> for Failure {
    fn from(error: JobError) -> Self {
        match error {
            JobError::Retry(cause) => Self::Retry(cause),
            JobError::Discard(cause) => Self::Discard(cause),
            JobError::Snooze(delay) => Self::Snooze(delay),
        }
    }
}

/// With the whole chain of causes.
impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Retry(cause) | Self::Discard(cause) => write!(f, "{cause:#}"),
            Self::Snooze(delay) => write!(f, "snoozed for {delay:?}"),
            Self::Sealed(why) => why.fmt(f),
            Self::Undecodable(error) => write!(f, "the arguments are malformed: {error}"),
            Self::Panic(message) => write!(f, "panicked: {message}"),
            Self::Timeout(after) => write!(f, "timed out after {after:?}"),
            Self::Released => f.write_str("released by a stopping worker"),
            Self::Cancelled(how) => write!(f, "cancelled: {how}"),
        }
    }
}

impl std::error::Error for Failure {}

/// What becomes of a job whose run did not succeed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ending {
    /// As in `job_attempts.outcome`.
    pub outcome: &'static str,
    /// As in `jobs.state`.
    pub state: &'static str,
    /// Until it is due again.
    pub delay: Duration,
    /// It costs no attempt.
    pub is_spared: bool,
    pub error: Option<String>,
}

impl Ending {
    /// For a uniform `draw` from `0.0..1.0`.
    pub(crate) fn of(failure: &Failure, attempt: i32, max_attempts: i32, draw: f64) -> Self {
        let outcome = match failure {
            Failure::Retry(_) => "retry",
            Failure::Discard(_) | Failure::Undecodable(_) => "discard",
            Failure::Snooze(_) | Failure::Sealed(_) => "snooze",
            Failure::Panic(_) => "panic",
            Failure::Timeout(_) => "timeout",
            Failure::Released => "released",
            Failure::Cancelled(_) => "cancelled",
        };
        let (state, delay) = match failure {
            Failure::Retry(_) | Failure::Panic(_) | Failure::Timeout(_) if attempt < max_attempts => {
                ("retryable", backoff::delay(attempt, draw))
            }
            Failure::Retry(_)
            | Failure::Panic(_)
            | Failure::Timeout(_)
            | Failure::Discard(_)
            | Failure::Undecodable(_) => ("discarded", Duration::ZERO),
            Failure::Snooze(delay) => ("scheduled", *delay),
            Failure::Sealed(_) => ("scheduled", backoff::delay(attempt, draw)),
            Failure::Released => ("available", Duration::ZERO),
            Failure::Cancelled(_) => ("cancelled", Duration::ZERO),
        };
        let is_spared = matches!(failure, Failure::Snooze(_) | Failure::Sealed(_) | Failure::Released);
        let is_told = !is_spared || matches!(failure, Failure::Sealed(_));
        let error = is_told.then(|| storable(&failure.to_string()));
        Self { outcome, state, delay, is_spared, error }
    }
}

/// As much of a message as is worth keeping, without the one character that Postgres' text can't hold.
fn storable(message: &str) -> String {
    message.chars().filter(|character| *character != '\0').take(10_000).collect()
}

#[cfg(test)]
mod tests {
    use anyhow::anyhow;

    use super::*;

    fn ending(failure: Failure, attempt: i32) -> Ending {
        Ending::of(&failure, attempt, 3, 0.5)
    }

    #[test]
    fn a_failure_is_retried_until_the_attempts_are_used_up() {
        for failure in [
            || Failure::Retry(anyhow!("x")),
            || Failure::Panic("x".into()),
            || Failure::Timeout(Duration::from_secs(1)),
        ] {
            assert_eq!(ending(failure(), 2).state, "retryable");
            assert_eq!(ending(failure(), 3).state, "discarded");
        }
    }

    #[test]
    fn discarding_does_not_wait_for_the_last_attempt() {
        assert_eq!(ending(Failure::Discard(anyhow!("x")), 1).state, "discarded");
    }

    #[test]
    fn what_an_operator_stopped_is_not_tried_again() {
        let stopped = ending(Failure::Cancelled("by error".into()), 1);
        assert_eq!((stopped.state, stopped.is_spared), ("cancelled", false));
        assert_eq!(stopped.error.as_deref(), Some("cancelled: by error"));
    }

    #[test]
    fn waiting_and_stopping_cost_no_attempt_even_on_the_last() {
        let snoozed = ending(Failure::Snooze(Duration::from_secs(9)), 3);
        assert_eq!((snoozed.state, snoozed.delay.as_secs(), snoozed.is_spared), ("scheduled", 9, true));
        let released = ending(Failure::Released, 3);
        assert_eq!((released.state, released.is_spared), ("available", true));
    }

    #[test]
    fn lacking_a_key_costs_no_attempt_and_is_told() {
        let sealed = ending(Failure::Sealed(Sealed::NoKey("0123".into())), 3);
        assert_eq!((sealed.state, sealed.is_spared), ("scheduled", true));
        assert!(sealed.error.unwrap().contains("0123"));
    }

    #[test]
    fn the_error_keeps_its_causes_and_loses_what_cannot_be_stored() {
        let error = anyhow!("connection\0 refused").context("listing the bucket");
        let kept = ending(Failure::Retry(error), 1).error;
        assert_eq!(kept.as_deref(), Some("listing the bucket: connection refused"));
    }
}
