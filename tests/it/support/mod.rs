//! What tests share: a database of their own, a Redis prefix, child processes, waiting for a condition.

pub mod api;
pub mod batch;
pub mod collector;
pub mod database;
pub mod events;
pub mod factory;
pub mod fleet;
pub mod label_studio;
pub mod program;
pub mod proxy;
pub mod relay;
pub mod review;
pub mod simulation;
pub mod storage;
pub mod wait;

/// A server that `make test` starts and names.
pub fn server(variable: &str) -> String {
    std::env::var(variable).unwrap_or_else(|_| panic!("{variable} is not set: run the tests by `make test`"))
}

pub fn redis_url() -> String {
    server("TEST_REDIS_URL")
}

/// The path of a binary of this workspace, built beside this test.
pub fn binary(name: &str) -> std::path::PathBuf {
    let test = std::env::current_exe().expect("a test has a path");
    let path = test.ancestors().nth(2).expect("target/<profile>/deps/it").join(name);
    assert!(path.exists(), "{} is not built: run the tests by `make test`", path.display());
    path
}
