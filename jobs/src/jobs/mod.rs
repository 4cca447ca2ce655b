//! The handlers, one job a file. What a job is called with stands in `labelfleet::ops::jobs`.
//!
//! Every handler may run twice at any point: it reloads its state, takes the lock of what it changes, and
//! treats "already done" as success.

mod assign_batch;
mod chain_assignment;
mod close_project;
mod correct_rollups;
mod count_review;
mod export_assignment;
mod export_file;
mod inject_gold;
mod provision_instance;
mod publish_assignment;
mod reclaim_idle;
mod reconcile;
mod remove_instance;
mod route_rejection;
mod score_gold;
mod stop_instance;
mod sync_source;
