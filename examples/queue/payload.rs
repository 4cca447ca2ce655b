//! What arguments and results may be, and arguments that are encrypted at rest.

use std::sync::Arc;

use anyhow::{Context, anyhow, ensure};
use labelfleet::queue::{
    ArgsCipher, JobArgs, JobContext, JobResult, JobState, Registry, Run, Worker, WorkerOptions, admin,
};
use serde::{Deserialize, Serialize};

use crate::sandbox::Sandbox;

/// Its result are the letter's words, again and again.
#[derive(Serialize, Deserialize)]
struct Letter {
    text: String,
    copies: usize,
}

impl JobArgs for Letter {
    type Output = String;

    const KIND: &'static str = "letter";
    const QUEUE: &'static str = "letters";
}

impl Run<()> for Letter {
    async fn run(self, _: JobContext, _: Arc<()>) -> JobResult<String> {
        Ok(self.text.repeat(self.copies))
    }
}

/// One key of 32 bytes in base64; here of zeros, in life by `openssl rand -base64 32`.
const KEY: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";

pub async fn run(sandbox: &Sandbox) -> anyhow::Result<()> {
    let long = Letter { text: "x".repeat(70_000), copies: 0 };
    let refused = sandbox.queue.enqueue(&long).await.err().context("it is enqueued")?;
    println!("refused: {refused}");

    let cipher: ArgsCipher = KEY.parse().map_err(|why: String| anyhow!(why))?;
    let queue = sandbox.queue.clone().with_cipher(Some(cipher.clone()));
    let secret = queue.enqueue(&Letter { text: "meet me at nine".into(), copies: 1 }).await?.id;
    let stored = admin::get(&sandbox.queue, secret).await?;
    ensure!(!stored.args.to_string().contains("nine"));
    println!("without the key operators see {}", stored.args);
    println!("with the key they see {}", admin::get(&queue, secret).await?.args);

    let options = WorkerOptions { args_cipher: Some(cipher), ..sandbox.options() };
    let worker = Worker::start(options, Registry::new().register::<Letter>(), Arc::default()).await?;
    let job = sandbox.ended(secret).await?;
    ensure!(job.state == JobState::Completed && job.result == Some("meet me at nine".into()));
    println!("a worker with the key has run it");

    // A plain one still runs.
    let many = sandbox.enqueue(&Letter { text: "ha".into(), copies: 50_000 }).await?;
    let result = sandbox.ended(many).await?.result.unwrap_or_default();
    worker.drain().await;
    ensure!(result["truncated"] == true);
    println!("a result that is too large is replaced: {result}");
    Ok(())
}
