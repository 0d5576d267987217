//! Generates the Rust types, clients and servers of the CRI (`proto/cri.proto`) and of the engine's own service
//! (`proto/berth.proto`), and the messages of criu (`proto/criu.proto`).
//!
//! The compiler is pure Rust, so no `protoc` is needed on the machine. The descriptor set is kept for gRPC
//! reflection and for the test that compares it with the table of wire facts.

use std::{env, fs, path::PathBuf};

use prost::Message;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let out = PathBuf::from(env::var("OUT_DIR")?);
    for name in ["cri", "berth", "criu"] {
        let source = format!("proto/{name}.proto");
        println!("cargo:rerun-if-changed={source}");
        let descriptors = protox::compile([source], ["proto"])?;
        fs::write(out.join(format!("{name}.descriptors.bin")), descriptors.encode_to_vec())?;
        let mut config = tonic_prost_build::Config::new();
        config.enable_type_names();
        tonic_prost_build::configure()
            .generate_default_stubs(true)
            .disable_comments(["."])
            .btree_map(".")
            .skip_debug([".runtime.v1.AuthConfig", ".berth.v1.RegistryAuth"])
            .compile_fds_with_config(descriptors, config)?;
    }
    Ok(())
}
