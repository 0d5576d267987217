//! Execs.
