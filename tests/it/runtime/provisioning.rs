//! The jobs of an annotator's instance, from `start` to gone.

use std::time::Duration;

use labelfleet::{
    domain::AnnotatorStatus,
    ops::{
        assign::assign,
        jobs::{AssignBatch, ProvisionInstance, RemoveInstance, StopInstance},
    },
    queue::{JobArgs, JobError},
};
use labelfleet_jobs::label_studio::NewProject;
use sqlx::{AssertSqlSafe, Connection, PgConnection, postgres::PgConnectOptions};

use crate::support::{factory, fleet::Fleet, wait::until};

#[tokio::test(flavor = "multi_thread")]
async fn an_annotators_instance_from_start_to_gone() {
    let fleet = Fleet::local().await;
    let id = fleet.annotator(AnnotatorStatus::Starting).await;
    let provision = ProvisionInstance { annotator_id: id };

    fleet.run(provision).await.expect("it is provisioned");
    assert_eq!(fleet.status(id).await, AnnotatorStatus::Active);
    assert_eq!(fleet.get(id, "container_id").await, fleet.deps.config.instances.fleet.instance(id));
    assert_eq!(fleet.get(id, "database_name").await, fleet.deps.config.instances.fleet.database(id));
    assert_eq!(fleet.open_jobs::<AssignBatch>().await, 1, "the first batch is asked for");
    assert_eq!(fleet.events(id).await, ["started"]);
    let client = fleet.client(id).await;
    let user = client.whoami().await.expect("the stored address and token open it");
    assert_eq!(user.id.to_string(), fleet.get(id, "ls_user_id").await);
    assert_eq!(user.email, fleet.get(id, "email").await);
    let project = client.create_project(&NewProject::new("Kept", "<View></View>")).await.expect("a project");

    sqlx::query("UPDATE annotators SET silent_since = now()")
        .execute(&fleet.database.pool)
        .await
        .expect("noted");
    fleet.run(provision).await.expect("a second run is harmless");
    assert_eq!(fleet.get(id, "silent_since").await, "", "it answers");
    assert_eq!(fleet.status(id).await, AnnotatorStatus::Active);
    assert_eq!(fleet.events(id).await, ["started"]);
    assert_eq!(fleet.deps.runtime.list().await.expect("a list").len(), 1);

    fleet.run(StopInstance { annotator_id: id }).await.expect("nothing to do");
    assert_eq!(fleet.status(id).await, AnnotatorStatus::Active, "nobody asked to stop it");
    fleet.set_status(id, AnnotatorStatus::Stopping).await;
    fleet.run(StopInstance { annotator_id: id }).await.expect("it is stopped");
    assert_eq!(fleet.status(id).await, AnnotatorStatus::Stopped);
    assert!(client.whoami().await.is_err());

    fleet.set_status(id, AnnotatorStatus::Starting).await;
    fleet.run(provision).await.expect("it is started again");
    let client = fleet.client(id).await;
    assert_eq!(client.project(project.id).await.expect("its data is kept").title, "Kept");

    fleet.run(RemoveInstance { annotator_id: id }).await.expect("nothing to do");
    assert_eq!(fleet.databases_and_roles().await.0.len(), 1, "nobody asked to remove it");
    fleet.set_status(id, AnnotatorStatus::Deleted).await;
    for _ in 0..2 {
        fleet.run(RemoveInstance { annotator_id: id }).await.expect("it is removed");
        assert_eq!(fleet.deps.runtime.list().await.expect("a list"), []);
        assert_eq!(fleet.databases_and_roles().await, (Vec::new(), Vec::new()));
    }
    fleet.run(provision).await.expect("nothing to do for a deleted annotator");
    assert_eq!(fleet.databases_and_roles().await, (Vec::new(), Vec::new()));
    assert_eq!(fleet.events(id).await, ["started", "stopped", "started", "removed"]);
    fleet.tear_down().await;
}

/// In place of one that was lost, say.
#[tokio::test(flavor = "multi_thread")]
async fn a_new_database_gives_ids_above_those_that_we_hold() {
    let fleet = Fleet::local().await;
    let pool = &fleet.database.pool;
    let workflow = factory::Workflow::new(pool).await;
    let id = workflow.create(pool).await;
    factory::tasks(pool, id, 3).await;
    let annotator = factory::annotator(pool, workflow.role).await;
    let batch = assign(&fleet.deps.queue, id, annotator).await.expect("a batch");
    factory::publish(pool, batch, 40).await;
    let hear = async |annotation: i64| {
        let event = "INSERT INTO annotation_events (annotator_id, action, ls_annotation_id, source)
                     VALUES ($1, 'deleted', $2, 'webhook')";
        sqlx::query(event).bind(annotator).bind(annotation).execute(pool).await.expect("an event");
    };
    hear(7000).await;
    let server: PgConnectOptions =
        fleet.settings["INSTANCE_DATABASE_URL"].parse().expect("a URL of Postgres");
    let next = async || -> (i64, i64, i64) {
        let database = fleet.ready_database(annotator).await;
        let mut db =
            PgConnection::connect_with(&server.clone().database(&database)).await.expect("it is there");
        let next =
            "SELECT nextval('project_id_seq'), nextval('task_id_seq'), nextval('task_completion_id_seq')";
        let next = sqlx::query_as(next).fetch_one(&mut db).await.expect("the sequences are there");
        db.close().await.expect("it ends");
        next
    };
    assert_eq!(next().await, (41, 1004, 7001));
    // Only a new one.
    hear(9000).await;
    assert_eq!(next().await, (42, 1005, 7002));
    // It is lost, and the making of the next is cut off.
    let mut admin = PgConnection::connect_with(&server).await.expect("the server answers");
    let name = fleet.deps.config.instances.fleet.database(annotator);
    for ddl in [format!("DROP DATABASE {name}"), format!("CREATE DATABASE {name}_making OWNER {name}")] {
        sqlx::query(AssertSqlSafe(ddl)).execute(&mut admin).await.expect("it is done");
    }
    assert_eq!(next().await, (41, 1004, 9001));
    sqlx::query(AssertSqlSafe(format!("CREATE DATABASE {name}_making OWNER {name}")))
        .execute(&mut admin)
        .await
        .expect("something to tear down");
    fleet.tear_down().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_reaches_its_own_database_only() {
    let fleet = Fleet::local().await;
    let one = fleet.annotator(AnnotatorStatus::Starting).await;
    let two = fleet.annotator(AnnotatorStatus::Starting).await;
    let own = fleet.ready_database(one).await;
    let foreign = fleet.ready_database(two).await;
    let server: PgConnectOptions =
        fleet.settings["INSTANCE_DATABASE_URL"].parse().expect("a URL of Postgres");
    let password = fleet.deps.secrets.database_password(one, 1);
    let as_role = server.clone().username(&own).password(&password);

    let mut db = PgConnection::connect_with(&as_role.clone().database(&own)).await.expect("its own database");
    // It owns what is inside, as Label Studio's next migrations will need.
    let not_own: Vec<String> = sqlx::query_scalar(
        "SELECT relname::text FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
         WHERE nspname = 'public' AND pg_get_userbyid(relowner) <> current_user",
    )
    .fetch_all(&mut db)
    .await
    .expect("the catalog is readable");
    assert_eq!(not_own, Vec::<String>::new());
    sqlx::query("CREATE TABLE mine (id int)").execute(&mut db).await.expect("it may create tables");
    let powers: bool = sqlx::query_scalar(
        "SELECT rolsuper OR rolcreatedb OR rolcreaterole OR rolreplication OR rolbypassrls
         FROM pg_roles WHERE rolname = current_user",
    )
    .fetch_one(&mut db)
    .await
    .expect("a role");
    assert!(!powers, "it has no power beyond its own database");

    let fleets_own = fleet.database.url.rsplit('/').next().expect("a database name").to_owned();
    for other in [foreign, fleets_own, "postgres".to_owned(), "template1".to_owned()] {
        let refused = PgConnection::connect_with(&as_role.clone().database(&other)).await;
        let code = match refused {
            Err(sqlx::Error::Database(error)) => error.code().map(|code| code.into_owned()),
            Err(error) => panic!("{other}: {error}"),
            Ok(_) => panic!("{own} is let into {other}"),
        };
        assert_eq!(code.as_deref(), Some("42501"), "insufficient_privilege at {other}");
    }
    fleet.tear_down().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stopped_while_it_starts_it_ends_quietly() {
    let fleet = Fleet::local().await;
    let id = fleet.annotator(AnnotatorStatus::Starting).await;
    let provisioning = fleet.run(ProvisionInstance { annotator_id: id });
    let change_of_mind = async {
        until("the instance is started", Duration::from_secs(120), || async {
            fleet.deps.runtime.get(id).await.expect("an answer").filter(|instance| instance.running)
        })
        .await;
        fleet.set_status(id, AnnotatorStatus::Stopping).await;
    };
    let (outcome, ()) = tokio::join!(provisioning, change_of_mind);
    outcome.expect("it ends quietly");
    let left = fleet.deps.runtime.get(id).await.expect("an answer").expect("its data is kept");
    assert!(!left.running);
    fleet.run(StopInstance { annotator_id: id }).await.expect("it is stopped already");
    assert_eq!(fleet.status(id).await, AnnotatorStatus::Stopped);
    assert_eq!(fleet.open_jobs::<AssignBatch>().await, 0);
    fleet.tear_down().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn deleted_while_it_starts_it_leaves_nothing() {
    let fleet = Fleet::local().await;
    let id = fleet.annotator(AnnotatorStatus::Starting).await;
    let provisioning = fleet.run(ProvisionInstance { annotator_id: id });
    let deletion = async {
        until("the instance is started", Duration::from_secs(120), || async {
            fleet.deps.runtime.get(id).await.expect("an answer").filter(|instance| instance.running)
        })
        .await;
        fleet.set_status(id, AnnotatorStatus::Deleted).await;
    };
    let (outcome, ()) = tokio::join!(provisioning, deletion);
    outcome.expect("it ends quietly");
    assert_eq!(fleet.deps.runtime.list().await.expect("a list"), []);
    assert_eq!(fleet.databases_and_roles().await, (Vec::new(), Vec::new()));
    fleet.tear_down().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_start_ends_with_a_reason_for_the_operator() {
    // A Python that has Label Studio, and a command of it that ends at once.
    let real = std::fs::read_to_string(crate::support::server("TEST_LABEL_STUDIO_BIN")).expect("a script");
    let python = real.lines().next().expect("a first line");
    let dir = tempfile::tempdir().expect("a temporary folder");
    let broken = dir.path().join("label-studio");
    std::fs::write(&broken, format!("{python}\nraise SystemExit('no disk left, say')\n")).expect("a script");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&broken, mode).expect("it can be run");

    // Nothing needs to be migrated: the template is there.
    let fleet = Fleet::local().await;
    let warm = fleet.annotator(AnnotatorStatus::Stopped).await;
    fleet.ready_database(warm).await;
    fleet.tear_down().await;

    let path = broken.to_str().expect("a path in UTF-8").to_owned();
    let fleet = Fleet::with([("LABEL_STUDIO_BIN".to_owned(), path)]).await;
    let id = fleet.annotator(AnnotatorStatus::Starting).await;
    let job = ProvisionInstance { annotator_id: id };
    let first = fleet.run(job).await;
    assert!(matches!(first, Err(JobError::Retry(_))), "it may be otherwise next time: {first:?}");
    assert_eq!(fleet.status(id).await, AnnotatorStatus::Starting);
    let last = fleet.run_attempt(job, ProvisionInstance::MAX_ATTEMPTS).await;
    assert!(last.is_ok(), "ended, so that the next start gets a job of its own: {last:?}");
    assert_eq!(fleet.status(id).await, AnnotatorStatus::Error);
    let reason = fleet.get(id, "status_reason").await;
    assert!(reason.contains("no disk left, say"), "{reason}");
    assert_eq!(fleet.events(id).await, ["error"]);
    fleet.tear_down().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_busy_port_is_no_obstacle() {
    let fleet = Fleet::local().await;
    let id = fleet.annotator(AnnotatorStatus::Starting).await;
    let port = i64::from(fleet.deps.config.instances.base_port) + id.0;
    // Somebody else's, or (where another test was quicker) busy anyhow.
    let _busy = std::net::TcpListener::bind(("127.0.0.1", u16::try_from(port).expect("a port")));
    fleet.run(ProvisionInstance { annotator_id: id }).await.expect("it is provisioned");
    assert_ne!(fleet.get(id, "container_port").await, port.to_string());
    fleet.client(id).await.whoami().await.expect("it serves where it says");
    fleet.tear_down().await;
}
