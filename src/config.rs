//! The configuration of the process.

pub mod findings;
pub mod reader;
pub mod value;
