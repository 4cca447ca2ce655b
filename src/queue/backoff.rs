//! When a failed job runs again: exponential backoff with full jitter, as in "Exponential Backoff And Jitter"
//! (AWS Architecture Blog, 2015): a uniform draw between nothing and the bound, so that jobs that failed
//! together do not come back together.

use std::time::Duration;

/// Bound of the wait after the first failure; doubles with each further one.
const BASE: Duration = Duration::from_secs(1);
/// The bound grows no further.
const LONGEST: Duration = Duration::from_secs(15 * 60);

/// The wait after failed attempt number `attempt` (the first is 1), for a uniform `draw` from `0.0..1.0`.
pub fn delay(attempt: i32, draw: f64) -> Duration {
    bound(attempt).mul_f64(draw.clamp(0.0, 1.0))
}

fn bound(attempt: i32) -> Duration {
    let doublings = u32::try_from(attempt.saturating_sub(1)).unwrap_or(0);
    2_u32.checked_pow(doublings).and_then(|factor| BASE.checked_mul(factor)).unwrap_or(LONGEST).min(LONGEST)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_bound_doubles_until_it_is_longest() {
        let bounds: Vec<u64> = (1..=5).map(|attempt| delay(attempt, 1.0).as_secs()).collect();
        assert_eq!(bounds, [1, 2, 4, 8, 16]);
        assert_eq!(delay(11, 1.0), LONGEST);
    }

    #[test]
    fn the_draw_spreads_over_the_whole_range() {
        assert_eq!(delay(3, 0.0), Duration::ZERO);
        assert_eq!(delay(3, 0.5), Duration::from_secs(2));
    }

    proptest! {
        #[test]
        fn never_panics_and_stays_in_bounds(attempt: i32, draw in 0.0..1.0_f64) {
            prop_assert!(delay(attempt, draw) <= LONGEST);
        }

        #[test]
        fn a_later_attempt_never_waits_less_for_the_same_draw(attempt in 1..i32::MAX, draw in 0.0..1.0_f64) {
            prop_assert!(delay(attempt, draw) <= delay(attempt + 1, draw));
        }
    }
}
