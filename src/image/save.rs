//! Saving: images into one archive, which is an OCI layout and at the same time what `docker load` reads.
//!
//! Everything goes into it with the bytes and digests that it came with.

use std::{
    collections::HashSet,
    io::{self, Read as _, Write},
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::{
    Error, Image, Platforms, SourceAuth, Store,
    origin::OpenBlob,
    outgoing::Outgoing,
    registry::Descriptor,
    tar::{Header, Kind, Writer},
};
use crate::{
    fault,
    types::{Digest, Reference},
};

/// Pieces of the archive that are made ahead of who takes them.
const AHEAD: usize = 4;
/// Length of such a piece, bytes.
const PIECE: usize = 256 << 10;

/// An archive that is being made.
#[derive(Debug)]
pub struct Archive {
    pieces: mpsc::Receiver<Bytes>,
}

impl Archive {
    /// The next piece; `None` at the end, be it complete or not.
    pub fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<Bytes>> {
        self.pieces.poll_recv(context)
    }
}

/// An image that goes into the archive.
struct Saved {
    /// Names that it gets there.
    tags: Vec<String>,
    outgoing: Outgoing,
}

impl Store {
    /// Begins an archive of these images. A name with a tag or digest saves the image under that name, an id without
    /// one; `sources` are credentials for what has to be fetched again. The future makes the archive; its error is the
    /// reason why the archive ends early.
    ///
    /// # Errors
    /// When there is no such image, or its documents are not to be had.
    pub async fn save(
        self: &Arc<Self>,
        names: &[String],
        platforms: Platforms,
        sources: &[SourceAuth],
    ) -> Result<(Archive, impl Future<Output = Result<(), Error>> + Send + use<>), Error> {
        let mut images: Vec<(Arc<Image>, Vec<String>)> = Vec::new();
        for name in names {
            let image = self.find(name)?;
            let tag = tag_in(name, &image);
            match images.iter_mut().find(|(known, _)| known.id == image.id) {
                Some((_, tags)) => tags.extend(tag.filter(|tag| !tags.contains(tag))),
                None => images.push((image, tag.into_iter().collect())),
            }
        }
        let mut saved = Vec::new();
        for (image, tags) in images {
            let outgoing = Outgoing::collect(self, &self.record(&image)?, platforms, sources.to_vec()).await?;
            saved.push(Saved { tags, outgoing });
        }
        let (sender, pieces) = mpsc::channel(AHEAD);
        let sink = PieceWriter { pieces: sender, buffer: Vec::with_capacity(PIECE) };
        Ok((Archive { pieces }, write(Arc::clone(self), saved, sink)))
    }
}

/// The tag by which an image was asked for.
fn tag_in(name: &str, image: &Image) -> Option<String> {
    let tag = name.parse::<Reference>().ok()?.tagged()?;
    image.tags.contains(&tag).then_some(tag)
}

async fn write(store: Arc<Store>, images: Vec<Saved>, sink: PieceWriter) -> Result<(), Error> {
    let lane = &store.saves;
    let mut archive = Writer::new(sink);
    let mut written = HashSet::new();
    for saved in &images {
        for blob in saved.outgoing.blobs.iter().filter(|blob| written.insert(blob.digest)) {
            let opened = saved.outgoing.origin.open(blob).await?;
            fault::point("image.save.opened");
            let blob = blob.clone();
            archive = lane.blocking(move || append_blob(archive, &blob, opened)).await?;
        }
    }
    fault::point("image.save.blobs");
    lane.blocking(move || {
        for document in images.iter().flat_map(|saved| &saved.outgoing.documents) {
            if written.insert(document.descriptor.digest) {
                append(&mut archive, &blob_path(document.descriptor.digest), &document.bytes)?;
            }
        }
        append(&mut archive, "oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#)?;
        append(&mut archive, "index.json", index(&images).to_string().as_bytes())?;
        append(&mut archive, "manifest.json", docker_list(&images)?.to_string().as_bytes())?;
        archive.finish()?.flush().map_err(|source| Error::Archive(write_error(source)))
    })
    .await
}

fn append_blob(
    mut archive: Writer<PieceWriter>,
    blob: &Descriptor,
    opened: OpenBlob,
) -> Result<Writer<PieceWriter>, Error> {
    let header = Header { size: blob.size, ..Header::new(blob_path(blob.digest), Kind::File) };
    archive.start(&header)?;
    let mut content = opened.file;
    let mut part = vec![0; PIECE];
    let mut left = blob.size;
    while left > 0 {
        let most = part.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        let read = content.read(&mut part[..most]).map_err(|source| Error::Archive(write_error(source)))?;
        if read == 0 {
            return Err(Error::Missing(blob.digest));
        }
        archive.data(&header, &part[..read])?;
        left -= read as u64;
    }
    Ok(archive)
}

fn append(archive: &mut Writer<PieceWriter>, path: &str, content: &[u8]) -> Result<(), Error> {
    let header = Header { size: content.len() as u64, ..Header::new(path, Kind::File) };
    Ok(archive.append(&header, content)?)
}

fn blob_path(digest: Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

/// The layout's index: an entry for each name, or one for an image without any.
fn index(images: &[Saved]) -> Value {
    let mut entries = Vec::new();
    for saved in images {
        let Some(root) = saved.outgoing.documents.last().map(|document| &document.descriptor) else { continue };
        let entry = json!({ "mediaType": root.media_type, "digest": root.digest, "size": root.size });
        if saved.tags.is_empty() {
            entries.push(entry.clone());
        }
        for tag in &saved.tags {
            let mut entry = entry.clone();
            let short = tag.rsplit_once(':').map_or(tag.as_str(), |(_, short)| short);
            // The first is read by containerd and docker, the second by tools that know one repository only.
            entry["annotations"] =
                json!({ "io.containerd.image.name": tag, "org.opencontainers.image.ref.name": short });
            entries.push(entry);
        }
    }
    json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": entries,
    })
}

/// Docker's own list: the images for this host, by the paths of their parts. Docker knows no artifacts.
fn docker_list(images: &[Saved]) -> Result<Value, Error> {
    let mut list = Vec::new();
    for saved in images {
        let manifest = saved.outgoing.host_manifest()?;
        if manifest.artifact_type.is_some() {
            continue;
        }
        let layers: Vec<_> = manifest.layers.iter().map(|layer| blob_path(layer.digest)).collect();
        let tags = if saved.tags.is_empty() { Value::Null } else { json!(saved.tags) };
        list.push(json!({ "Config": blob_path(manifest.config.digest), "RepoTags": tags, "Layers": layers }));
    }
    Ok(list.into())
}

fn write_error(source: io::Error) -> super::tar::Error {
    super::tar::Error::Write { path: String::new(), source }
}

/// Hands an archive on in pieces.
#[derive(Debug)]
struct PieceWriter {
    pieces: mpsc::Sender<Bytes>,
    buffer: Vec<u8>,
}

impl Write for PieceWriter {
    fn write(&mut self, part: &[u8]) -> io::Result<usize> {
        let length = part.len().min(PIECE - self.buffer.len());
        self.buffer.extend_from_slice(&part[..length]);
        if self.buffer.len() == PIECE {
            self.flush()?;
        }
        Ok(length)
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let piece = std::mem::replace(&mut self.buffer, Vec::with_capacity(PIECE));
        let gone = |_| io::Error::from(io::ErrorKind::BrokenPipe);
        self.pieces.blocking_send(piece.into()).map_err(gone)
    }
}
