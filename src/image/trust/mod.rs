//! Which images may be used: a policy in the form of containers-policy.json(5), and signatures as cosign makes them.
//!
//! A pull asks what the policy demands of the image's name, fetches the signatures that this needs, and keeps those
//! that counted in the image's record. So the question can be asked again without the registry whenever the image is
//! used, by the policy of that day.
//!
//! Nothing here talks to a registry or changes the store; `pull/signatures.rs` brings what is judged.

mod demands;
mod error;
mod identity;
mod key;
mod policy;
mod signature;

pub(super) use demands::Demands;
pub use error::{PolicyError, Untrusted};
pub(super) use policy::Policy;
pub(super) use signature::Signature;

#[cfg(test)]
mod tests;
