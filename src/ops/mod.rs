//! Use cases: one function, one transaction: a decision of `domain`, writes by `store`, jobs by `queue`.

pub mod annotator_secret;
pub mod annotators;
pub mod annotators_bulk;
pub mod api_keys;
pub mod assign;
pub mod assignments;
pub mod auth;
pub mod chaining;
pub mod error;
pub mod export;
pub mod gold_tasks;
pub mod ingest;
pub mod input;
pub mod jobs;
pub mod labeling_configs;
pub mod outputs;
pub mod parse;
mod passwords;
pub mod reconcile;
mod reviews;
pub mod roles;
pub mod settings;
pub mod users;
pub mod workflow_bulk;
pub mod workflows;

pub use error::{Error, Issue, Result};
