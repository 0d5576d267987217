//! Who makes cgroups, and what they are called.
//!
//! The name alone tells which way a cgroup is made: a `.scope` in a `.slice` is asked for from systemd, anything else is
//! a directory of the engine's own.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{Error, systemd, validate_path};
use crate::types::Id;

/// Who makes cgroups. Engine and kubelet must use the same.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Driver {
    /// The engine itself.
    #[default]
    Cgroupfs,
    /// systemd, which then also keeps the limits.
    Systemd,
}

impl Driver {
    /// The one that fits the host: systemd's where it is the init.
    pub fn detect() -> Self {
        if systemd::is_running() { Self::Systemd } else { Self::Cgroupfs }
    }

    /// The path of a pod's cgroup. `parent` is what the caller named: a path, or with systemd a slice
    /// (`kubepods-pod1.slice`); empty for a cgroup of the pod's own below `root`.
    ///
    /// # Errors
    /// A parent that is neither, or does not fit the driver.
    pub fn pod(self, parent: &str, root: &str, pod: &Id) -> Result<String, Error> {
        let root = root.trim_matches('/');
        let path = match (self, parent.trim_matches('/')) {
            (Self::Cgroupfs, "") => format!("/{root}/{pod}"),
            (Self::Cgroupfs, parent) => format!("/{parent}"),
            (Self::Systemd, "") => expand_slice(&format!("{}-{pod}.slice", root.replace('/', "-")))?,
            (Self::Systemd, parent) => expand_slice(parent)?,
        };
        validate_path(&path)?;
        Ok(path)
    }

    /// The path of the cgroup of a container (or of a pod's own init) within its pod's.
    pub fn container(self, pod: &str, id: &Id) -> String {
        match self {
            Self::Cgroupfs => format!("{pod}/{id}"),
            Self::Systemd => format!("{pod}/berth-{id}.scope"),
        }
    }
}

/// The path of a slice: dashes in its name are steps down, `systemd.slice(5)`.
/// `a-b.slice` is in `/a.slice/a-b.slice`.
fn expand_slice(name: &str) -> Result<String, Error> {
    let invalid = || Error::InvalidPath(name.chars().take(255).collect());
    let steps = Path::new(name).file_name().filter(|last| *last == name).and_then(|_| name.strip_suffix(".slice"));
    let steps = steps.ok_or_else(invalid)?;
    if steps.split('-').any(str::is_empty) {
        return Err(invalid());
    }
    let ends = steps.match_indices('-').map(|(end, _)| end).chain([steps.len()]);
    Ok(ends.map(|end| format!("/{}.slice", &steps[..end])).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id() -> Id {
        Id::from_bytes([0xab; 32])
    }

    #[test]
    fn kubelets_slices_become_nested_directories() {
        let path = Driver::Systemd.pod("kubepods-besteffort-pod12_34.slice", "/berth", &id()).expect("path");
        let expected = "/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod12_34.slice";
        assert_eq!(path, expected);
        assert_eq!(Driver::Systemd.container(&path, &id()), format!("{expected}/berth-{}.scope", id()));
        assert_eq!(Driver::Systemd.pod("system.slice", "/berth", &id()).expect("path"), "/system.slice");
    }

    #[test]
    fn kubelets_paths_stay_as_they_are() {
        let path = Driver::Cgroupfs.pod("/kubepods/burstable/pod1", "/berth", &id()).expect("path");
        assert_eq!(path, "/kubepods/burstable/pod1");
        assert_eq!(Driver::Cgroupfs.container(&path, &id()), format!("/kubepods/burstable/pod1/{}", id()));
        assert_eq!(Driver::Cgroupfs.pod("test.slice", "/berth", &id()).expect("path"), "/test.slice");
    }

    #[test]
    fn pods_without_a_parent_get_a_cgroup_of_their_own() {
        assert_eq!(Driver::Cgroupfs.pod("", "/berth", &id()).expect("path"), format!("/berth/{}", id()));
        let path = Driver::Systemd.pod("", "/berth", &id()).expect("path");
        assert_eq!(path, format!("/berth.slice/berth-{}.slice", id()));
    }

    #[test]
    fn parents_that_do_not_fit_are_refused() {
        for parent in
            ["/kubepods/pod1", "a.slice/b.slice", "a--b.slice", "-a.slice", "a-.slice", ".slice", "a.scope", ".."]
        {
            assert!(Driver::Systemd.pod(parent, "/berth", &id()).is_err(), "{parent:?} was taken");
        }
        assert!(Driver::Cgroupfs.pod("/a/../b", "/berth", &id()).is_err());
    }
}
