//! The single-machine stack: private servers as child processes.
//!
//! - [`child`]: processes that end when we end
//! - [`postgres`], [`redis`]: servers with their data under a folder of ours
//! - [`s3`]: an S3 endpoint in our own process
//! - [`ports`]: ports that nobody listens on

pub mod child;
pub mod ports;
pub mod postgres;
pub mod redis;
pub mod s3;

pub use postgres::{Postgres, PostgresOptions};
pub use redis::Redis;
pub use s3::{S3Options, S3Server};
