//! `labelfleet jobs`: background jobs for people (tables) and for scripts (`--json`).

use chrono::{DateTime, Utc};
use clap::Subcommand;
use labelfleet::queue::{
    self, JobId,
    admin::{self, Job, JobAttempt, JobFilter, JobState},
};

use super::{Showing, json, time};

#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    showing: Showing,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// The newest jobs first.
    List {
        /// scheduled, available, running, retryable, completed, cancelled or discarded.
        #[arg(long)]
        state: Option<JobState>,
        /// provision_instance, say.
        #[arg(long)]
        kind: Option<String>,
        #[arg(long)]
        queue: Option<String>,
        /// Only jobs with a lower id: the last one of the page before.
        #[arg(long)]
        before: Option<i64>,
        #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(i64).range(1..=1000))]
        limit: i64,
    },
    /// A job and its attempts that did not complete.
    Show { id: i64 },
    /// Make a discarded, cancelled or waiting job due now.
    Retry { id: i64 },
    /// Cancel a waiting job.
    Cancel { id: i64 },
}

pub async fn run(args: Args) -> anyhow::Result<()> {
    let pool = args.showing.pool()?;
    let as_json = args.showing.json;
    let text = match args.command {
        Command::List { state, kind, queue, before, limit } => {
            let filter =
                JobFilter { states: state.into_iter().collect(), kind, queue, ..JobFilter::default() };
            let jobs = admin::list(&pool, &filter, before.map(JobId), limit).await?.data;
            if as_json { json(&jobs)? } else { table(&jobs) }
        }
        Command::Show { id } => {
            let job = admin::get(&pool, JobId(id)).await?;
            let attempts = admin::attempts(&pool, JobId(id)).await?;
            if as_json {
                json(&serde_json::json!({ "job": job, "attempts": attempts }))?
            } else {
                detail(&job, &attempts)
            }
        }
        Command::Retry { id } => {
            // Without a dispatcher: a worker finds the job in Postgres within seconds.
            changed(&admin::retry(&queue::Client::new(pool), JobId(id)).await?, as_json)?
        }
        Command::Cancel { id } => changed(&admin::cancel(&pool, JobId(id)).await?, as_json)?,
    };
    Ok(super::print(&text)?)
}

fn changed(job: &Job, as_json: bool) -> anyhow::Result<String> {
    if as_json { json(job) } else { Ok(format!("job {} is {}\n", job.id, job.state)) }
}

fn table(jobs: &[Job]) -> String {
    let row = |cells: [&str; 7]| {
        let [id, kind, queue, state, attempt, created, args] = cells;
        format!("{id:>10}  {kind:<20}  {queue:<10}  {state:<9}  {attempt:>7}  {created:<20}  {args}\n")
    };
    let mut text = row(["ID", "KIND", "QUEUE", "STATE", "ATTEMPT", "CREATED", "ARGS"]);
    for job in jobs {
        text += &row([
            &job.id.to_string(),
            &job.kind,
            &job.queue,
            job.state.as_str(),
            &format!("{}/{}", job.attempt, job.max_attempts),
            &time(job.created_at),
            &job.args.to_string(),
        ]);
        if let Some(error) = job.last_error.as_ref().filter(|_| job.state != JobState::Completed) {
            text += &format!("{:>10}  last error: {}\n", "", error.lines().next().unwrap_or_default());
        }
    }
    text
}

fn detail(job: &Job, attempts: &[JobAttempt]) -> String {
    let optional = |at: Option<DateTime<Utc>>| at.map_or_else(|| "-".to_owned(), time);
    let mut lines = vec![
        format!("job {}: {} {}", job.id, job.kind, job.args),
        format!("queue       {}", job.queue),
        format!("state       {}", job.state),
        format!("attempt     {} of {}", job.attempt, job.max_attempts),
        format!("created     {}", time(job.created_at)),
        format!("due         {}", time(job.scheduled_at)),
        format!("attempted   {}", optional(job.attempted_at)),
        format!("finalized   {}", optional(job.finalized_at)),
    ];
    lines.extend(job.unique_key.iter().map(|key| format!("unique key  {key}")));
    lines.extend(job.result.iter().map(|result| format!("result      {result}")));
    for attempt in attempts {
        lines.push(format!(
            "attempt {}: {} at {}",
            attempt.attempt,
            attempt.outcome,
            attempt.finished_at.map_or_else(|| "-".to_owned(), time)
        ));
        let error = attempt.error.iter().flat_map(|error| error.lines());
        lines.extend(error.map(|line| format!("    {line}")));
    }
    lines.join("\n") + "\n"
}
