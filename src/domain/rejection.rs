//! What becomes of rejected work.

use super::RejectionMode;

/// What is done about a rejection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// It is kept, and nothing else.
    None,
    Archive,
    /// Somebody does the work again.
    Rework,
    /// It came back as often as it may: somebody has to decide.
    Escalate,
}

/// `iteration`: how often this piece of work was rejected, this time included. With at most `max` reworks, rejection
/// `max + 1` is one too many.
pub fn action(mode: RejectionMode, iteration: i32, max: Option<i32>) -> Action {
    match mode {
        RejectionMode::None => Action::None,
        RejectionMode::Archive => Action::Archive,
        RejectionMode::RouteToWorkflow if max.is_some_and(|max| iteration > max) => Action::Escalate,
        RejectionMode::RouteToWorkflow => Action::Rework,
    }
}

/// Where the archive lies: `s3://bucket/prefix`, or a prefix in the fleet's own bucket.
pub fn archive_place<'a>(path: &'a str, own_bucket: &'a str) -> (&'a str, &'a str) {
    match path.strip_prefix("s3://") {
        Some(path) => path.split_once('/').unwrap_or((path, "")),
        None => (own_bucket, path),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_comes_back_until_it_came_back_too_often() {
        let routed = |iteration, max| action(RejectionMode::RouteToWorkflow, iteration, max);
        assert_eq!(routed(1000, None), Action::Rework);
        assert_eq!((routed(2, Some(2)), routed(3, Some(2))), (Action::Rework, Action::Escalate));
        assert_eq!(routed(1, Some(0)), Action::Escalate);
        assert_eq!(action(RejectionMode::Archive, 9, Some(1)), Action::Archive);
        assert_eq!(action(RejectionMode::None, 9, Some(1)), Action::None);
    }

    #[test]
    fn an_archive_is_a_prefix_here_or_in_another_bucket() {
        assert_eq!(archive_place("rejected/cars", "own"), ("own", "rejected/cars"));
        assert_eq!(archive_place("s3://other/cars/", "own"), ("other", "cars/"));
        assert_eq!(archive_place("s3://other", "own"), ("other", ""));
    }
}
