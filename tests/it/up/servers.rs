//! The private servers: started, stopped, killed, started again.

use std::{path::Path, time::Duration};

use labelfleet::up::{
    Postgres, PostgresOptions, Redis,
    child::{self, ServiceUser},
    ports::Port,
};
use nix::sys::signal::Signal;
use sqlx::{Connection, PgConnection};

use crate::support::wait::until;

fn throwaway(dir: &Path) -> PostgresOptions {
    PostgresOptions { durable: false, ..PostgresOptions::new(dir) }
}

#[tokio::test]
async fn postgres_keeps_its_data_and_port_when_stopped_and_killed() {
    let dir = tempfile::tempdir().unwrap();
    let mut server = Postgres::start(throwaway(dir.path())).await.unwrap();
    let url = server.url();
    let mut connection = PgConnection::connect(&url).await.unwrap();
    sqlx::query("CREATE TABLE kept (id int)").execute(&mut connection).await.unwrap();

    server.stop().await.unwrap();
    assert!(PgConnection::connect(&url).await.is_err(), "a stopped server answers");
    server.restart().await.unwrap();
    server.kill().await.unwrap();
    server.restart().await.unwrap();

    assert_eq!(server.url(), url);
    let mut connection = PgConnection::connect(&url).await.unwrap();
    sqlx::query("SELECT id FROM kept").fetch_all(&mut connection).await.unwrap();
}

#[tokio::test]
async fn postgres_lets_nobody_in_without_its_password() {
    let dir = tempfile::tempdir().unwrap();
    let server = Postgres::start(throwaway(dir.path())).await.unwrap();
    let mut url: url::Url = server.url().parse().unwrap();
    url.set_password(Some("guess")).unwrap();
    let refused = PgConnection::connect(url.as_str()).await.unwrap_err().to_string();
    assert!(refused.contains("password authentication failed"), "{refused}");
}

#[tokio::test]
async fn a_second_owner_of_a_folder_stops_what_the_first_left_running() {
    let dir = tempfile::tempdir().unwrap();
    let first = Postgres::start(throwaway(dir.path())).await.unwrap();
    let mut second = Postgres::start(throwaway(dir.path())).await.unwrap();
    assert!(PgConnection::connect(&first.url()).await.is_err(), "two servers share a folder");
    assert!(second.child().is_running());
}

/// As after a crash of the machine: the pid that the file names has been given to somebody else's server.
#[tokio::test]
async fn a_stale_file_costs_no_other_server_its_life() {
    let dir = tempfile::tempdir().unwrap();
    Postgres::start(throwaway(dir.path())).await.unwrap().stop().await.unwrap();
    let user = ServiceUser::needed().unwrap();
    let mut other = child::command(Path::new("sleep"), user.as_ref(), Signal::SIGKILL);
    let mut other = other.arg("600").kill_on_drop(true).spawn().unwrap();
    let pid = other.id().unwrap();
    // Before, it is not yet of the user whose processes Postgres' tools may signal.
    until("it runs", Duration::from_secs(10), async || {
        (std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap() == "sleep\n").then_some(())
    })
    .await;
    let file = dir.path().join("data/postmaster.pid");
    std::fs::write(&file, format!("{pid}\n")).unwrap();
    let error = format!("{:#}", Postgres::start(throwaway(dir.path())).await.unwrap_err());
    assert!(error.contains("postmaster.pid") && error.contains("Is another postmaster"), "{error}");
    assert_eq!(other.try_wait().unwrap(), None, "it was stopped");
    std::fs::remove_file(file).unwrap();
    Postgres::start(throwaway(dir.path())).await.unwrap();
}

#[tokio::test]
async fn a_server_that_cannot_start_says_why() {
    let dir = tempfile::tempdir().unwrap();
    let port = Port::free().unwrap();
    let _taken = std::net::TcpListener::bind(("127.0.0.1", port.number())).unwrap();
    let options = PostgresOptions { port: Some(port), ..throwaway(dir.path()) };
    let error = format!("{:#}", Postgres::start(options).await.unwrap_err());
    assert!(error.contains("Address already in use") && error.contains("postgres.log"), "{error}");
}

#[tokio::test]
async fn redis_comes_back_on_its_port() {
    let dir = tempfile::tempdir().unwrap();
    let mut server = Redis::start(dir.path(), &dir.path().join("redis.log"), None).await.unwrap();
    let url = server.url();
    server.kill().await.unwrap();
    let client = redis::Client::open(url.as_str()).unwrap();
    assert!(client.get_multiplexed_async_connection().await.is_err(), "a killed server answers");
    server.restart().await.unwrap();
    assert_eq!(server.url(), url);
    server.stop().await.unwrap();
}
