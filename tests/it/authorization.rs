//! The authorize stage.

mod scope;
mod subscription;
