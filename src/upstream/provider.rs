//! Where credentials for the upstream come from.

pub mod token_urls;
