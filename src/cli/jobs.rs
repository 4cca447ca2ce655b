//! `labelfleet jobs`: background jobs for people (tables) and for scripts (`--json`, as the API has them).

use std::io::Write;

use anyhow::Context;
use chrono::{DateTime, Utc};
use clap::Subcommand;
use labelfleet::queue::{
    ArgsCipher, Client, JobId,
    admin::{self, Job, JobDetail, JobFilter, JobState, bulk},
};
use sqlx::PgPool;

use super::{
    Showing, json,
    table::{moment, table},
    time,
};

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
        #[command(flatten)]
        filter: Filter,
        /// Only jobs with a lower id: the last one of the page before.
        #[arg(long)]
        before: Option<i64>,
        #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(i64).range(1..=1000))]
        limit: i64,
    },
    /// A job, its runs and their log.
    Show { id: i64 },
    /// Make a discarded, cancelled or waiting job due now; with --all those that a filter names.
    Retry {
        #[command(flatten)]
        which: Which,
    },
    /// Cancel a waiting job, ask a running one to stop.
    Cancel { id: i64 },
    /// Remove a job that is final; with --all those that a filter names.
    Delete {
        #[command(flatten)]
        which: Which,
    },
}

#[derive(Debug, clap::Args)]
struct Filter {
    /// scheduled, available, running, retryable, completed, cancelled or discarded; several with commas between them.
    #[arg(long = "state", value_delimiter = ',')]
    states: Vec<JobState>,
    /// provision_instance, say.
    #[arg(long)]
    kind: Option<String>,
    #[arg(long)]
    queue: Option<String>,
    /// In the arguments or the last error, in any case.
    #[arg(long)]
    text: Option<String>,
    /// 2026-04-06T12:00:00Z, say.
    #[arg(long, value_name = "TIME")]
    created_from: Option<DateTime<Utc>>,
    /// Exclusive.
    #[arg(long, value_name = "TIME")]
    created_to: Option<DateTime<Utc>>,
}

impl From<Filter> for JobFilter {
    fn from(filter: Filter) -> Self {
        let Filter { states, kind, queue, text, created_from, created_to } = filter;
        Self { states, kind, queue, created_from, created_to, text }
    }
}

#[derive(Debug, clap::Args)]
struct Which {
    #[arg(required_unless_present = "all", conflicts_with = "all")]
    id: Option<i64>,
    /// All jobs that --state, --kind, --queue or --text name.
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    filter: Filter,
    /// Don't ask.
    #[arg(long, requires = "all")]
    yes: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Change {
    Retry,
    Delete,
}

pub async fn run(args: Args) -> anyhow::Result<()> {
    let pool = args.showing.pool()?;
    let as_json = args.showing.json;
    let queue = Client::new(pool.clone()).with_cipher(args_cipher()?);
    let text = match args.command {
        Command::List { filter, before, limit } => {
            let jobs = list(&pool, &filter.into(), before.map(JobId), limit).await?;
            let jobs: Vec<Job> = jobs.into_iter().map(|job| queue.show(job)).collect();
            if as_json { json(&jobs)? } else { overview(&jobs) }
        }
        Command::Show { id } => {
            let found = admin::detail(&pool, JobId(id)).await?;
            let shown = JobDetail { job: queue.show(found.job), ..found };
            if as_json { json(&shown)? } else { detail(&shown) }
        }
        Command::Cancel { id } => changed(&queue.show(admin::cancel(&pool, JobId(id)).await?), as_json)?,
        // Without a dispatcher: a worker finds the job in Postgres within seconds.
        Command::Retry { which: Which { id: Some(id), .. } } => {
            changed(&queue.show(admin::retry(&queue, JobId(id)).await?), as_json)?
        }
        Command::Delete { which: Which { id: Some(id), .. } } => {
            admin::delete(&pool, JobId(id)).await?;
            if as_json {
                json(&serde_json::json!({ "success": true }))?
            } else {
                format!("job {id} is deleted\n")
            }
        }
        Command::Retry { which } => many(pool, which, Change::Retry, as_json).await?,
        Command::Delete { which } => many(pool, which, Change::Delete, as_json).await?,
    };
    Ok(super::print(&text)?)
}

/// Shows encrypted arguments to who has the keys. From the environment only, since others can read a command line.
fn args_cipher() -> anyhow::Result<Option<ArgsCipher>> {
    let keys = std::env::var("JOB_ARGS_KEYS").ok().filter(|keys| !keys.is_empty());
    let cipher = keys.map(|keys| keys.parse()).transpose();
    cipher.map_err(|why: String| anyhow::anyhow!("JOB_ARGS_KEYS: {why}"))
}

/// Goes on where a page ended for having looked at enough.
async fn list(
    pool: &PgPool,
    filter: &JobFilter,
    mut before: Option<JobId>,
    limit: i64,
) -> anyhow::Result<Vec<Job>> {
    let room = usize::try_from(limit)?;
    let mut jobs = Vec::new();
    while jobs.len() < room {
        let wanted = i64::try_from(room - jobs.len())?;
        let page = admin::list(pool, filter, before, wanted).await?;
        jobs.extend(page.data);
        before = page.next_before;
        if before.is_none() {
            break;
        }
    }
    Ok(jobs)
}

async fn many(pool: PgPool, which: Which, change: Change, as_json: bool) -> anyhow::Result<String> {
    let client = Client::new(pool);
    let filter = JobFilter::from(which.filter);
    anyhow::ensure!(filter.is_narrow(), "say which: at least one of --state, --kind, --queue and --text");
    let (may, verb) = match change {
        Change::Retry => (&bulk::RETRIED[..], "retried"),
        Change::Delete => (&bulk::DELETED[..], "deleted"),
    };
    if let Some(open) = filter.states.iter().find(|state| !may.contains(state)) {
        anyhow::bail!("jobs that are {open} can't be {verb} by filter");
    }
    if !which.yes {
        let count = match change {
            Change::Retry => bulk::to_retry(&client, &filter).await?,
            Change::Delete => bulk::to_delete(&client, &filter).await?,
        };
        anyhow::ensure!(is_sure(&format!("{count} jobs will be {verb}. Go on?"))?, "nothing was changed");
    }
    let done = match change {
        Change::Retry => bulk::retry(&client, &filter).await?,
        Change::Delete => bulk::delete(&client, &filter).await?,
    };
    if as_json {
        return json(&done);
    }
    let skipped = if done.skipped > 0 {
        format!(
            ", {} left as they are: an open job holds their unique key, or they changed meanwhile",
            done.skipped
        )
    } else {
        String::new()
    };
    Ok(format!("{} jobs are {verb}{skipped}\n", done.count))
}

/// Asks on stderr, so that stdout has nothing but the answer. Anything but yes is no.
fn is_sure(question: &str) -> anyhow::Result<bool> {
    let mut stderr = std::io::stderr();
    write!(stderr, "{question} [y/N] ").and_then(|()| stderr.flush()).context("asking")?;
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer).context("reading the answer")?;
    Ok(matches!(answer.trim().to_lowercase().as_str(), "y" | "yes"))
}

fn changed(job: &Job, as_json: bool) -> anyhow::Result<String> {
    if as_json {
        return json(job);
    }
    Ok(match (job.state, job.cancel_requested_at) {
        (JobState::Running, Some(_)) => format!("job {} is running and asked to stop\n", job.id),
        (state, _) => format!("job {} is {state}\n", job.id),
    })
}

fn overview(jobs: &[Job]) -> String {
    let rows: Vec<_> = jobs
        .iter()
        .map(|job| {
            let error = job.last_error.as_ref().filter(|_| job.state != JobState::Completed);
            let what = match error {
                Some(error) => format!("{}  {}", job.args, first_line(error)),
                None => job.args.to_string(),
            };
            [
                job.id.to_string(),
                job.kind.clone(),
                job.queue.clone(),
                job.state.to_string(),
                format!("{}/{}", job.attempt, job.max_attempts),
                job.progress.map_or_else(|| "-".to_owned(), percent),
                time(job.created_at),
                what,
            ]
        })
        .collect();
    table([">ID", "KIND", "QUEUE", "STATE", ">ATTEMPT", ">PROGRESS", "CREATED", "ARGS AND LAST ERROR"], &rows)
}

/// As much as fits beside the rest.
fn first_line(error: &str) -> String {
    const MOST: usize = 100;
    let line = error.lines().next().unwrap_or_default();
    if line.chars().count() <= MOST {
        line.to_owned()
    } else {
        line.chars().take(MOST).chain(['…']).collect()
    }
}

fn percent(progress: f32) -> String {
    format!("{:.0} %", progress * 100.0)
}

fn detail(shown: &JobDetail) -> String {
    let job = &shown.job;
    let mut lines = vec![
        format!("job {}: {} {}", job.id, job.kind, job.args),
        format!("queue       {}", job.queue),
        format!("state       {}", job.state),
        format!("attempt     {} of {}", job.attempt, job.max_attempts),
        format!("created     {}", time(job.created_at)),
        format!("due         {}", time(job.scheduled_at)),
        format!("attempted   {}", moment(job.attempted_at)),
        format!("finalized   {}", moment(job.finalized_at)),
    ];
    lines.extend(job.progress.map(|progress| format!("progress    {}", percent(progress))));
    lines.extend(job.cancel_requested_at.map(|at| format!("to stop     since {}", time(at))));
    lines.extend(job.unique_key.iter().map(|key| format!("unique key  {key}")));
    lines.extend(job.concurrency_key.iter().map(|key| format!("concurrency {key}")));
    lines.extend(job.result.iter().map(|result| format!("result      {result}")));
    for attempt in &shown.attempts {
        let (from, to) = (moment(attempt.started_at), moment(attempt.finished_at));
        lines.push(format!("attempt {}: {} from {from} to {to}", attempt.attempt, attempt.outcome));
        let error = attempt.error.iter().flat_map(|error| error.lines());
        lines.extend(error.map(|line| format!("    {line}")));
    }
    lines.extend((!shown.log.is_empty()).then(|| "log:".to_owned()));
    lines.extend(shown.log.iter().map(|said| format!("    {}  {}", time(said.at), said.line)));
    lines.join("\n") + "\n"
}
