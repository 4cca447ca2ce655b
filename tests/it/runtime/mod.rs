//! Where instances run, and the jobs that bring them up and down: real Label Studio on real Postgres.

mod conformance;
mod killed;
mod provisioning;
