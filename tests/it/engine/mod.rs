//! The job engine, and what must hold whatever is killed, stopped or wiped.

mod admin;
mod chaos;
mod control;
mod delivery;
mod drain;
mod encryption;
mod enqueue;
mod examples;
mod faults;
mod indexes;
pub mod lab;
mod limits;
mod lost_workers;
mod outages;
mod outcomes;
pub mod probe;
mod process;
mod results;
mod retention;
mod schedules;
mod unique;
mod waits;
mod watch;
