//! What callers may say of a resource: fields, defaults and limits as the API's contract has them.
//!
//! The same type stands for creating and, through [`Partial`], for changing: a change is laid over what is
//! there and the whole is checked, so that a rule that spans fields holds after either.

mod annotator;
mod api_key;
mod gold_task;
mod labeling_config;
mod role;
mod setting;
mod user;
mod workflow;

pub use annotator::{AnnotatorFields, free_subdomains, subdomain_base};
pub use api_key::ApiKeyFields;
pub use gold_task::GoldTaskFields;
pub use labeling_config::LabelingConfigFields;
pub use role::RoleFields;
pub use setting::SettingFields;
pub use user::UserFields;
pub use workflow::WorkflowFields;

use super::check::Issue;

/// Fields that know their own rules.
pub trait Fields: serde::Serialize + serde::de::DeserializeOwned {
    fn check(&self) -> Result<(), Vec<Issue>>;
}
