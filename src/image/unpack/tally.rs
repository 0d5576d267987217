//! What is known about a layer when it has been unpacked.

use serde::{Deserialize, Serialize};

/// What a layer takes, and what of it still depends on the layers below.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::image) struct Tally {
    /// Bytes, each file rounded up to whole pages.
    pub(in crate::image) bytes: u64,
    /// Files, directories and everything else that has an inode.
    pub(in crate::image) inodes: u64,
    /// Directories whose attributes the layer does not give; see `Tree::implicit_directories`.
    #[serde(default, with = "paths")]
    pub(in crate::image) implicit: Vec<Vec<u8>>,
    /// The layer hides everything in the layers below.
    #[serde(default)]
    pub(in crate::image) opaque: bool,
    /// Hard links to files that only a layer below can have.
    #[serde(default)]
    pub(in crate::image) links: Vec<LowerLink>,
}

/// A hard link to a file that is not in the same layer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::image) struct LowerLink {
    /// The link, from the layer's root.
    #[serde(with = "path")]
    pub(in crate::image) path: Vec<u8>,
    /// The file, from the root of the layer that has it.
    #[serde(with = "path")]
    pub(in crate::image) target: Vec<u8>,
}

/// A path, which may be any bytes, in JSON.
mod path {
    use base64::{Engine as _, engine::general_purpose::STANDARD_NO_PAD as BASE64};
    use serde::{Deserialize as _, Deserializer, Serialize as _, Serializer, de::Error as _};

    pub(super) fn serialize<S: Serializer>(path: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        BASE64.encode(path).serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        BASE64.decode(String::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

/// Paths, which may be any bytes, in JSON.
mod paths {
    use base64::{Engine as _, engine::general_purpose::STANDARD_NO_PAD as BASE64};
    use serde::{Deserialize as _, Deserializer, Serialize as _, Serializer, de::Error as _};

    pub(super) fn serialize<S: Serializer>(paths: &[Vec<u8>], serializer: S) -> Result<S::Ok, S::Error> {
        paths.iter().map(|path| BASE64.encode(path)).collect::<Vec<_>>().serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Vec<u8>>, D::Error> {
        let paths = Vec::<String>::deserialize(deserializer)?;
        paths.iter().map(|path| BASE64.decode(path).map_err(D::Error::custom)).collect()
    }
}
