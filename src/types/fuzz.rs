//! Fuzz targets of names and sizes.

use super::{Digest, Reference, Size};

/// A name is refused, or shown as a name that means the same.
pub(crate) fn reference(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    if let Ok(digest) = text.parse::<Digest>() {
        assert_eq!(digest.to_string().parse::<Digest>().ok(), Some(digest));
    }
    let Ok(reference) = text.parse::<Reference>() else { return };
    assert_eq!(reference.to_string().parse::<Reference>().ok().as_ref(), Some(&reference), "{text:?}");
    assert!(reference.tag().is_some() || reference.digest().is_some(), "{text:?}");
    // Both become parts of addresses and of file names.
    for part in [reference.domain(), reference.repository()] {
        assert!(!part.is_empty() && part.split('/').all(|part| !matches!(part, "" | "." | "..")), "{text:?}");
        assert!(part.bytes().all(|byte| byte.is_ascii_graphic() && !b"?#%@\\\"".contains(&byte)), "{text:?}");
    }
}

/// A size is refused, or shown as a text that means the same.
pub(crate) fn size(input: &[u8]) {
    let Ok(size) = String::from_utf8_lossy(input).parse::<Size>() else { return };
    assert!(size.bytes() > 0);
    assert_eq!(size.to_string().parse(), Ok(size));
}
