//! The directories of the engine.

use std::{
    fs,
    path::{Path, PathBuf},
};

use rustix::fs::{statfs, statvfs};

use super::Finding;
use crate::{
    daemon::{
        Error,
        config::{Containers, Settings},
        listen::StateLock,
    },
    error::chain,
    sys::quota,
};

/// File systems (by their `statfs(2)` magic) on which overlayfs takes no writable layer.
const WITHOUT_OVERLAY: &[(u64, &str)] = &[
    (0x794c_7630, "overlayfs"),
    (0x6969, "NFS"),
    (0x4d44, "FAT"),
    (0xff53_4d42, "CIFS"),
    (0xfe53_4d42, "SMB2"),
    (0x6573_5546, "FUSE"),
];
const TMPFS: u64 = 0x0102_1994;
/// Least share of free space and of free inodes.
const FREE: f64 = 0.10;

pub(super) fn examine(settings: &Settings) -> Vec<Finding> {
    let mut findings = vec![file_system(&settings.root), space(&settings.root)];
    findings.extend(limits(settings));
    findings.extend(daemon(settings));
    findings
}

fn file_system(root: &Path) -> Finding {
    let path = existing(root);
    let kind = match statfs(&path) {
        // The type is signed or not, by architecture; the magic is 32 bits.
        Ok(info) => (info.f_type as u64) & 0xffff_ffff,
        Err(errno) => return Finding::error("store", format!("{}: {errno}", path.display()), "make it readable"),
    };
    let found = |name: &str| format!("{} is on {name}", root.display());
    match WITHOUT_OVERLAY.iter().find(|(magic, _)| *magic == kind) {
        Some((_, name)) => {
            let advice = "put it on ext4, XFS or btrfs (setting: root)";
            Finding::error("store", format!("{}, which takes no container layers", found(name)), advice)
        }
        None if kind == TMPFS => {
            let advice = "put it on a disk (setting: root)";
            Finding::warning("store", format!("{}: images are gone after a reboot", found("tmpfs")), advice)
        }
        None => Finding::ok("store", format!("{} can hold layers", root.display())),
    }
}

fn space(root: &Path) -> Finding {
    let Ok(info) = statvfs(existing(root)) else {
        return Finding::error("space", "unknown", "make the store's directory readable");
    };
    let share = |free: u64, all: u64| if all == 0 { 1.0 } else { free as f64 / all as f64 };
    let (space, inodes) = (share(info.f_bavail, info.f_blocks), share(info.f_favail, info.f_files));
    let found = format!("{:.0} % of the space and {:.0} % of the inodes are free", space * 100.0, inodes * 100.0);
    if space < FREE || inodes < FREE {
        return Finding::warning("space", found, "remove images (berth image rm), or move the store (setting: root)");
    }
    Finding::ok("space", found)
}

/// Whether writable layers can be limited, which matters where it is asked for, and is worth knowing where it works.
fn limits(settings: &Settings) -> Option<Finding> {
    let path = existing(&settings.root);
    let kept = fs::File::open(&path).and_then(quota::keeps_limits);
    let root = settings.root.display();
    match kept {
        Ok(true) => Some(Finding::ok("limits", format!("writable layers in {root} can be limited"))),
        _ if settings.containers == Containers::default() => None,
        Ok(false) => {
            let advice = "mount it with prjquota (ext4, prepared by tune2fs -O project -Q prjquota) or pquota (XFS), or \
                          unset containers.writable_layer_limit and containers.writable_layer_maximum";
            let found = format!("the file system of {root} keeps no quotas of projects: the engine does not start");
            Some(Finding::error("limits", found, advice))
        }
        Err(error) => Some(Finding::error("limits", format!("{}: {error}", path.display()), "make it readable")),
    }
}

/// Whether an engine runs, and what one that does not run has left.
fn daemon(settings: &Settings) -> Vec<Finding> {
    // Taking the lock would make the directory.
    if !settings.state.is_dir() {
        return vec![Finding::ok("engine", "does not run")];
    }
    match StateLock::take(&settings.state) {
        Err(Error::AlreadyRunning(_)) => vec![Finding::ok("engine", "runs")],
        Err(error) => vec![Finding::error("engine", chain(&error), "run it as root: sudo berth check")],
        Ok(_lock) => match fs::read_dir(settings.state.join("pods")).map_or(0, Iterator::count) {
            0 => vec![Finding::ok("engine", "does not run")],
            pods => vec![Finding::warning(
                "engine",
                format!("does not run, but {pods} of its pods are here"),
                "start it (berth serve), or remove them with everything else (berth system reset)",
            )],
        },
    }
}

/// The directory, or the nearest one above it that exists.
fn existing(path: &Path) -> PathBuf {
    path.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/")).to_owned()
}
