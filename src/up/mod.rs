//! The single-machine stack: private servers as child processes, the API and a worker.
//!
//! - [`run`]: `labelfleet up`; [`stack`]: its parts and their order; [`folder`]: what it keeps
//! - [`demo`]: `labelfleet demo`, a labeling day
//! - [`services`]: `labelfleet services`, the servers that tests share
//! - [`postgres`], [`redis`], [`s3`]: private servers, their data under a folder of ours
//! - [`child`]: processes that end when we end; [`ports`]: ports that nobody listens on
//! - [`label_studio`]: where it is installed

pub mod child;
pub mod demo;
pub mod folder;
pub mod label_studio;
pub mod ports;
pub mod postgres;
pub mod redis;
pub mod run;
pub mod s3;
pub mod services;
pub mod stack;
pub mod test_tools;

pub use demo::{DemoArgs, demo};
pub use postgres::{Postgres, PostgresOptions};
pub use redis::Redis;
pub use run::{UpArgs, up};
pub use s3::{S3Options, S3Server};
pub use services::{ServicesArgs, services};
