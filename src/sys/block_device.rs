//! Names of block devices, from sysfs.

use std::{fs, path::Path};

/// The name under `/dev` of the device with these numbers, such as `/dev/vda`; `major:minor` for one that sysfs does not
/// know, such as that of a file system without a device.
pub fn name(major: u32, minor: u32) -> String {
    let number = format!("{major}:{minor}");
    let link = fs::read_link(Path::new("/sys/dev/block").join(&number));
    let name = link.as_ref().ok().and_then(|link| link.file_name()?.to_str());
    // A slash in a name is an exclamation mark in sysfs: `cciss!c0d0`.
    name.map_or(number, |name| format!("/dev/{}", name.replace('!', "/")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_have_the_names_that_sysfs_gives_them() {
        for device in fs::read_dir("/sys/class/block").into_iter().flatten().flatten() {
            let numbers = fs::read_to_string(device.path().join("dev")).expect("its numbers");
            let (major, minor) = numbers.trim().split_once(':').expect("two numbers");
            let name = name(major.parse().expect("major"), minor.parse().expect("minor"));
            assert_eq!(name, format!("/dev/{}", device.file_name().to_string_lossy().replace('!', "/")));
        }
        assert_eq!(name(0, 42), "0:42");
    }
}
