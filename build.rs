//! Compiles `proto/` into one descriptor set, with no `protoc` to install.

use std::error::Error;
use std::path::PathBuf;

use prost::Message as _;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=proto");
    let set = protox::compile(["envoy/service/auth/v3/external_auth.proto"], ["proto"])?;
    let directory = PathBuf::from(std::env::var_os("OUT_DIR").ok_or("no OUT_DIR")?);
    std::fs::write(directory.join("descriptors.binpb"), set.encode_to_vec())?;
    Ok(())
}
