//! The worker's side: handlers, one job a file, and what they reach the outside with.
//!
//! - [`label_studio`]: client of the Label Studio HTTP API
//! - [`runtime`]: where instances run

pub mod deps;
mod jobs;
pub mod label_studio;
pub mod runtime;

pub use deps::Deps;
