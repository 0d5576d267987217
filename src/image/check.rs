//! Checking the store: whether everything that its images need is there and what it should be.

use std::{
    collections::{BTreeMap, HashMap},
    fs::{self, File},
    io,
    sync::Arc,
};

use super::{Error, Store, record::Record, settle};
use crate::{
    task,
    types::{Digest, Id},
};

/// What a check has found.
#[derive(Debug, Clone, Default)]
pub struct CheckReport {
    /// Images looked at.
    pub images: u64,
    /// Blobs read and digested.
    pub blobs: u64,
    /// Layers compared with their seals.
    pub layers: u64,
    /// Layers that are too new to have a seal.
    pub unsealed: u64,
    /// What is wrong.
    pub findings: Vec<Finding>,
}

/// Something that is wrong in the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The image, by a name or its id.
    pub image: String,
    /// The blob or layer.
    pub digest: Digest,
    /// What is wrong with it.
    pub problem: String,
    /// What was done about it; empty when nothing was.
    pub repair: String,
    /// Whether it is still there.
    pub remains: bool,
}

impl Store {
    /// Checks all images: blobs against their digests, layers against their seals. With `repair`, images that are not
    /// whole are removed with what is broken of them, so that the next pull brings it anew; those in use by containers
    /// stay.
    ///
    /// # Errors
    /// When a broken image cannot be removed.
    pub async fn check(self: &Arc<Self>, repair: bool) -> Result<CheckReport, Error> {
        let store = Arc::clone(self);
        task::blocking(move || store.check_all(repair)).await
    }

    fn check_all(&self, repair: bool) -> Result<CheckReport, Error> {
        let mut report = CheckReport::default();
        let records: Vec<Record> = self.images.list().iter().filter_map(|image| self.images.record(image.id)).collect();
        let mut checked = Checked::default();
        for record in &records {
            report.images += 1;
            for blob in record.blobs() {
                checked.blobs.entry(blob).or_insert_with(|| self.check_blob(blob));
            }
            for layer in record.all_layers() {
                checked.layers.entry(layer).or_insert_with(|| self.check_layer(layer));
            }
        }
        report.blobs = checked.blobs.len() as u64;
        report.unsealed = checked.layers.values().filter(|state| matches!(state, LayerState::Unsealed)).count() as u64;
        report.layers = checked.layers.len() as u64 - report.unsealed;
        let problems = checked.problems();
        for record in &records {
            let broken = record.blobs().into_iter().chain(record.all_layers());
            let broken: Vec<_> = broken.filter_map(|digest| Some((digest, problems.get(&digest)?.clone()))).collect();
            if broken.is_empty() {
                continue;
            }
            let (repair, remains) = if repair { self.drop_broken(record)? } else { (String::new(), true) };
            let image = record.tags.iter().chain(&record.digests).next().cloned();
            let image = image.unwrap_or_else(|| record.id.to_string());
            report.findings.extend(broken.into_iter().map(|(digest, problem)| Finding {
                image: image.clone(),
                digest,
                problem,
                repair: repair.clone(),
                remains,
            }));
        }
        Ok(report)
    }

    /// Removes an image that is not whole, unless that would leave its broken layers to containers: the next pull would
    /// find them again.
    fn drop_broken(&self, record: &Record) -> Result<(String, bool), Error> {
        let users: Vec<Id> = self.snapshots.users_of(&record.all_layers());
        if let Some(user) = users.first() {
            return Ok((format!("nothing done: container {user} uses the image; remove it first"), true));
        }
        self.images.remove(record.id)?;
        Ok(("image removed; pull it again".to_owned(), false))
    }

    fn check_blob(&self, digest: Digest) -> Option<String> {
        let digested = File::open(self.blobs.shelf().path(digest)).and_then(digest_of);
        match digested {
            Ok(found) if found == digest => None,
            Ok(found) => Some(format!("its content has digest {found}")),
            Err(error) => Some(format!("it cannot be read: {error}")),
        }
    }

    fn check_layer(&self, layer: Digest) -> LayerState {
        let directory = self.layers.shelf().path(layer);
        if let Err(error) = fs::symlink_metadata(self.layers.files(layer)) {
            return LayerState::Broken(format!("its files are not there: {error}"));
        }
        let Some(expected) = settle::seal_of(&directory) else { return LayerState::Unsealed };
        match super::seal::seal(&self.layers.files(layer)) {
            Ok(found) if found == expected => LayerState::Whole,
            Ok(_) => LayerState::Broken("its files are not those that were unpacked".to_owned()),
            Err(error) => LayerState::Broken(format!("its files cannot be read: {error}")),
        }
    }
}

/// What has been looked at, each once.
#[derive(Default)]
struct Checked {
    blobs: BTreeMap<Digest, Option<String>>,
    layers: BTreeMap<Digest, LayerState>,
}

enum LayerState {
    Whole,
    Unsealed,
    Broken(String),
}

impl Checked {
    fn problems(self) -> HashMap<Digest, String> {
        let blobs = self.blobs.into_iter().filter_map(|(digest, problem)| Some((digest, problem?)));
        let layers = self.layers.into_iter().filter_map(|(digest, state)| match state {
            LayerState::Broken(problem) => Some((digest, problem)),
            LayerState::Whole | LayerState::Unsealed => None,
        });
        blobs.chain(layers).collect()
    }
}

fn digest_of(mut file: File) -> io::Result<Digest> {
    use io::Read as _;
    let mut hash = ring::digest::Context::new(&ring::digest::SHA256);
    let mut part = vec![0; 256 << 10];
    loop {
        match file.read(&mut part)? {
            0 => break,
            length => hash.update(&part[..length]),
        }
    }
    let mut bytes = [0; 32];
    bytes.copy_from_slice(hash.finish().as_ref());
    Ok(Digest::from_sha256(bytes))
}
