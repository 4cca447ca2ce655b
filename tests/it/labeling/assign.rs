//! Handing out batches.

use labelfleet::{
    domain::WorkflowId,
    ops::{Error, assign::assign},
    queue,
};

use crate::support::{database::Database, factory};

/// Four workers of their own connections draw from one pool of 1,000 until it is empty.
#[tokio::test(flavor = "multi_thread")]
async fn no_image_is_in_two_assignments() {
    let database = Database::create().await;
    let workflow = factory::Workflow { batch: 7, ..factory::Workflow::new(&database.pool).await };
    let id = workflow.create(&database.pool).await;
    factory::tasks(&database.pool, id, 1000).await;
    let mut workers = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let annotator = factory::annotator(&database.pool, workflow.role).await;
        let queue = queue::Client::new(sqlx::PgPool::connect(&database.url).await.unwrap());
        workers.spawn(async move {
            let mut batches = 0;
            loop {
                match assign(&queue, id, annotator).await {
                    Ok(_) => batches += 1,
                    Err(Error::Conflict(_)) => return batches,
                    Err(error) => panic!("{error:?}"),
                }
            }
        });
    }
    let batches: i32 = workers.join_all().await.into_iter().sum();
    // 142 full batches and one of six: nobody found a batch torn by another.
    assert_eq!(batches, 143);
    let (places, tasks): (i64, i64) =
        sqlx::query_as("SELECT count(task_id), count(DISTINCT task_id) FROM assignment_tasks")
            .fetch_one(&database.pool)
            .await
            .unwrap();
    assert_eq!((places, tasks), (1000, 1000));
}

/// Behind the lock stands the database.
#[tokio::test]
async fn the_database_refuses_a_task_that_is_held() {
    let database = Database::create().await;
    let workflow = factory::Workflow::new(&database.pool).await;
    let id = workflow.create(&database.pool).await;
    factory::tasks(&database.pool, id, 10).await;
    let annotator = factory::annotator(&database.pool, workflow.role).await;
    let queue = queue::Client::new(database.pool.clone());
    let assignment = assign(&queue, id, annotator).await.unwrap();
    let again = sqlx::query(
        "INSERT INTO assignment_tasks (assignment_id, position, task_id)
         SELECT assignment_id, 100, task_id FROM assignment_tasks WHERE assignment_id = $1 LIMIT 1",
    )
    .bind(assignment)
    .execute(&database.pool)
    .await
    .unwrap_err();
    let constraint = again.as_database_error().and_then(|error| error.constraint()).map(str::to_owned);
    assert_eq!(constraint.as_deref(), Some("assignment_tasks_task_held_once"));
}

#[tokio::test]
async fn what_forbids_an_assignment_is_said() {
    let database = Database::create().await;
    let pool = &database.pool;
    let queue = queue::Client::new(pool.clone());
    let workflow = factory::Workflow::new(pool).await;
    let id = workflow.create(pool).await;
    let annotator = factory::annotator(pool, workflow.role).await;

    assert!(matches!(assign(&queue, WorkflowId(0), annotator).await, Err(Error::NotFound("Workflow"))));
    assert!(matches!(assign(&queue, id, 0.into()).await, Err(Error::NotFound("Annotator"))));
    assert!(matches!(assign(&queue, id, annotator).await, Err(Error::Conflict(_))));

    factory::tasks(pool, id, 30).await;
    let stranger = factory::annotator(pool, factory::role(pool).await).await;
    assert!(matches!(assign(&queue, id, stranger).await, Err(Error::Refused(why)) if why.contains("role")));

    sqlx::query("UPDATE workflows SET max_projects = 1").execute(pool).await.unwrap();
    assign(&queue, id, annotator).await.unwrap();
    let second = assign(&queue, id, annotator).await;
    assert!(matches!(second, Err(Error::Refused(why)) if why.contains("maxProjects")));

    sqlx::query("UPDATE annotators SET status = 'stopped'").execute(pool).await.unwrap();
    let stopped = assign(&queue, id, annotator).await;
    assert!(matches!(stopped, Err(Error::Refused(why)) if why.contains("start the annotator")));

    // Nothing but the one assignment was stored, and its first job with it.
    let (assignments, held, jobs): (i64, i64, i64) = sqlx::query_as(
        "SELECT (SELECT count(*) FROM assignments),
                (SELECT count(*) FROM tasks WHERE status = 'assigned'),
                (SELECT count(*) FROM jobs WHERE kind = 'inject_gold')",
    )
    .fetch_one(pool)
    .await
    .unwrap();
    assert_eq!((assignments, held, jobs), (1, 10, 1));
}

#[tokio::test]
async fn an_unshuffled_workflow_keeps_the_order_of_keys() {
    let database = Database::create().await;
    let workflow = factory::Workflow { shuffle: false, ..factory::Workflow::new(&database.pool).await };
    let id = workflow.create(&database.pool).await;
    factory::tasks(&database.pool, id, 30).await;
    let annotator = factory::annotator(&database.pool, workflow.role).await;
    let assignment = assign(&queue::Client::new(database.pool.clone()), id, annotator).await.unwrap();
    let keys: Vec<String> = sqlx::query_scalar(
        "SELECT image_key FROM assignment_tasks JOIN tasks ON tasks.id = task_id
         WHERE assignment_id = $1 ORDER BY position",
    )
    .bind(assignment)
    .fetch_all(&database.pool)
    .await
    .unwrap();
    let first: Vec<String> = (0..10).map(|n| format!("images/{n:05}.png")).collect();
    assert_eq!(keys, first);
}
