//! `labelfleet jobs`: background jobs for people (tables) and for scripts (`--json`, as the API has them).

mod filter;
mod show;
mod watch;

use std::{io::Write, process::ExitCode};

use anyhow::Context;
use clap::Subcommand;
use labelfleet::queue::{
    ArgsCipher, BatchId, Client, JobId,
    admin::{self, Job, JobFilter, JobState, Listed, batches, bulk},
};

use super::Showing;
use filter::Filter;

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
    /// Jobs as they change, a line for each change; of one job its progress and its log too, until it is over (exit code 0 if
    /// it completed, else 1).
    Watch {
        #[arg(conflicts_with_all = ["states", "kind", "queue", "batch", "text", "created_from", "created_to"])]
        id: Option<i64>,
        #[command(flatten)]
        filter: Filter,
    },
    /// How far a batch is, and which jobs wait for it.
    Batch { id: i64 },
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
struct Which {
    #[arg(required_unless_present = "all", conflicts_with = "all")]
    id: Option<i64>,
    /// All jobs that --state, --kind, --queue, --batch or --text name.
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

pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let Args { showing, command } = args;
    let queue = Client::new(showing.pool()?).with_cipher(args_cipher()?);
    match command {
        Command::List { filter, before, limit } => {
            let Listed { data, next_before } = list(&queue, &filter.into(), before.map(JobId), limit).await?;
            showing.answer(&data, || show::list(&data, next_before))?;
        }
        Command::Show { id } => {
            let detail = admin::detail(&queue, JobId(id)).await?;
            showing.answer(&detail, || show::detail(&detail))?;
        }
        Command::Watch { id: Some(id), .. } => return watch::one(&queue, JobId(id), showing.json).await,
        Command::Watch { filter, .. } => watch::many(&queue, filter.into(), showing.json).await?,
        Command::Batch { id } => {
            let batch = batches::get(queue.pool(), BatchId(id)).await?;
            let batch = batch.with_context(|| format!("there is no batch {id}"))?;
            showing.answer(&batch, || show::batch(&batch))?;
        }
        Command::Cancel { id } => {
            let job = admin::cancel(&queue, JobId(id), super::OPERATOR).await?;
            showing.answer(&job, || changed(&job))?;
        }
        // Without a dispatcher: a worker finds the job in Postgres within seconds.
        Command::Retry { which: Which { id: Some(id), .. } } => {
            let job = admin::retry(&queue, JobId(id)).await?;
            showing.answer(&job, || changed(&job))?;
        }
        Command::Delete { which: Which { id: Some(id), .. } } => {
            admin::delete(&queue, JobId(id)).await?;
            showing.done(|| format!("job {id} is deleted\n"))?;
        }
        Command::Retry { which } => many(&showing, &queue, which, Change::Retry).await?,
        Command::Delete { which } => many(&showing, &queue, which, Change::Delete).await?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Shows encrypted arguments to who has the keys. From the environment only, since others can read a command line.
fn args_cipher() -> anyhow::Result<Option<ArgsCipher>> {
    let keys = std::env::var("JOB_ARGS_KEYS").ok().filter(|keys| !keys.is_empty());
    let cipher = keys.map(|keys| keys.parse()).transpose();
    cipher.map_err(|why: String| anyhow::anyhow!("JOB_ARGS_KEYS: {why}"))
}

/// Goes on where a page ended for having looked at enough.
async fn list(
    queue: &Client,
    filter: &JobFilter,
    before: Option<JobId>,
    limit: i64,
) -> anyhow::Result<Listed> {
    let room = usize::try_from(limit)?;
    let mut jobs = admin::list(queue, filter, before, limit).await?;
    while jobs.data.len() < room && jobs.next_before.is_some() {
        let wanted = i64::try_from(room - jobs.data.len())?;
        let page = admin::list(queue, filter, jobs.next_before, wanted).await?;
        jobs.data.extend(page.data);
        jobs.next_before = page.next_before;
    }
    Ok(jobs)
}

async fn many(showing: &Showing, queue: &Client, which: Which, change: Change) -> anyhow::Result<()> {
    let filter = JobFilter::from(which.filter);
    anyhow::ensure!(
        filter.is_narrow(),
        "say which: at least one of --state, --kind, --queue, --batch and --text"
    );
    let (may, verb) = match change {
        Change::Retry => (&bulk::RETRIED[..], "retried"),
        Change::Delete => (&bulk::DELETED[..], "deleted"),
    };
    if let Some(open) = filter.states.iter().find(|state| !may.contains(state)) {
        anyhow::bail!("jobs that are {open} can't be {verb} by filter");
    }
    if !which.yes {
        let count = match change {
            Change::Retry => bulk::to_retry(queue, &filter).await?,
            Change::Delete => bulk::to_delete(queue, &filter).await?,
        };
        anyhow::ensure!(is_sure(&format!("{count} jobs will be {verb}. Go on?"))?, "nothing was changed");
    }
    let done = match change {
        Change::Retry => bulk::retry(queue, &filter).await?,
        Change::Delete => bulk::delete(queue, &filter).await?,
    };
    showing.answer(&done, || match done.skipped {
        0 => format!("{} jobs are {verb}\n", done.count),
        skipped => format!(
            "{} jobs are {verb}, {skipped} left as they are: an open job holds their unique key, or they changed meanwhile\n",
            done.count
        ),
    })
}

/// Asks on stderr, so that stdout has nothing but the answer. Anything but yes is no.
fn is_sure(question: &str) -> anyhow::Result<bool> {
    let mut stderr = std::io::stderr();
    write!(stderr, "{question} [y/N] ").and_then(|()| stderr.flush()).context("asking")?;
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer).context("reading the answer")?;
    Ok(matches!(answer.trim().to_lowercase().as_str(), "y" | "yes"))
}

fn changed(job: &Job) -> String {
    match (job.state, job.cancel_requested_at) {
        (JobState::Running, Some(_)) => format!("job {} is running and asked to stop\n", job.id),
        (state, _) => format!("job {} is {state}\n", job.id),
    }
}
