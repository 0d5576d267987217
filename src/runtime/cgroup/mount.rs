//! Where cgroup file systems are mounted, from `/proc/self/mountinfo` (`proc_pid_mountinfo(5)`).

use std::path::PathBuf;

use super::v1;
use crate::runtime::mountinfo::unescape;

/// The mounted hierarchies that are used.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Mounts {
    /// Controllers are on v1 hierarchies.
    V1(v1::Layout),
    /// All is on cgroup v2, mounted here.
    V2(PathBuf),
}

/// Finds them in the text of a mountinfo file; `None` when there are none.
///
/// v1 it is as soon as CPU or memory is on a v1 hierarchy: then cgroup2, if mounted, can only track processes.
pub(super) fn find(mountinfo: &str) -> Option<Mounts> {
    let mut unified: Option<PathBuf> = None;
    let mut hierarchies: Vec<v1::Mount> = Vec::new();
    for entry in mountinfo.lines().filter_map(Entry::parse) {
        match entry.kind {
            "cgroup2" if unified.is_none() => unified = Some(entry.mountpoint),
            "cgroup" => {
                let controllers: Vec<String> =
                    entry.options.split(',').filter(|option| is_controller(option)).map(str::to_owned).collect();
                let mounted_before = hierarchies.iter().any(|mount| mount.controllers == controllers);
                if !controllers.is_empty() && !mounted_before {
                    hierarchies.push(v1::Mount { controllers, dir: entry.mountpoint });
                }
            }
            _ => {}
        }
    }
    let on_v1 = |name: &str| hierarchies.iter().any(|mount| mount.controllers.iter().any(|it| it == name));
    if on_v1("memory") || on_v1("cpu") {
        return Some(Mounts::V1(v1::Layout { hierarchies, unified }));
    }
    unified.map(Mounts::V2)
}

/// Whether a super block option of a v1 mount names a controller or the hierarchy itself (`name=systemd`).
fn is_controller(option: &str) -> bool {
    const OTHERS: &[&str] = &[
        "rw",
        "ro",
        "none",
        "all",
        "xattr",
        "noprefix",
        "clone_children",
        "cpuset_v2_mode",
        "favordynmods",
        "nofavordynmods",
    ];
    !OTHERS.contains(&option) && !option.starts_with("release_agent=")
}

struct Entry<'a> {
    kind: &'a str,
    mountpoint: PathBuf,
    options: &'a str,
}

impl<'a> Entry<'a> {
    /// `36 35 98:0 /root /mountpoint rw,noatime shared:1 - type source options`; `None` for a read-only mount.
    fn parse(line: &'a str) -> Option<Self> {
        let (mount, superblock) = line.split_once(" - ")?;
        let mut mount = mount.split(' ').skip(4);
        let (mountpoint, flags) = (mount.next()?, mount.next()?);
        if flags.split(',').any(|flag| flag == "ro") {
            return None;
        }
        let mut superblock = superblock.split(' ');
        let (kind, options) = (superblock.next()?, superblock.nth(1)?);
        Some(Self { kind, mountpoint: unescape(mountpoint).into(), options })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pure_v2_host_is_recognised() {
        let text = "22 1 0:21 / /proc rw - proc proc rw\n\
                    35 24 0:30 / /sys/fs/cgroup rw,nosuid,relatime shared:9 - cgroup2 cgroup2 rw,nsdelegate\n";
        assert_eq!(find(text), Some(Mounts::V2("/sys/fs/cgroup".into())));
    }

    #[test]
    fn a_hybrid_host_with_joint_mounts_is_v1() {
        let text = "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755\n\
                    32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:10 - cgroup cgroup rw,cpu,cpuacct\n\
                    33 31 0:29 / /somewhere\\040else rw,relatime - cgroup cgroup rw,cpu,cpuacct\n\
                    34 31 0:30 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
                    35 31 0:31 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd\n\
                    36 31 0:32 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";
        let Some(Mounts::V1(layout)) = find(text) else { panic!("not v1") };
        assert_eq!(layout.unified, Some("/sys/fs/cgroup/unified".into()));
        let controllers: Vec<_> = layout.hierarchies.iter().map(|mount| mount.controllers.join("+")).collect();
        assert_eq!(controllers, ["cpu+cpuacct", "memory", "name=systemd"]);
        assert_eq!(layout.hierarchies[0].dir, PathBuf::from("/sys/fs/cgroup/cpu,cpuacct"));
    }

    #[test]
    fn a_lonely_v1_controller_beside_v2_does_not_count() {
        let text = "1 2 0:3 / /sys/fs/cgroup rw - cgroup2 none rw\n4 2 0:5 / /net_cls rw - cgroup net_cls rw,net_cls\n";
        assert_eq!(find(text), Some(Mounts::V2("/sys/fs/cgroup".into())));
    }

    #[test]
    fn read_only_mounts_and_other_file_systems_are_passed_over() {
        let text = "1 2 0:3 / /ro ro,relatime - cgroup2 none ro\nnonsense\n1 2 0:4 / /x rw - ext4 /dev/vda rw\n";
        assert_eq!(find(text), None);
    }
}
