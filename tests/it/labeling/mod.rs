//! The operation around Label Studio: handing out, taking in, scoring, exporting, repairing.

mod assign;
mod chain;
mod conformance;
mod ending;
mod export;
mod export_files;
mod gold;
mod ingest;
mod load;
mod preparing;
mod reconcile;
mod reconcile_instances;
mod review;
mod rollups;
mod source;
