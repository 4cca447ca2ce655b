//! What listeners see, look by look.

use std::time::Duration;

use labelfleet::queue::{
    AdminError, JobFilter, JobId, JobState,
    admin::{
        self, JobDetail,
        watch::{Follow, Seen, Watch},
    },
};

use super::{
    lab::{Lab, nothing},
    probe::Act,
};
use crate::support::wait;

async fn execute(lab: &Lab, sql: &'static str) {
    sqlx::query(sql).execute(lab.pool()).await.unwrap();
}

async fn look(lab: &Lab, watch: &mut Watch) -> Seen {
    watch.look(&lab.queue).await.unwrap()
}

fn told(seen: &Seen) -> Vec<(JobId, JobState)> {
    seen.jobs.iter().map(|job| (job.id, job.state)).collect()
}

#[tokio::test]
async fn each_change_is_seen_once() {
    let lab = Lab::new().await;
    let mut ids = lab.enqueue_all(&nothing(0..3)).await;
    ids.sort_unstable();
    let mut watch = Watch::new(JobFilter::default());
    let present: Vec<_> = ids.iter().map(|id| (*id, JobState::Available)).collect();
    assert_eq!(told(&look(&lab, &mut watch).await), present);
    assert!(look(&lab, &mut watch).await.is_empty());
    admin::cancel(&lab.queue, ids[1], "an operator").await.unwrap();
    let new = lab.enqueue(3, Act::Nothing).await;
    let changed = look(&lab, &mut watch).await;
    assert_eq!(told(&changed), [(ids[1], JobState::Cancelled), (new, JobState::Available)]);
    assert!(look(&lab, &mut watch).await.is_empty());
    // Also one that was over.
    admin::retry(&lab.queue, ids[1]).await.unwrap();
    assert_eq!(told(&look(&lab, &mut watch).await), [(ids[1], JobState::Available)]);
    sqlx::query("DELETE FROM jobs WHERE id = $1").bind(ids[0].0).execute(lab.pool()).await.unwrap();
    let gone = look(&lab, &mut watch).await;
    assert_eq!((gone.removed, gone.jobs.len(), gone.skipped), (vec![ids[0]], 0, 0));
    assert!(look(&lab, &mut watch).await.is_empty());
}

#[tokio::test]
async fn a_job_whose_state_is_not_asked_for_any_more_is_seen_once_more() {
    let lab = Lab::new().await;
    let id = lab.enqueue(1, Act::Nothing).await;
    let timed = JobFilter { states: vec![JobState::Scheduled, JobState::Retryable], ..JobFilter::default() };
    let due = JobFilter { states: vec![JobState::Available], ..JobFilter::default() };
    let (mut timed, mut due) = (Watch::new(timed), Watch::new(due));
    assert!(look(&lab, &mut timed).await.is_empty());
    assert_eq!(told(&look(&lab, &mut due).await), [(id, JobState::Available)]);
    execute(
        &lab,
        "UPDATE jobs SET state = 'scheduled', dispatched_at = NULL, scheduled_at = now() + interval '1 h'",
    )
    .await;
    assert_eq!(told(&look(&lab, &mut timed).await), [(id, JobState::Scheduled)]);
    assert_eq!(told(&look(&lab, &mut due).await), [(id, JobState::Scheduled)]);
    execute(&lab, "UPDATE jobs SET scheduled_at = now() + interval '2 h'").await;
    assert!(look(&lab, &mut due).await.is_empty(), "it is none of those that are asked for");
    assert_eq!(told(&look(&lab, &mut timed).await), [(id, JobState::Scheduled)]);
    admin::retry(&lab.queue, id).await.unwrap();
    assert_eq!(told(&look(&lab, &mut due).await), [(id, JobState::Available)]);
}

#[tokio::test]
async fn of_more_changes_than_are_shown_some_are_skipped_and_none_of_what_was_shown_is() {
    let lab = Lab::new().await;
    lab.enqueue_all(&nothing(0..120)).await;
    let mut watch = Watch::new(JobFilter::default());
    let present = look(&lab, &mut watch).await;
    assert_eq!((present.jobs.len(), present.skipped), (100, 0), "the older ones are no change");
    let newest = lab.enqueue_all(&nothing(0..250)).await.into_iter().max().unwrap();
    let new = look(&lab, &mut watch).await;
    assert_eq!((new.jobs.len(), new.skipped, new.jobs[99].id), (100, 150, newest));
    assert!(look(&lab, &mut watch).await.is_empty());

    execute(&lab, "UPDATE jobs SET state = 'cancelled', dispatched_at = NULL, finalized_at = now()").await;
    let mut ended = Vec::new();
    let first = look(&lab, &mut watch).await;
    assert_eq!((first.jobs.len(), first.skipped), (100, 170));
    ended.extend(told(&first));
    let second = look(&lab, &mut watch).await;
    assert_eq!((second.jobs.len(), second.skipped), (100, 0));
    ended.extend(told(&second));
    let mut shown: Vec<_> = present.jobs.iter().chain(&new.jobs).map(|job| job.id).collect();
    let mut ended: Vec<_> = ended.into_iter().map(|(id, _)| id).collect();
    shown.sort_unstable();
    ended.sort_unstable();
    assert_eq!(ended, shown);
    assert!(look(&lab, &mut watch).await.is_empty());
}

/// A look goes 5,000 jobs deep: what comes into view because newer ones were removed is older still.
#[tokio::test]
async fn what_comes_into_view_from_below_is_no_change() {
    let lab = Lab::new().await;
    execute(
        &lab,
        "INSERT INTO jobs (kind, queue, state, args, max_attempts, attempt, attempted_at, dispatched_at, finalized_at)
         SELECT 'k', 'q', 'discarded', '{}', 3, 3, now(), NULL, now() FROM generate_series(1, 5200)",
    )
    .await;
    let filter = JobFilter { states: vec![JobState::Discarded], ..JobFilter::default() };
    let mut watch = Watch::new(filter);
    assert_eq!(look(&lab, &mut watch).await.jobs.len(), 100);
    execute(&lab, "DELETE FROM jobs WHERE id > (SELECT max(id) - 100 FROM jobs)").await;
    assert!(look(&lab, &mut watch).await.is_empty());
    execute(&lab, "UPDATE jobs SET result = '1' WHERE id = (SELECT min(id) + 150 FROM jobs)").await;
    assert_eq!(look(&lab, &mut watch).await.jobs.len(), 1, "in view by now");
    execute(&lab, "UPDATE jobs SET result = '1' WHERE id = (SELECT min(id) FROM jobs)").await;
    assert!(look(&lab, &mut watch).await.is_empty(), "too deep");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_job_is_followed_through_its_runs_with_its_log() {
    let lab = Lab::new().await;
    let id = lab.enqueue(1, Act::Steps { count: 2 }).await;
    let mut follow = Follow::new(id);
    let first = follow.look(&lab.queue).await.unwrap().unwrap();
    assert_eq!((first.job.state, first.attempts, first.log), (JobState::Available, vec![], vec![]));
    assert_eq!(follow.look(&lab.queue).await.unwrap(), None);
    let (worker, _) = lab.worker().await;
    let mut seen: Vec<JobDetail> = Vec::new();
    for step in 1..=2 {
        lab.step(1).await;
        let line = format!("step {step}");
        wait::until("the step is seen", Duration::from_secs(20), async || {
            seen.extend(follow.look(&lab.queue).await.unwrap());
            let has_said = seen.iter().any(|detail| detail.log.iter().any(|said| said.line == line));
            let has_come = seen.iter().any(|detail| detail.job.progress == Some(step as f32 / 2.0));
            (has_said && has_come).then_some(())
        })
        .await;
    }
    worker.drain().await;
    seen.extend(follow.look(&lab.queue).await.unwrap());
    let lines: Vec<_> =
        seen.iter().flat_map(|detail| &detail.log).map(|said| (said.number, said.line.as_str())).collect();
    assert_eq!(lines, [(1, "step 1"), (2, "step 2")], "each line once");
    let last = seen.last().unwrap();
    assert_eq!((last.job.state, last.attempts.len()), (JobState::Completed, 1));
    assert_eq!(follow.look(&lab.queue).await.unwrap(), None);
    admin::delete(&lab.queue, id).await.unwrap();
    assert!(matches!(follow.look(&lab.queue).await, Err(AdminError::NotFound(_))));
}
