//! What a job may ask of the engine beyond running: a level, turns with others, limits across all workers.

use std::{borrow::Cow, time::Duration};

use serde::{Deserialize, Serialize};

/// Levels within a queue. A higher one goes first, but for a small share of the turns that keeps the lower ones moving.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Priority {
    Urgent,
    Normal,
    Low,
    Bulk,
}

impl Priority {
    pub const ALL: [Self; 4] = [Self::Urgent, Self::Normal, Self::Low, Self::Bulk];

    /// As stored: the smaller, the sooner.
    pub const fn level(self) -> i16 {
        self as i16
    }
}

/// At most `limit` jobs of the key run at once, on all workers together. Kinds that name the same key share it; the
/// limit that counts is that of the job which is about to start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Concurrency {
    /// At most 200 characters.
    pub key: String,
    /// At least 1.
    pub limit: i32,
}

/// One job of the key starts each `interval`, and up to `burst` at once after a rest, on all workers together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rate {
    /// At most 200 characters.
    pub key: String,
    /// At least a microsecond.
    pub interval: Duration,
    /// At least 1.
    pub burst: i32,
}

/// Where a due job waits for its turn: first in the order of levels, then the flows of a level one after the other.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Lane {
    pub queue: Cow<'static, str>,
    pub level: i16,
    pub flow: Cow<'static, str>,
}

impl Lane {
    /// A job without a flow goes in that of its kind.
    pub fn new(
        queue: Cow<'static, str>,
        level: i16,
        flow: Option<Cow<'static, str>>,
        kind: Cow<'static, str>,
    ) -> Self {
        Self { queue, level, flow: flow.unwrap_or(kind) }
    }
}
