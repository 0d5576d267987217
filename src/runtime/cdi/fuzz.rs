//! Fuzz target of the specifications of devices.

use super::{Edits, spec::Spec};

/// A specification, as JSON and as YAML. What is taken can be asked for.
pub(crate) fn cdi(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    for spec in [true, false].iter().filter_map(|is_json| Spec::parse(&text, *is_json).ok()) {
        for device in &spec.devices {
            let mut edits = Edits::default();
            let added = edits.add(&device.name, &spec.container_edits);
            if added.and_then(|()| edits.add(&device.name, &device.container_edits)).is_ok() {
                assert!(edits.env.iter().all(|entry| entry.contains('=')), "{edits:?}");
            }
        }
    }
}
