//! Jobs as people read them. Tables cut what is long; a single job is shown whole.

use chrono::{DateTime, TimeDelta, Utc};
use labelfleet::queue::{
    Job, JobId, JobState,
    admin::{JobAttempt, JobDetail, Until, WaitsFor, batches::BatchView},
};

use crate::cli::{
    table::{ago, cut, length, moment, plain, table},
    time,
};

/// Of arguments in a table, and of an error.
const ARGS: usize = 60;
const ERROR: usize = 100;

/// The others of a list are older than `next`.
pub fn list(jobs: &[Job], next: Option<JobId>) -> String {
    let now = Utc::now();
    let rows: Vec<_> = jobs
        .iter()
        .map(|job| {
            [
                job.id.to_string(),
                job.kind.clone(),
                job.queue.clone(),
                job.state.to_string(),
                runs(job),
                job.progress.map_or_else(|| "-".to_owned(), percent),
                ago(job.created_at, now),
                when(job, now),
                what(job),
            ]
        })
        .collect();
    let head =
        [">ID", "KIND", "QUEUE", "STATE", ">ATTEMPT", ">PROGRESS", "CREATED", "WHEN", "ARGS AND LAST ERROR"];
    let older = next.map(|next| format!("older ones: --before {next}\n"));
    table(head, &rows) + &older.unwrap_or_default()
}

pub fn runs(job: &Job) -> String {
    format!("{}/{}", job.attempt, job.max_attempts)
}

pub fn percent(progress: f32) -> String {
    format!("{:.0} %", progress * 100.0)
}

/// Since when it is in its state, or when it leaves it.
pub fn when(job: &Job, now: DateTime<Utc>) -> String {
    match job.state {
        JobState::Scheduled | JobState::Retryable => match (&job.waits_for, job.scheduled_at) {
            (Some(waits), _) => awaited(waits),
            (None, at) => moment(at, now),
        },
        JobState::Available => format!("due {}", moment(job.scheduled_at, now)),
        JobState::Running if job.cancel_requested_at.is_some() => {
            format!("asked to stop {}", moment(job.cancel_requested_at, now))
        }
        JobState::Running => format!("began {}", moment(job.attempted_at, now)),
        JobState::Completed | JobState::Cancelled | JobState::Discarded => moment(job.finalized_at, now),
    }
}

fn awaited(waits: &WaitsFor) -> String {
    match (waits.batch, waits.until, waits.jobs.as_slice()) {
        (Some(batch), Until::Completed, _) => format!("after batch {}", batch.0),
        (Some(batch), Until::Failed, _) => format!("on failure of batch {}", batch.0),
        (None, _, [one]) => format!("after job {one}"),
        (None, ..) => format!("after {} jobs", waits.job_count),
    }
}

/// Its arguments and, unless it went well, its last error.
pub fn what(job: &Job) -> String {
    let args = cut(&job.args.to_string(), ARGS);
    match job.last_error.as_ref().filter(|_| job.state != JobState::Completed) {
        Some(error) => format!("{args}  {}", cut(error, ERROR)),
        None => args,
    }
}

pub fn detail(shown: &JobDetail) -> String {
    let now = Utc::now();
    let job = &shown.job;
    let both = |at: DateTime<Utc>| format!("{}, {}", time(at), ago(at, now));
    let dash = |at: Option<DateTime<Utc>>| at.map_or_else(|| "-".to_owned(), both);
    let mut lines = vec![
        format!("job {}: {} {}", job.id, job.kind, job.args),
        format!("queue       {}", job.queue),
        format!("state       {}", job.state),
        format!("attempt     {} of {}", job.attempt, job.max_attempts),
        format!("created     {}", both(job.created_at)),
    ];
    match &job.waits_for {
        Some(waits) => lines.push(format!("due         {}", awaited(waits))),
        None => lines.push(format!("due         {}", dash(job.scheduled_at))),
    }
    lines.extend(job.waits_for.iter().filter(|waits| waits.jobs.len() > 1).map(|waits| {
        let ids: Vec<_> = waits.jobs.iter().map(ToString::to_string).collect();
        format!("waits for   {}", ids.join(", "))
    }));
    lines.push(format!("attempted   {}", dash(job.attempted_at)));
    lines.push(format!("finalized   {}", dash(job.finalized_at)));
    lines.extend(job.progress.map(|progress| format!("progress    {}", percent(progress))));
    lines.extend(job.cancel_requested_at.map(|at| format!("to stop     since {}", both(at))));
    lines.extend(job.batch_id.map(|batch| format!("batch       {}", batch.0)));
    lines.extend(job.unique_key.iter().map(|key| format!("unique key  {key}")));
    lines.extend(job.concurrency_key.iter().map(|key| format!("concurrency {key}")));
    lines.extend(job.result.iter().map(|result| format!("result      {result}")));
    for attempt in &shown.attempts {
        lines.push(run(attempt, now));
        let error = attempt.error.iter().flat_map(|error| error.lines());
        lines.extend(error.map(|line| format!("    {line}")));
    }
    let mut last = None;
    for said in &shown.log {
        if last.replace(said.attempt) != Some(said.attempt) {
            lines.push(format!("log of attempt {}:", said.attempt));
        }
        lines.push(format!("    {}  {}", time(said.at), said.line));
    }
    lines.iter().map(|line| plain(line) + "\n").collect()
}

fn run(attempt: &JobAttempt, now: DateTime<Utc>) -> String {
    let JobAttempt { attempt, outcome, started_at, finished_at, .. } = attempt;
    match (started_at, finished_at) {
        (Some(from), Some(to)) => format!(
            "attempt {attempt}: {outcome} after {}, began {}, {}",
            length(seconds(*to - *from)),
            time(*from),
            ago(*from, now)
        ),
        (Some(from), None) => {
            format!("attempt {attempt}: {outcome} since {}, {}", time(*from), ago(*from, now))
        }
        (None, Some(at)) => format!("no attempt: {outcome} {}, {}", time(*at), ago(*at, now)),
        (None, None) => format!("attempt {attempt}: {outcome}"),
    }
}

pub fn seconds(delta: TimeDelta) -> f64 {
    delta.as_seconds_f64()
}

pub fn batch(batch: &BatchView) -> String {
    let jobs = &batch.jobs;
    let counts = [
        ("scheduled", jobs.scheduled),
        ("available", jobs.available),
        ("running", jobs.running),
        ("retryable", jobs.retryable),
        ("completed", jobs.completed),
        ("cancelled", jobs.cancelled),
        ("discarded", jobs.discarded),
    ];
    let mut text = format!("batch {}, made {}\n", batch.id.0, ago(batch.created_at, Utc::now()));
    for (state, count) in counts {
        text += &format!("{state:<10}{count:>8}\n");
    }
    for job in &batch.waiting {
        let until = match job.until {
            Until::Completed => "all of them are completed",
            Until::Failed => "one of them fails",
        };
        text += &format!("job {} ({}) waits until {until}\n", job.id, job.kind);
    }
    text
}
