//! Use cases: one function, one transaction: a decision of `domain`, writes by `store`, jobs by `queue`.

pub mod annotator_secret;
pub mod assign;
pub mod error;
pub mod ingest;
pub mod jobs;

pub use error::{Error, Issue, Result};
