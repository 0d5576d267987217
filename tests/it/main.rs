//! The engine as its clients see it: the real daemon, started as root, spoken to over its socket.
//!
//! One binary, a module a behaviour. Every test has a host of its own as far as the network goes (see
//! [`support::Daemon`]), so tests run in parallel; a test that ends checks that its engine left nothing behind.
//!
//! A test that this machine cannot run says why through [`requires!`]; `BERTH_TEST_STRICT=1` makes that a failure.
//! `BERTH_TEST_PROGRAM=FILE` is tested instead of the program that cargo has built with the tests.
//! `BERTH_TEST_PATIENCE=N` makes all deadlines N times as long, for emulated machines, and `BERTH_TEST_OWN_CLOCK` lets
//! the tests in [`clock`] set the machine's clock.

#[macro_use]
mod support;

mod artifacts;
mod bad_input;
mod broken_pods;
mod cdi;
mod checkpoint;
mod cli;
mod clock;
mod cni;
mod confinement;
mod containers;
mod endurance;
mod escape;
mod events;
mod exec;
mod exhaustion;
mod hooks;
mod host;
mod image_volumes;
mod images;
mod impatience;
mod interactive;
mod leak;
mod logs;
mod mounts;
mod network;
mod node;
mod observation;
mod pod_lifecycle;
mod pull;
mod push;
mod quota;
mod random_requests;
mod resources;
mod restart;
mod save;
mod streaming;
mod trust;
mod update;
mod user_namespaces;
mod wedge;
