//! `labelfleet openapi`

use labelfleet::http;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Print the table of endpoints that docs/API.md holds instead.
    #[arg(long)]
    markdown: bool,
}

pub fn run(args: &Args) -> anyhow::Result<()> {
    if args.markdown {
        return Ok(super::print(&http::reference())?);
    }
    let document = serde_json::to_string_pretty(&http::document())?;
    Ok(super::print(&(document + "\n"))?)
}
