//! The job engine, and what must hold whatever is killed, stopped or wiped.

mod admin;
mod chaos;
mod control;
mod delivery;
mod drain;
mod encryption;
mod enqueue;
mod lab;
mod limits;
mod lost_workers;
mod outages;
mod outcomes;
mod probe;
mod process;
mod retention;
mod schedules;
mod unique;
mod waits;
