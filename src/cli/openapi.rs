//! `labelfleet openapi`

use labelfleet::http;

pub fn run() -> anyhow::Result<()> {
    let document = serde_json::to_string_pretty(&http::document())?;
    Ok(super::print(&(document + "\n"))?)
}
