//! What the API and the jobs share.
//!
//! Imports go one way: `domain` <- `store` <- `ops` <- `http` (and the package `labelfleet-jobs`).
//! `queue` stands beside `store` and knows nothing of labeling; `lock` and `trace` lie under both. SQL is written in
//! `store`, `queue` and `lock` only; apalis and Redis types only in `queue`; axum only in `http`.
//! `up` is the single-machine stack and may use everything.

pub mod config;
pub mod domain;
pub mod http;
pub mod lock;
pub mod ops;
pub mod queue;
pub mod s3;
pub mod store;
pub mod telemetry;
pub mod trace;
pub mod up;
