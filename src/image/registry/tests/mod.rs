//! The client against Debian's `docker-registry` and against a server that misbehaves as it is told.

mod docker_registry;
mod scripted;

mod auth;
mod blob;
mod manifest;
mod mirrors;
mod push;
mod tls;

use std::{path::Path, time::Duration};

use bytes::Bytes;
use futures_util::TryStreamExt as _;

use super::*;
use crate::types::{Digest, Reference};

/// A client that loses patience quickly.
fn config(certs_dir: &Path) -> Config {
    Config {
        certs_dir: certs_dir.to_owned(),
        connect_timeout: Duration::from_secs(2),
        stall_timeout: Duration::from_millis(500),
        attempts: 3,
        first_pause: Duration::from_millis(5),
        ..Config::default()
    }
}

/// The same with patience, for tests in which time is not what matters: the machine itself may be slow.
fn patient(certs_dir: &Path) -> Config {
    Config { connect_timeout: Duration::from_secs(30), stall_timeout: Duration::from_secs(30), ..config(certs_dir) }
}

/// A patient client without any configuration of hosts.
fn patient_client() -> Client {
    Client::new(patient(Path::new("/nonexistent")))
}

/// A client without any configuration of hosts.
fn client() -> Client {
    Client::new(config(Path::new("/nonexistent")))
}

fn reference(text: &str) -> Reference {
    text.parse().unwrap_or_else(|error| panic!("{text:?}: {error}"))
}

fn descriptor(content: &[u8]) -> Descriptor {
    Descriptor {
        media_type: "application/octet-stream".to_owned(),
        digest: Digest::of(content),
        size: content.len() as u64,
        urls: Vec::new(),
        annotations: std::collections::BTreeMap::new(),
    }
}

/// Content that is the same nowhere, so that a mixed-up range shows.
fn content(length: usize) -> Bytes {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut content = Vec::with_capacity(length + 8);
    while content.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        content.extend(state.to_le_bytes());
    }
    content.truncate(length);
    content.into()
}

async fn fetch(client: &Client, image: &Reference, blob: &Descriptor, auth: Option<&Auth>) -> Result<Vec<u8>, Error> {
    let stream = client.blob(image, blob, auth, &Distrust::default()).await?;
    let chunks: Vec<Bytes> = stream.try_collect().await?;
    Ok(chunks.concat())
}

fn password(username: &str, password: &str) -> Auth {
    Auth { username: username.to_owned(), password: password.to_owned(), ..Auth::default() }
}
