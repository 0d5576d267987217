//! Compressions of layers.

use std::io::{self, BufRead, Read};

use super::Error;

/// How a stream is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::image) enum Compression {
    /// Not at all.
    None,
    /// RFC 1952, also with several members.
    Gzip,
    /// RFC 8878, also with several and with skippable frames.
    Zstd,
}

/// Bytes at the beginning that tell a compression.
pub(super) const MAGIC_LENGTH: usize = 6;
const GZIP: &[u8] = &[0x1f, 0x8b];
const ZSTD: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];
const XZ: &[u8] = &[0xfd, b'7', b'z', b'X', b'Z', 0];
const BZIP2: &[u8] = b"BZh";

impl Compression {
    /// Tells from the first bytes of a stream; what is no known compression is taken as not compressed.
    pub(in crate::image) fn sniff(start: &[u8]) -> Result<Self, Error> {
        if start.starts_with(GZIP) {
            Ok(Self::Gzip)
        } else if start.starts_with(ZSTD) || is_skippable_frame(start) {
            Ok(Self::Zstd)
        } else if start.starts_with(XZ) {
            Err(Error::Compression("xz"))
        } else if start.starts_with(BZIP2) {
            Err(Error::Compression("bzip2"))
        } else {
            Ok(Self::None)
        }
    }

    /// Tells from the content, which counts more than the media type: mislabelled layers exist. But what the media
    /// type calls compressed must at least be compressed.
    pub(super) fn of(start: &[u8], media_type: &str) -> Result<Self, Error> {
        let found = Self::sniff(start)?;
        let suffix = media_type.rsplit(['+', '.']).next().unwrap_or_default();
        if found == Self::None && matches!(suffix, "gzip" | "zstd") {
            return Err(Error::Mislabelled(media_type.chars().take(100).collect()));
        }
        Ok(found)
    }

    /// Undoes the compression of `source`.
    pub(in crate::image) fn decoder<'a>(
        self,
        source: impl BufRead + Send + 'a,
    ) -> io::Result<Box<dyn Read + Send + 'a>> {
        Ok(match self {
            Self::None => Box::new(source),
            Self::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(source)),
            Self::Zstd => Box::new(zstd::stream::read::Decoder::with_buffer(source)?),
        })
    }
}

fn is_skippable_frame(start: &[u8]) -> bool {
    matches!(start, [low, 0x2a, 0x4d, 0x18, ..] if low & 0xf0 == 0x50)
}

#[cfg(test)]
mod tests {
    use super::*;

    const OCI_GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
    const DOCKER_GZIP: &str = "application/vnd.docker.image.rootfs.diff.tar.gzip";

    #[test]
    fn content_counts_more_than_the_media_type() {
        let of = |start: &[u8], media_type| Compression::of(start, media_type).map_err(|error| error.to_string());
        assert_eq!(of(&[0x1f, 0x8b, 8, 0, 0, 0], "application/vnd.oci.image.layer.v1.tar"), Ok(Compression::Gzip));
        assert_eq!(of(&[0x28, 0xb5, 0x2f, 0xfd, 0, 0], OCI_GZIP), Ok(Compression::Zstd));
        assert_eq!(of(&[0x5e, 0x2a, 0x4d, 0x18, 0, 0], OCI_GZIP), Ok(Compression::Zstd));
        assert_eq!(of(b"etc/pa", "application/vnd.oci.image.layer.v1.tar"), Ok(Compression::None));
        assert_eq!(of(b"etc/pa", ""), Ok(Compression::None));
        for media_type in [OCI_GZIP, DOCKER_GZIP, "application/vnd.oci.image.layer.v1.tar+zstd"] {
            assert!(of(b"etc/pa", media_type).is_err_and(|error| error.contains(media_type)));
        }
        assert!(of(XZ, OCI_GZIP).is_err_and(|error| error.contains("xz")));
        assert!(of(b"BZh91A", OCI_GZIP).is_err_and(|error| error.contains("bzip2")));
    }
}
