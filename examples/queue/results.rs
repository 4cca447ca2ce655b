//! Results: what a job returns is kept with it, and whoever enqueued it reads it as what it was. And effects in Postgres that
//! happen exactly once, since they are committed together with the job's end.

use std::sync::Arc;

use anyhow::ensure;
use labelfleet::queue::{Client, JobArgs, JobContext, JobResult, OrRetry, Registry, Run};
use serde::{Deserialize, Serialize};

use crate::sandbox::Sandbox;

#[derive(Serialize, Deserialize)]
struct Sum(Vec<i64>);

impl JobArgs for Sum {
    type Output = i64;

    const KIND: &'static str = "sum";
    const QUEUE: &'static str = "sums";
}

impl Run<Client> for Sum {
    async fn run(self, _: JobContext, _: Arc<Client>) -> JobResult<i64> {
        Ok(self.0.iter().sum())
    }
}

#[derive(Serialize, Deserialize)]
struct Credit {
    cents: i64,
}

#[derive(Serialize, Deserialize)]
struct Account {
    balance: i64,
}

impl JobArgs for Credit {
    type Output = Account;

    const KIND: &'static str = "credit";
    const QUEUE: &'static str = "sums";
}

impl Run<Client> for Credit {
    async fn run(self, context: JobContext, queue: Arc<Client>) -> JobResult<Account> {
        let mut tx = queue.begin().await.or_retry()?;
        let balance: i64 = sqlx::query_scalar("UPDATE account SET cents = cents + $1 RETURNING cents")
            .bind(self.cents)
            .fetch_one(&mut *tx)
            .await
            .or_retry()?;
        let account = Account { balance };
        // Should this run have lost its lease, this fails, and the credit is rolled back with it.
        context.finish_in::<Self>(&mut tx, &account).await.or_retry()?;
        tx.commit().await.or_retry()?;
        Ok(account)
    }
}

pub async fn run(sandbox: &Sandbox) -> anyhow::Result<()> {
    sqlx::query("CREATE TABLE account AS SELECT 100::bigint AS cents").execute(&sandbox.pool).await?;
    let registry = Registry::new().register::<Sum>().register::<Credit>();
    let worker = sandbox.worker(registry, &Arc::new(sandbox.queue.clone())).await?;

    let id = sandbox.enqueue(&Sum(vec![1, 2, 3])).await?;
    sandbox.ended(id).await?;
    let sum = sandbox.queue.result::<Sum>(id).await?;
    ensure!(sum == 6);
    println!("the sum is {sum}");

    let id = sandbox.enqueue(&Credit { cents: 50 }).await?;
    sandbox.ended(id).await?;
    let Account { balance } = sandbox.queue.result::<Credit>(id).await?;
    worker.drain().await;
    sqlx::query("DROP TABLE account").execute(&sandbox.pool).await?;
    ensure!(balance == 150);
    println!("committed with the job's end, the balance is {balance}");
    Ok(())
}
