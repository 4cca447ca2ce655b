//! The single-machine stack.

mod s3;
mod servers;
