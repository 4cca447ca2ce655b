//! The single-machine stack.
