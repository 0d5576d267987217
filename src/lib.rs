//! Berth, a container engine in one static binary.
//!
//! Rooms from the ground up; a room uses only rooms below it (`tests/house.rs` checks that). `docs/ARCHITECTURE.md`
//! has the map, the life of a pod and the files on disk.
#![deny(unsafe_code)]

pub mod cli;
pub mod cri;
pub mod daemon;
pub mod engine;
pub mod error;
pub mod fault;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzz;
pub mod image;
pub mod monitor;
pub mod network;
pub mod runtime;
pub mod state;
pub mod streaming;
#[expect(unsafe_code, reason = "the home of raw system calls")]
pub mod sys;
pub mod task;
pub mod types;

/// The CRI's messages, client and server, generated from `proto/cri.proto`.
#[allow(
    missing_debug_implementations,
    clippy::all,
    clippy::pedantic,
    clippy::allow_attributes_without_reason,
    reason = "generated code"
)]
pub mod wire {
    tonic::include_proto!("runtime.v1");

    /// Says that there are credentials, never which: they must not reach a log.
    impl std::fmt::Debug for AuthConfig {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.debug_struct("AuthConfig").field("server_address", &self.server_address).finish_non_exhaustive()
        }
    }

    /// The encoded descriptor set, for reflection.
    pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/cri.descriptors.bin"));
}

/// The engine's own messages, client and server, generated from `proto/berth.proto`.
#[allow(
    missing_debug_implementations,
    clippy::all,
    clippy::pedantic,
    clippy::allow_attributes_without_reason,
    reason = "generated code"
)]
pub mod berth_wire {
    tonic::include_proto!("berth.v1");

    /// Says that there are credentials, never which: they must not reach a log.
    impl std::fmt::Debug for RegistryAuth {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.debug_struct("RegistryAuth").finish_non_exhaustive()
        }
    }

    /// The encoded descriptor set, for reflection.
    pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/berth.descriptors.bin"));
}
