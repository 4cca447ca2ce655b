//! The single-machine stack.

mod compose;
mod s3;
mod servers;
mod stack;
