//! Where `scripts/setup` puts Label Studio.

use std::path::PathBuf;

use anyhow::Context;

/// The version that `scripts/setup` installs.
pub const VERSION: &str = "1.23.2";

/// The `label-studio` command: from the environment that `scripts/setup` makes, else from PATH.
pub fn find() -> anyhow::Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    cached()
        .into_iter()
        .chain(std::env::split_paths(&path).map(|dir| dir.join("label-studio")))
        .find(|program| program.exists())
        .context("Label Studio is not installed: run scripts/setup, or set LABEL_STUDIO_BIN")
}

/// The folder that `scripts/setup` fills.
pub(super) fn cache() -> Option<PathBuf> {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let cache = set("XDG_CACHE_HOME").or_else(|| Some(set("HOME")?.join(".cache")))?;
    Some(cache.join("labelfleet"))
}

fn cached() -> Option<PathBuf> {
    let environment = cache()?.join(format!("label-studio-{VERSION}"));
    // Setup writes `complete` last.
    environment.join("complete").exists().then(|| environment.join("bin/label-studio"))
}
