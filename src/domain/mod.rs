//! Pure types and decisions: no I/O, no clock, no chance but what is passed in.

pub mod ids;
pub mod secrets;
pub mod states;

pub use ids::*;
pub use secrets::Secrets;
pub use states::*;
