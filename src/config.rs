//! The configuration of the process.

pub mod findings;
pub mod locator;
pub mod reader;
pub mod tagged;
pub mod value;
pub mod yaml;
