//! Client of the Label Studio HTTP API (1.23), as far as the fleet uses it.
//!
//! - [`client`]: the calls
//! - [`error`]: what can go wrong, told apart by whether asking again can help
//! - [`types`]: what is sent and read; unknown fields are ignored, so a newer Label Studio does no harm
//!
//! No call is repeated here: a job is, and it looks before it creates.

pub mod client;
pub mod error;
pub mod types;

pub use client::Client;
pub use error::{Error, Result};
pub use types::{
    Imported, NewAnnotation, NewProject, NewTask, NewWebhook, Project, ProjectCounts, Task, User, Webhook,
};
