//! Layers that are one file: the stream's bytes as they come.

use std::{
    fs::{DirBuilder, File},
    io::{Read, Write as _},
    os::unix::{ffi::OsStrExt as _, fs::DirBuilderExt as _},
    path::Path,
};

use super::{Error, Expected, Limits, Tally, apply::PAGE, error::shown, layer::Metered};

/// Bytes that are copied at once.
const PART: usize = 256 << 10;

/// Writes a stream into the file `path` of the empty directory `root`: readable for everyone, executable for nobody.
/// Blocking.
///
/// `path` must be relative and without `..`. The stream is verified on the way, so nothing in `root` may be used before
/// this returns without an error.
pub(in crate::image) fn write_file(
    source: impl Read,
    expected: Expected,
    root: &Path,
    path: &Path,
    limits: Limits,
) -> Result<Tally, Error> {
    if expected.size > limits.bytes {
        return Err(Error::Limit { what: "bytes", limit: limits.bytes });
    }
    let failed = |operation| move |source| Error::File { operation, path: shown(path.as_os_str().as_bytes()), source };
    let parent = path.parent().unwrap_or(Path::new(""));
    DirBuilder::new().recursive(true).mode(0o755).create(root.join(parent)).map_err(failed("make the directory of"))?;
    let mut file = File::create_new(root.join(path)).map_err(failed("create"))?;
    let mut source = Metered::new(source, Some(expected));
    let mut part = vec![0; PART];
    loop {
        match source.read(&mut part).map_err(Error::Decompress)? {
            0 => break,
            length => file.write_all(&part[..length]).map_err(failed("write"))?,
        }
    }
    source.verify(Some(expected))?;
    let mut directories: Vec<_> = parent.ancestors().map(|path| path.as_os_str().as_bytes().to_vec()).collect();
    directories.reverse();
    let count = directories.len() as u64;
    let bytes = expected.size.next_multiple_of(PAGE) + count * PAGE;
    Ok(Tally { bytes, inodes: count + 1, implicit: directories, ..Tally::default() })
}
