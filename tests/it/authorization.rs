//! The authorize stage.

mod block;
mod quota;
mod scope;
mod source;
mod subscription;
