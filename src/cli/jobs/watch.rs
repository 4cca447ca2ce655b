//! `labelfleet jobs watch`: a line for each change, until the job is over or nobody reads on.

use std::{io, process::ExitCode, time::Instant};

use anyhow::Context;
use chrono::{DateTime, Utc};
use indicatif::{ProgressBar, ProgressStyle};
use labelfleet::queue::{
    Client, Job, JobId, JobState,
    admin::{
        AdminError, JobDetail, JobFilter,
        watch::{Follow, Seen, Watch, pause},
    },
};
use serde::Serialize;
use tokio::time::sleep;

use super::show;
use crate::cli::{
    say,
    table::{cut, length, plain},
};

/// Until nobody reads on.
pub async fn many(queue: &Client, filter: JobFilter, as_json: bool) -> anyhow::Result<()> {
    let mut watch = Watch::new(filter);
    let mut patience = Patience::default();
    loop {
        let begun = Instant::now();
        let seen = watch.look(queue).await.map_err(AdminError::from);
        if let Some(seen) = patience.with(seen)?
            && !say(&changes(&seen, as_json)?)?
        {
            return Ok(());
        }
        sleep(pause(begun.elapsed())).await;
    }
}

fn changes(Seen { jobs, removed, skipped }: &Seen, as_json: bool) -> anyhow::Result<String> {
    let now = clock(Utc::now());
    let mut text = String::new();
    for job in jobs {
        text += &if as_json { json_line(job)? } else { format!("{now}  {}\n", change(job)) };
    }
    let mut rest = String::new();
    rest.extend(removed.iter().map(|id| format!("{now}  {id:>8}  was removed\n")));
    if *skipped > 0 {
        rest += &format!("{now}  {skipped} more changed\n");
    }
    // Lines of JSON are jobs and nothing else.
    if as_json {
        eprint!("{rest}")
    } else {
        text += &rest
    }
    Ok(text)
}

fn change(job: &Job) -> String {
    let progress = job.progress.map(show::percent).unwrap_or_default();
    let (state, runs) = (job.state.as_str(), show::runs(job));
    let when = match job.state {
        JobState::Scheduled | JobState::Retryable => show::when(job, Utc::now()) + "  ",
        _ => String::new(),
    };
    plain(&format!(
        "{:>8}  {:<24}  {state:<9}  {runs:>5}  {progress:>5}  {when}{}",
        job.id,
        job.kind,
        show::what(job)
    ))
}

/// Until the job is over.
pub async fn one(queue: &Client, id: JobId, as_json: bool) -> anyhow::Result<ExitCode> {
    let mut follow = Follow::new(id);
    let mut patience = Patience::default();
    let mut told = Told::new();
    loop {
        let begun = Instant::now();
        let detail = match follow.look(queue).await {
            Err(AdminError::NotFound(_)) if told.last.is_some() => anyhow::bail!("job {id} was removed"),
            looked => patience.with(looked)?.flatten(),
        };
        if let Some(detail) = detail {
            let is_read = if as_json { say(&json_line(&detail)?)? } else { told.tell(&detail)? };
            let state = detail.job.state;
            if state.is_final() || !is_read {
                return Ok(ExitCode::from(u8::from(state != JobState::Completed)));
            }
            told.last = Some(detail.job);
        }
        sleep(pause(begun.elapsed())).await;
    }
}

/// What was printed of one job.
struct Told {
    last: Option<Job>,
    /// On stderr, if that is a terminal; else progress is a line like others.
    bar: ProgressBar,
}

impl Told {
    fn new() -> Self {
        let style = ProgressStyle::with_template("[{bar:40}] {percent} %");
        let bar = ProgressBar::new(100);
        let style = style.map(|style| style.progress_chars("=> "));
        Self { last: None, bar: style.map_or(bar.clone(), |style| bar.with_style(style)) }
    }

    /// Whether somebody reads on.
    fn tell(&self, detail: &JobDetail) -> io::Result<bool> {
        let (job, now) = (&detail.job, clock(Utc::now()));
        let mut text = String::new();
        if self.last.is_none() {
            text += &format!("job {}: {} {}\n", job.id, job.kind, plain(&job.args.to_string()));
        }
        for said in &detail.log {
            text += &format!("{}  | {}\n", clock(said.at), plain(&said.line));
        }
        let is_new = |field: fn(&Job) -> _| self.last.as_ref().is_none_or(|last| field(last) != field(job));
        let has_progressed = self.last.as_ref().is_none_or(|last| last.progress != job.progress);
        if let Some(progress) = job.progress.filter(|_| has_progressed) {
            if self.bar.is_hidden() {
                text += &format!("{now}  {}\n", show::percent(progress));
            }
            self.bar.set_position((progress * 100.0) as u64);
        }
        if is_new(|job| (job.state, job.attempt, job.cancel_requested_at)) {
            text += &format!("{now}  {}\n", standing(job));
        }
        if job.state.is_final() {
            self.bar.finish_and_clear();
        }
        self.bar.suspend(|| say(&text))
    }
}

/// Its state in words.
fn standing(job: &Job) -> String {
    let error = job.last_error.as_ref().map(|error| format!(": {}", cut(error, 200))).unwrap_or_default();
    let run = format!("attempt {} of {}", job.attempt, job.max_attempts);
    match job.state {
        JobState::Running if job.cancel_requested_at.is_some() => format!("running, asked to stop, {run}"),
        JobState::Running => format!("running, {run}"),
        JobState::Completed => {
            let took = job.finalized_at.zip(job.attempted_at).map(|(to, from)| show::seconds(to - from));
            format!("completed after {}", took.map_or_else(|| "-".to_owned(), length))
        }
        JobState::Scheduled | JobState::Available => job.state.to_string(),
        JobState::Retryable | JobState::Cancelled | JobState::Discarded => {
            format!("{}, {run}{error}", job.state)
        }
    }
}

fn clock(at: DateTime<Utc>) -> String {
    at.format("%H:%M:%SZ").to_string()
}

fn json_line(value: &impl Serialize) -> anyhow::Result<String> {
    Ok(serde_json::to_string(value)? + "\n")
}

/// Once something was seen, an outage of the database is waited out.
#[derive(Default)]
struct Patience {
    has_seen: bool,
    is_away: bool,
}

impl Patience {
    /// What was seen; none: the database does not answer.
    fn with<T>(&mut self, looked: Result<T, AdminError>) -> anyhow::Result<Option<T>> {
        match looked {
            Ok(seen) => {
                if std::mem::take(&mut self.is_away) {
                    eprintln!("the database answers again");
                }
                self.has_seen = true;
                Ok(Some(seen))
            }
            Err(AdminError::Database(error)) if self.has_seen => {
                if !std::mem::replace(&mut self.is_away, true) {
                    eprintln!("the database does not answer, it is tried again: {error}");
                }
                Ok(None)
            }
            Err(error) => Err(error).context("looking at jobs"),
        }
    }
}
