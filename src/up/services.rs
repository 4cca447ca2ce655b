//! `labelfleet services -- COMMAND`: the servers that tests share, for as long as a command runs.
//!
//! They are named to it by `TEST_*`, hold nothing that matters, and are as fast as they can be for that.

use std::{path::Path, process::ExitCode};

use anyhow::Context;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tokio::process::Command;

use super::{Postgres, PostgresOptions, Redis, S3Options, S3Server, label_studio, run::Stop, test_tools};
use crate::config::Secret;

#[derive(Debug, clap::Args)]
pub struct ServicesArgs {
    /// What to run, with its arguments.
    #[arg(required = true, trailing_var_arg = true)]
    pub command: Vec<String>,
}

/// Runs the command and ends as it ended.
pub async fn services(args: &ServicesArgs) -> anyhow::Result<ExitCode> {
    let mut stop = Stop::listen()?;
    let dir = std::env::temp_dir().join(format!("labelfleet-services-{}", std::process::id()));
    let outcome = run(args, &dir, &mut stop).await;
    if dir.exists() {
        std::fs::remove_dir_all(&dir).with_context(|| format!("remove {}", dir.display()))?;
    }
    outcome
}

async fn run(args: &ServicesArgs, dir: &Path, stop: &mut Stop) -> anyhow::Result<ExitCode> {
    let (program, rest) = args.command.split_first().context("no command is given")?;
    let mut postgres = Postgres::start(PostgresOptions {
        durable: false,
        settings: vec![("max_connections".into(), "500".into())],
        ..PostgresOptions::new(dir.join("postgres"))
    })
    .await?;
    let mut redis = Redis::start(&dir.join("redis"), &dir.join("redis.log"), None).await?;
    let s3 = S3Server::start(S3Options {
        dir: dir.join("s3"),
        port: 0,
        bucket: "test".into(),
        access_key_id: "test".into(),
        secret_access_key: Secret::new("test-secret"),
    })
    .await?;
    let s3 = s3.config();

    let mut command = Command::new(program);
    command.args(rest).envs([
        ("TEST_DATABASE_URL", postgres.url().as_str()),
        ("TEST_REDIS_URL", &redis.url()),
        ("TEST_S3_ENDPOINT", s3.endpoint.as_deref().unwrap_or_default()),
        ("TEST_S3_BUCKET", &s3.bucket),
        ("TEST_S3_ACCESS_KEY_ID", s3.access_key_id.expose()),
        ("TEST_S3_SECRET_ACCESS_KEY", s3.secret_access_key.expose()),
    ]);
    if std::env::var_os("TEST_LABEL_STUDIO_BIN").is_none() {
        command.env("TEST_LABEL_STUDIO_BIN", label_studio::find()?);
    }
    if let (None, Some(python)) = (std::env::var_os("TEST_PYTHON"), test_tools::python()) {
        command.env("TEST_PYTHON", python);
    }
    let mut child = command.spawn().with_context(|| format!("start {program}"))?;
    let status = loop {
        tokio::select! {
            status = child.wait() => break status?,
            () = stop.asked() => if let Some(id) = child.id() {
                // An error says that it has just ended.
                let _ = kill(Pid::from_raw(i32::try_from(id)?), Signal::SIGTERM);
            }
        }
    };
    redis.stop().await?;
    postgres.stop().await?;
    // A command that a signal ended has no code.
    Ok(status.code().and_then(|code| u8::try_from(code).ok()).map_or(ExitCode::FAILURE, ExitCode::from))
}
