//! The system from outside: real Postgres, Redis, S3 endpoint, Label Studio, Docker.
//!
//! One binary, so that it links once. `make test` starts the servers that the tests share and names them in
//! `TEST_*`; each test makes what it needs inside them and removes it. A test that stops or wipes a server
//! starts one of its own.

#![expect(clippy::unwrap_used, reason = "clippy.toml allows it in test functions, this in what they share")]

mod api;
mod cli;
mod engine;
mod labeling;
mod metrics;
mod runtime;
mod support;
mod traces;
mod up;
