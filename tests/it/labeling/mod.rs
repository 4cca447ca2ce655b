//! The operation around Label Studio: handing out, taking in, scoring, exporting, repairing.

mod assign;
mod ingest;
