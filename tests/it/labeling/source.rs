//! Listing an S3 prefix into the pool.

use std::path::Path;

use labelfleet::{
    domain::WorkflowId,
    ops::jobs::{AssignBatch, SyncSource},
};

use crate::support::{factory, fleet::Fleet, storage::Storage};

/// More than two of S3's pages, and what is no image among them.
fn put_images(storage: &Storage, count: usize) {
    let folder = storage.path("images");
    std::fs::create_dir_all(folder.join("deep")).unwrap();
    let put = |path: &Path| std::fs::write(path, b"png").unwrap();
    (0..count).for_each(|n| put(&folder.join(format!("{n:05}.png"))));
    put(&folder.join("deep/inside.JPG"));
    put(&folder.join("notes.txt"));
    std::fs::create_dir_all(storage.path("elsewhere")).unwrap();
    put(&storage.path("elsewhere").join("other.png"));
}

async fn pool_size(fleet: &Fleet, workflow: WorkflowId) -> i64 {
    let count = "SELECT count(*) FROM tasks WHERE workflow_id = $1";
    sqlx::query_scalar(count).bind(workflow).fetch_one(&fleet.database.pool).await.unwrap()
}

#[tokio::test]
async fn every_image_below_the_prefix_comes_in_once() {
    let storage = Storage::start().await;
    put_images(&storage, 2100);
    let fleet = Fleet::with(storage.settings()).await;
    let workflow = factory::Workflow::new(&fleet.database.pool).await;
    let workflow_id = workflow.create(&fleet.database.pool).await;
    factory::annotator(&fleet.database.pool, workflow.role).await;

    let outcome = fleet.run(SyncSource { workflow_id }).await.unwrap();
    assert_eq!(outcome["newImages"], 2101);
    assert_eq!(pool_size(&fleet, workflow_id).await, 2101);
    assert_eq!(fleet.open_jobs::<AssignBatch>().await, 1, "someone was waiting for work");

    let outcome = fleet.run(SyncSource { workflow_id }).await.unwrap();
    assert_eq!(outcome["newImages"], 0);
    assert_eq!(pool_size(&fleet, workflow_id).await, 2101);
    fleet.tear_down().await;
}

#[tokio::test]
async fn a_listing_that_was_cut_off_goes_on_where_it_was() {
    let storage = Storage::start().await;
    put_images(&storage, 30);
    let fleet = Fleet::with(storage.settings()).await;
    let workflow_id = factory::Workflow::new(&fleet.database.pool).await.create(&fleet.database.pool).await;
    sqlx::query("UPDATE workflows SET sync_cursor = 'images/00019.png'")
        .execute(&fleet.database.pool)
        .await
        .unwrap();
    // Ten images and the one in the folder below come after the cursor.
    assert_eq!(fleet.run(SyncSource { workflow_id }).await.unwrap()["newImages"], 11);
    // The next listing is a whole one again.
    assert_eq!(fleet.run(SyncSource { workflow_id }).await.unwrap()["newImages"], 20);
    assert_eq!(pool_size(&fleet, workflow_id).await, 31);
    fleet.tear_down().await;
}

#[tokio::test]
async fn storage_that_does_not_answer_is_tried_again() {
    let storage = Storage::start().await;
    let settings = storage.settings();
    drop(storage);
    let fleet = Fleet::with(settings).await;
    let workflow_id = factory::Workflow::new(&fleet.database.pool).await.create(&fleet.database.pool).await;
    let outcome = fleet.run(SyncSource { workflow_id }).await;
    assert!(matches!(outcome, Err(labelfleet::queue::JobError::Retry(_))), "{outcome:?}");
    assert_eq!(pool_size(&fleet, workflow_id).await, 0);
    fleet.tear_down().await;
}
