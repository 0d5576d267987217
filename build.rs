//! Generates the CRI's Rust types, client and server from `proto/cri.proto`.
//!
//! The compiler is pure Rust, so no `protoc` is needed on the machine. The descriptor set is kept for gRPC
//! reflection and for the test that compares it with the table of wire facts.

use std::{env, fs, path::PathBuf};

use prost::Message;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=proto/cri.proto");
    let descriptors = protox::compile(["proto/cri.proto"], ["proto"])?;
    let out = PathBuf::from(env::var("OUT_DIR")?);
    fs::write(out.join("cri.descriptors.bin"), descriptors.encode_to_vec())?;
    tonic_prost_build::configure()
        .generate_default_stubs(true)
        .disable_comments(["."])
        .btree_map(".")
        .skip_debug([".runtime.v1.AuthConfig"])
        .compile_fds(descriptors)?;
    Ok(())
}
