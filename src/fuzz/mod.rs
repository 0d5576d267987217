//! Fuzz targets: every parser of what others send, as a function that takes bytes and must neither panic nor break
//! what it says of itself.
//!
//! - **Owns:** the list of targets, and their short run among the tests.
//! - **Never:** is part of a build that is used; a target's body stands beside its parser, in the room's `fuzz.rs`.
//! - **Runs in:** tests (a few thousand seeded changes of the corpus in `tests/data/fuzz/`), and `hack/fuzz` under
//!   libFuzzer.
//! - **Start reading at:** [`TARGETS`]; `libfuzzer.rs` is the program that `hack/fuzz` builds.

#[cfg(test)]
mod tests;

use crate::{daemon, engine, image, monitor, network, runtime, state, streaming, types};

/// One target.
#[derive(Debug)]
pub struct Target {
    /// Its name, which is also that of its corpus.
    pub name: &'static str,
    /// Tries an input. Panics when a promise is broken.
    pub run: fn(&[u8]),
}

/// All targets.
pub const TARGETS: &[Target] = &[
    Target { name: "reference", run: types::fuzz::reference },
    Target { name: "size", run: types::fuzz::size },
    Target { name: "manifest", run: image::fuzz::manifest },
    Target { name: "image_config", run: image::fuzz::config },
    Target { name: "layer", run: image::fuzz::layer },
    Target { name: "hosts_toml", run: image::registry::fuzz::hosts_toml },
    Target { name: "auth_file", run: image::registry::fuzz::auth_file },
    Target { name: "registry_headers", run: image::registry::fuzz::headers },
    Target { name: "spdy", run: streaming::fuzz::spdy },
    Target { name: "websocket", run: streaming::fuzz::websocket },
    Target { name: "http2", run: daemon::fuzz::http2 },
    Target { name: "cni_list", run: network::fuzz::list },
    Target { name: "cni_result", run: network::fuzz::result },
    Target { name: "seccomp", run: runtime::fuzz::seccomp },
    Target { name: "cdi", run: runtime::fuzz::cdi },
    Target { name: "passwd", run: runtime::fuzz::passwd },
    Target { name: "monitor_frame", run: monitor::fuzz::frame },
    Target { name: "state_record", run: engine::fuzz::record },
    Target { name: "state_file", run: state::fuzz::file },
];

/// The target of a name.
pub fn target(name: &str) -> Option<&'static Target> {
    TARGETS.iter().find(|target| target.name == name)
}
