//! Pure types and decisions: no I/O, no clock, no chance but what is passed in.
//!
//! - [`ids`], [`states`]: row ids and states as types
//! - [`secrets`]: what is derived from `SECRET_KEY`
//! - [`access`]: who may do what, and what an API key looks like
//! - [`batch`]: how much gold a batch gets, which, and where
//! - [`chain`]: workflows that name each other
//! - [`rejection`]: what becomes of rejected work
//! - [`review`]: what a reviewer said, and what they are shown
//! - [`scoring`]: an annotation held against a gold task's expected result
//! - [`interface`]: what a labeling config's XML shows and asks for
//! - [`event`]: what Label Studio tells us of annotations
//! - [`fields`]: what callers may say of a resource; [`check`]: the rules' vocabulary; [`time`]: how times are written
//! - [`formats`]: what a workflow is exported as; [`export`]: how each is written
//! - [`monitoring`]: figures from what is counted
//! - [`settings`]: which settings mean something, and what may be set
//! - [`source`]: which S3 objects are images, and what a task shows

pub mod access;
pub mod batch;
pub mod chain;
pub mod check;
pub mod event;
pub mod export;
pub mod fields;
pub mod fleet;
pub mod formats;
pub mod ids;
pub mod interface;
pub mod monitoring;
pub mod rejection;
pub mod review;
pub mod scoring;
pub mod secrets;
pub mod settings;
pub mod source;
pub mod states;
pub mod time;

pub use access::{ApiKey, Caller};
pub use fleet::FleetName;
pub use formats::ExportFormats;
pub use ids::*;
pub use secrets::Secrets;
pub use states::*;
