//! A part of a list.

/// How many rows, and how many to leave out before them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Page {
    pub limit: i64,
    pub offset: i64,
}

/// The rows of a page, and how many there are on all pages.
#[derive(Debug, Clone)]
pub struct Slice<T> {
    pub rows: Vec<T>,
    pub total: i64,
}
