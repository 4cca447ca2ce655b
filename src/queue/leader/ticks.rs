//! When a schedule fires: pure decisions about cron expressions, time zones and what was missed.
//!
//! A cron expression is read as local time, and local times become instants here and not in the cron library: one that is
//! skipped in spring is the first instant after the gap, one that comes twice in autumn is the first of the two. So no
//! local time fires twice, and a daily one fires every day.

use std::time::Duration;

use chrono::{DateTime, NaiveDateTime, TimeDelta, TimeZone, Timelike, Utc};
use chrono_tz::Tz;

use crate::queue::registry::{CatchUp, Timing};

/// Ticks that were missed all fire if they are no older than this, so that a change of leader loses none.
const IN_TIME: Duration = Duration::from_secs(10);
/// Of ticks that are all made up for: at most so many of the oldest.
const MOST: usize = 1_000;
/// Longer than any clock was ever put forward: Samoa left out a day.
const LONGEST_GAP_MINUTES: i64 = 25 * 60;

/// The ticks after an instant, in order.
pub(super) fn after(
    cron: &cron::Schedule,
    zone: Tz,
    after: DateTime<Utc>,
) -> impl Iterator<Item = DateTime<Utc>> + '_ {
    // The library is told that local time is UTC, which has neither gaps nor repetitions.
    let local = after.with_timezone(&zone).naive_local().and_utc();
    let mut last = after;
    cron.after(&local).filter_map(move |tick| {
        let instant = instant(zone, tick.naive_utc())?;
        // Several of a gap are one; in the second pass of an hour all have been.
        let is_later = instant > last;
        last = last.max(instant);
        is_later.then_some(instant)
    })
}

fn instant(zone: Tz, local: NaiveDateTime) -> Option<DateTime<Utc>> {
    if let Some(instant) = zone.from_local_datetime(&local).earliest() {
        return Some(instant.to_utc());
    }
    let minute = local.with_second(0)?.with_nanosecond(0)?;
    (1..=LONGEST_GAP_MINUTES)
        .find_map(|minutes| zone.from_local_datetime(&(minute + TimeDelta::minutes(minutes))).earliest())
        .map(|instant| instant.to_utc())
}

/// The ticks to fire at `now` when `first` is the first that did not, and the one after them.
pub(super) fn due(
    cron: &cron::Schedule,
    timing: Timing,
    first: DateTime<Utc>,
    now: DateTime<Utc>,
) -> (Vec<DateTime<Utc>>, Option<DateTime<Utc>>) {
    let until_now = |from| after(cron, timing.zone, from).take_while(move |tick| *tick <= now);
    let since = now - IN_TIME;
    let mut due = Vec::new();
    if timing.catch_up == CatchUp::All {
        due.push(first);
        due.extend(until_now(first).take(MOST - 1));
    } else {
        if first >= since {
            due.push(first);
        }
        due.extend(until_now(first.max(since)));
    }
    if due.is_empty() && timing.catch_up == CatchUp::Once {
        // Missed long ago: one run makes up for all.
        due.push(first);
    }
    (due, after(cron, timing.zone, now).next())
}

#[cfg(test)]
mod tests {
    use std::str::FromStr;

    use chrono_tz::{America::New_York, Australia::Lord_Howe, Europe::Berlin};
    use proptest::prelude::*;

    use super::*;

    fn cron(text: &str) -> cron::Schedule {
        cron::Schedule::from_str(text).unwrap()
    }

    fn utc(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    /// The first ticks after an instant.
    fn ticks(text: &str, zone: Tz, from: &str, count: usize) -> Vec<String> {
        let cron = cron(text);
        let all: Vec<_> = after(&cron, zone, utc(from)).take(count).collect();
        all.iter().map(|tick| tick.format("%dT%H:%MZ").to_string()).collect()
    }

    #[test]
    fn a_local_time_that_is_skipped_fires_after_the_gap() {
        // 02:00 becomes 03:00.
        assert_eq!(
            ticks("0 30 2 * * *", Berlin, "2026-03-28T00:00:00Z", 3),
            ["28T01:30Z", "29T01:00Z", "30T00:30Z"]
        );
        assert_eq!(ticks("0 30 2 * * *", New_York, "2026-03-07T12:00:00Z", 2), ["08T07:00Z", "09T06:30Z"]);
        // 02:00 becomes 02:30.
        assert_eq!(ticks("0 15 2 * * *", Lord_Howe, "2026-10-03T00:00:00Z", 2), ["03T15:30Z", "04T15:15Z"]);
        // All of the gap are one, which is that of 03:00.
        assert_eq!(
            ticks("0 */20 * * * *", Berlin, "2026-03-29T00:30:00Z", 3),
            ["29T00:40Z", "29T01:00Z", "29T01:20Z"]
        );
    }

    #[test]
    fn a_local_time_that_comes_twice_fires_once() {
        // 03:00 becomes 02:00.
        assert_eq!(ticks("0 30 2 * * *", Berlin, "2026-10-24T12:00:00Z", 2), ["25T00:30Z", "26T01:30Z"]);
        assert_eq!(ticks("0 30 1 * * *", New_York, "2026-10-31T12:00:00Z", 2), ["01T05:30Z", "02T06:30Z"]);
        // 02:00 becomes 01:30.
        assert_eq!(ticks("0 45 1 * * *", Lord_Howe, "2026-04-04T00:00:00Z", 2), ["04T14:45Z", "05T15:15Z"]);
        // Asked within the second pass.
        assert_eq!(ticks("0 30 2 * * *", Berlin, "2026-10-25T01:10:00Z", 1), ["26T01:30Z"]);
    }

    fn at(hour: u32, minute: u32, second: u32) -> DateTime<Utc> {
        Utc.with_ymd_and_hms(2026, 3, 1, hour, minute, second).unwrap()
    }

    fn fired(
        text: &str,
        catch_up: CatchUp,
        first: DateTime<Utc>,
        now: DateTime<Utc>,
    ) -> (Vec<DateTime<Utc>>, Option<DateTime<Utc>>) {
        due(&cron(text), Timing::default().catch_up(catch_up), first, now)
    }

    #[test]
    fn a_tick_in_time_fires_once_and_the_next_follows() {
        for catch_up in [CatchUp::Skip, CatchUp::Once, CatchUp::All] {
            let now = at(1, 0, 3);
            let (due, next) = fired("0 * * * * *", catch_up, at(1, 0, 0), now);
            assert_eq!((due, next), (vec![at(1, 0, 0)], Some(at(1, 1, 0))));
        }
    }

    #[test]
    fn a_short_gap_is_made_up_for() {
        for catch_up in [CatchUp::Skip, CatchUp::Once, CatchUp::All] {
            let (due, next) = fired("* * * * * *", catch_up, at(1, 0, 0), at(1, 0, 3));
            assert_eq!(due, [at(1, 0, 0), at(1, 0, 1), at(1, 0, 2), at(1, 0, 3)]);
            assert_eq!(next, Some(at(1, 0, 4)));
        }
    }

    #[test]
    fn of_a_long_gap_none_one_or_all_fire() {
        let fired = |catch_up| fired("0 0 * * * *", catch_up, at(1, 0, 0), at(3, 3, 0));
        let next = Some(at(4, 0, 0));
        assert_eq!(fired(CatchUp::Skip), (vec![], next));
        assert_eq!(fired(CatchUp::Once), (vec![at(1, 0, 0)], next));
        assert_eq!(fired(CatchUp::All), (vec![at(1, 0, 0), at(2, 0, 0), at(3, 0, 0)], next));
    }

    #[test]
    fn all_is_no_more_than_a_thousand() {
        let (due, next) = fired("* * * * * *", CatchUp::All, at(1, 0, 0), at(2, 0, 0));
        assert_eq!((due.len(), due[999], next), (1_000, at(1, 16, 39), Some(at(2, 0, 1))));
    }

    proptest! {
        #[test]
        fn a_daily_tick_fires_once_each_local_day(
            zone in prop::sample::select(vec![Berlin, New_York, Lord_Howe, Tz::UTC]),
            start in 1_767_225_600_i64..1_830_000_000,
            hour in 0_u32..24,
            minute in 0_u32..60,
        ) {
            let cron = cron(&format!("0 {minute} {hour} * * *"));
            let start = DateTime::from_timestamp(start, 0).unwrap();
            let ticks: Vec<_> = after(&cron, zone, start).take(400).collect();
            prop_assert!(ticks[0] > start);
            prop_assert!(ticks[0] <= start + TimeDelta::hours(25));
            for pair in ticks.windows(2) {
                let days = pair.iter().map(|tick| tick.with_timezone(&zone).date_naive()).collect::<Vec<_>>();
                prop_assert_eq!(days[1] - days[0], TimeDelta::days(1));
            }
        }

        /// Wherever one begins to look, the ticks are the same.
        #[test]
        fn ticks_do_not_depend_on_where_one_looks_from(
            zone in prop::sample::select(vec![Berlin, New_York, Lord_Howe]),
            start in 1_767_225_600_i64..1_830_000_000,
            minutes in 1_i64..3_000,
        ) {
            let cron = cron("0 */17 1-3 * * *");
            let start = DateTime::from_timestamp(start, 0).unwrap();
            let middle = start + TimeDelta::minutes(minutes);
            let later: Vec<_> = after(&cron, zone, start).skip_while(|tick| *tick <= middle).take(20).collect();
            prop_assert_eq!(later, after(&cron, zone, middle).take(20).collect::<Vec<_>>());
        }
    }
}
