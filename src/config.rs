//! The configuration of the process.

pub mod findings;
pub mod reader;
pub(crate) mod tagged;
pub mod value;
