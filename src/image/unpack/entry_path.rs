//! Names of archive entries.

use super::{Error, error::shown};

/// Longest path, `limits.h` PATH_MAX.
const MAX_PATH: usize = 4096;
/// Longest component of a path on every file system in use.
const MAX_COMPONENT: usize = 255;
/// Prefix of the names that delete something of the layers below, OCI image-spec "layer.md", section "Whiteouts".
const WHITEOUT: &[u8] = b".wh.";
/// Prefix of the names that AUFS kept for itself; only one of them has a meaning in layers.
const WHITEOUT_META: &[u8] = b".wh..wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";

/// A name, cleaned: relative to the layer's root, without empty or `.` components. No components are the root itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct EntryPath<'a>(Vec<&'a [u8]>);

/// What an entry is there for, by its name.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Purpose<'a> {
    /// Something with this name in this directory.
    Content {
        /// Components of the directory.
        parent: &'a [&'a [u8]],
        /// The name.
        name: &'a [u8],
    },
    /// Attributes of the layer's root.
    Root,
    /// Nothing of this name of the layers below shall be seen.
    Whiteout {
        /// Components of the directory.
        parent: &'a [&'a [u8]],
        /// The name that is hidden.
        name: &'a [u8],
    },
    /// Nothing in this directory of the layers below shall be seen.
    Opaque {
        /// Components of the directory.
        directory: &'a [&'a [u8]],
    },
    /// Left by AUFS, without a meaning.
    Ignored,
}

impl<'a> EntryPath<'a> {
    /// Cleans a name. One that begins at `/` is taken from the layer's root; one with `..` is refused.
    pub(super) fn parse(path: &'a [u8]) -> Result<Self, Error> {
        let refuse = |reason| Err(Error::Path { path: shown(path), reason });
        if path.len() > MAX_PATH {
            return refuse("the name is too long");
        }
        if path.contains(&0) {
            return refuse("the name holds a NUL byte");
        }
        let parts = path.split(|byte| *byte == b'/').filter(|part| !part.is_empty() && *part != b".");
        let components: Vec<&[u8]> = parts.collect();
        if components.iter().any(|component| component.len() > MAX_COMPONENT) {
            return refuse("a component of the name is too long");
        }
        if components.contains(&&b".."[..]) {
            return refuse("the name leads out of its directory");
        }
        Ok(Self(components))
    }

    /// All components.
    pub(super) fn components(&self) -> &[&'a [u8]] {
        &self.0
    }

    /// Tells what the entry is for.
    pub(super) fn purpose(&self) -> Result<Purpose<'_>, Error> {
        let Some((name, parent)) = self.0.split_last() else { return Ok(Purpose::Root) };
        if self.0.iter().any(|part| part.starts_with(WHITEOUT_META) && *part != OPAQUE) {
            return Ok(Purpose::Ignored);
        }
        if *name == OPAQUE {
            return Ok(Purpose::Opaque { directory: parent });
        }
        match name.strip_prefix(WHITEOUT) {
            None => Ok(Purpose::Content { parent, name }),
            Some(b"" | b"." | b"..") => {
                Err(Error::Path { path: shown(&self.0.join(&b'/')), reason: "the whiteout hides no possible name" })
            }
            Some(hidden) => Ok(Purpose::Whiteout { parent, name: hidden }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_taken_from_the_root_of_the_layer() {
        for (text, components) in [
            (&b"a/b"[..], &[&b"a"[..], b"b"][..]),
            (b"/a//./b/", &[b"a", b"b"]),
            (b"./", &[]),
            (b"", &[]),
            (b"...", &[b"..."]),
        ] {
            assert_eq!(EntryPath::parse(text).expect("parses").components(), components);
        }
    }

    #[test]
    fn names_that_leave_the_layer_or_fit_nowhere_are_refused() {
        let long = [b'x'; 256];
        let deep = b"d/".repeat(2049);
        for bad in [&b".."[..], b"a/../b", b"../etc/passwd", b"/..", b"a\0b", &long, &deep] {
            assert!(EntryPath::parse(bad).is_err(), "{}", shown(bad));
        }
    }

    #[test]
    fn names_tell_what_an_entry_is_for() {
        let purpose = |name: &'static [u8]| {
            format!(
                "{:?}",
                EntryPath::parse(name)
                    .and_then(|path| {
                        path.purpose().map(|purpose| match purpose {
                            Purpose::Content { .. } => "content",
                            Purpose::Root => "root",
                            Purpose::Whiteout { .. } => "whiteout",
                            Purpose::Opaque { .. } => "opaque",
                            Purpose::Ignored => "ignored",
                        })
                    })
                    .unwrap_or("refused")
            )
        };
        for (name, expected) in [
            (&b"a/b"[..], "content"),
            (b"./", "root"),
            (b"a/.wh.b", "whiteout"),
            (b"a/.wh..wh..opq", "opaque"),
            (b".wh..wh..opq", "opaque"),
            (b".wh..wh.plnk/1.2", "ignored"),
            (b".wh..wh.aufs", "ignored"),
            (b"a/.wh.", "refused"),
            (b"a/.wh..", "refused"),
            (b"a/.wh...", "refused"),
        ] {
            assert_eq!(purpose(name), format!("{expected:?}"), "{}", shown(name));
        }
    }
}
