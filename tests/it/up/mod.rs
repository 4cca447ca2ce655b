//! The single-machine stack.

mod servers;
