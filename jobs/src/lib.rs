//! The worker's side: handlers, one job a file, and what they reach the outside with.
//!
//! - [`bench`]: `labelfleet-worker bench`
//! - `compare`: a project in Label Studio held against what we hold of it
//! - [`instance`]: what the jobs of an annotator's instance share
//! - [`label_studio`]: client of the Label Studio HTTP API
//! - [`registry`]: which jobs a worker runs
//! - [`runtime`]: where instances run
//! - [`template`]: the database that theirs are cloned from
//! - [`upload`]: objects of any size to S3
//! - `webhook`: by which a project tells us of its annotations

pub mod bench;
mod compare;
pub mod deps;
pub mod instance;
mod jobs;
pub mod label_studio;
pub mod registry;
pub mod runtime;
pub mod template;
pub mod upload;
mod webhook;

pub use deps::Deps;
