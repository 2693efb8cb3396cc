//! The authenticate stage.

mod anonymous;
mod api_key;
mod app_id;
mod issuers;
mod jwt;
mod key_sets;
pub(crate) mod revocation;
