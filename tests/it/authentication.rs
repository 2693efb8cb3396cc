//! The authenticate stage.

mod anonymous;
mod api_key;
mod app_id;
mod introspection;
mod issuers;
mod jwt;
mod jwt_svid;
mod key_sets;
pub(crate) mod mtls;
mod proof;
pub(crate) mod revocation;
