//! The single-machine stack: private servers as child processes.
//!
//! - [`child`]: processes that end when we end
//! - [`postgres`], [`redis`]: servers with their data under a folder of ours
//! - [`ports`]: ports that nobody listens on

pub mod child;
pub mod ports;
pub mod postgres;
pub mod redis;

pub use postgres::{Postgres, PostgresOptions};
pub use redis::Redis;
