//! The process half.

pub mod spawner;
