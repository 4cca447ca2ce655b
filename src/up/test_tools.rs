//! Where `scripts/setup --test` puts the Python tools that tests hold our output against.

use std::path::PathBuf;

use super::label_studio::cache;

/// The Python that has them, if they were installed.
pub fn python() -> Option<PathBuf> {
    let environment = cache()?.join("test-tools");
    // Setup writes `complete` last.
    environment.join("complete").exists().then(|| environment.join("bin/python"))
}
