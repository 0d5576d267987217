//! Names of devices: `vendor.com/class=device`.

use super::Error;
use crate::types::ContainerConfig;

/// Annotations that begin like this name devices, for callers that cannot say it in the request.
const ANNOTATION: &str = "cdi.k8s.io/";

/// The devices that a container asks for, each once: those of the request, then those of its annotations.
///
/// # Errors
/// The first that is no name.
pub fn requested(config: &ContainerConfig) -> Result<Vec<String>, Error> {
    let annotated = config.annotations.iter().filter(|(key, _)| key.starts_with(ANNOTATION));
    let annotated = annotated.flat_map(|(_, value)| value.split(',').map(str::trim));
    let mut names: Vec<String> = Vec::new();
    for name in config.cdi_devices.iter().map(String::as_str).chain(annotated) {
        if split(name).is_none() {
            return Err(Error::Name(name.chars().take(256).collect()));
        }
        if !names.iter().any(|seen| seen == name) {
            names.push(name.to_owned());
        }
    }
    Ok(names)
}

/// The kind (`vendor.com/class`) and the device in a whole name.
pub(super) fn split(name: &str) -> Option<(&str, &str)> {
    let (kind, device) = name.split_once('=')?;
    (is_kind(kind) && is_device(device)).then_some((kind, device))
}

/// Whether this is a vendor and a class.
pub(super) fn is_kind(kind: &str) -> bool {
    let part = |text: &str| is_word(text, "_-.") && text.starts_with(|c: char| c.is_ascii_alphabetic());
    kind.split_once('/').is_some_and(|(vendor, class)| part(vendor) && part(class))
}

/// Whether this can be the name of one device of a kind.
pub(super) fn is_device(device: &str) -> bool {
    is_word(device, "_-.:")
}

/// Letters and digits, and between them some signs.
fn is_word(text: &str, signs: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_alphanumeric();
    text.starts_with(is_plain) && text.ends_with(is_plain) && text.chars().all(|c| is_plain(c) || signs.contains(c))
}
