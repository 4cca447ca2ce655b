//! Use cases: one function, one transaction: a decision of `domain`, writes by `store`, jobs by `queue`.

pub mod jobs;
