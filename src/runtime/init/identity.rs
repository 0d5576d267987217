//! Users and groups, looked up in the image's own files.

use std::{fs::File, io::Read as _};

use rustix::{
    fs::{FileType, OFlags, fstat},
    io::Errno,
};

use crate::{
    runtime::{
        error::{At as _, LaunchError, Step},
        launch::Identity,
        plan::{GroupPlan, UserPlan},
    },
    sys::openat2::Root,
};

/// Largest user or group file that is read, bytes.
const MAX_FILE: u64 = 8 << 20;

/// Most groups of one user.
pub(super) const MAX_GROUPS: usize = 4096;

/// Finds out who a container runs as.
pub(super) fn resolve(root: &Root, user: &UserPlan, groups: &GroupPlan) -> Result<Identity, LaunchError> {
    let passwd = read(root, "/etc/passwd")?;
    let needs_groups = groups.merge || matches!(groups.primary, Some(UserPlan::Name(_)));
    let group = if needs_groups { read(root, "/etc/group")? } else { String::new() };
    decide(user, groups, &passwd, &group)
}

/// A file's text, empty when there is none.
fn read(root: &Root, path: &str) -> Result<String, LaunchError> {
    // Not to wait for the writer of a named pipe.
    let file = match root.open(path, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY) {
        Ok(file) => file,
        Err(Errno::NOENT | Errno::NOTDIR) => return Ok(String::new()),
        Err(errno) => return Err(errno).at(Step::Identity, path),
    };
    let found = fstat(&file).at(Step::Identity, path)?;
    if !FileType::from_raw_mode(found.st_mode).is_file() {
        return Err(LaunchError::new(Step::Identity, format!("in {path}: not a regular file")));
    }
    let mut bytes = Vec::new();
    File::from(file).take(MAX_FILE + 1).read_to_end(&mut bytes).at(Step::Identity, path)?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(LaunchError::new(Step::Identity, format!("in {path}: larger than {MAX_FILE} bytes")));
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// A line of `passwd(5)`.
struct User<'a> {
    name: &'a str,
    uid: u32,
    gid: u32,
    home: &'a str,
}

fn users(passwd: &str) -> impl Iterator<Item = User<'_>> {
    passwd.lines().filter_map(|line| {
        let mut fields = line.trim().split(':');
        let name = fields.next().filter(|name| !name.is_empty())?;
        let uid = fields.nth(1)?.parse().ok()?;
        let gid = fields.next()?.parse().ok()?;
        Some(User { name, uid, gid, home: fields.nth(1).unwrap_or("") })
    })
}

/// Name, id and members of each line of `group(5)`.
fn groups(group: &str) -> impl Iterator<Item = (&str, u32, &str)> {
    group.lines().filter_map(|line| {
        let mut fields = line.trim().split(':');
        let name = fields.next().filter(|name| !name.is_empty())?;
        let gid = fields.nth(1)?.parse().ok()?;
        Some((name, gid, fields.next().unwrap_or("")))
    })
}

pub(super) fn decide(user: &UserPlan, wanted: &GroupPlan, passwd: &str, group: &str) -> Result<Identity, LaunchError> {
    let (uid, found) = match user {
        UserPlan::Id(uid) => (*uid, users(passwd).find(|entry| entry.uid == *uid)),
        UserPlan::Name(name) => {
            let found = users(passwd).find(|entry| entry.name == name);
            let entry = found.ok_or_else(|| {
                LaunchError::new(Step::Identity, format!("{name:?}: no matching entries in /etc/passwd of the image"))
            })?;
            (entry.uid, Some(entry))
        }
    };
    let gid = match &wanted.primary {
        Some(UserPlan::Id(gid)) => *gid,
        Some(UserPlan::Name(name)) => {
            let found = groups(group).find(|(known, ..)| known == name);
            found.map(|(_, gid, _)| gid).ok_or_else(|| {
                LaunchError::new(
                    Step::Identity,
                    format!("group {name:?}: no matching entries in /etc/group of the image"),
                )
            })?
        }
        None => found.as_ref().map_or(0, |entry| entry.gid),
    };
    // The primary group is listed too: otherwise a program could drop it and pass by what is forbidden to it
    // (CVE-2022-36109).
    let mut all = vec![gid];
    if let (true, Some(entry)) = (wanted.merge, &found) {
        let member = |members: &str| members.split(',').any(|member| member.trim() == entry.name);
        all.extend(groups(group).filter(|(.., members)| member(members)).map(|(_, gid, _)| gid));
    }
    all.extend(&wanted.supplemental);
    let mut seen = std::collections::HashSet::new();
    all.retain(|gid| seen.insert(*gid));
    if all.len() > MAX_GROUPS {
        return Err(LaunchError::new(Step::Identity, format!("uid {uid}: more than {MAX_GROUPS} groups")));
    }
    let home = found.map_or("", |entry| entry.home);
    let home = if home.starts_with('/') { home } else { "/" };
    Ok(Identity { uid, gid, groups: all, home: home.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\n# comment\nbroken:x\n\
        app:x:1000:1000:App:/home/app:/bin/sh\nodd:x:1001:7::relative:\n";
    const GROUP: &str = "root:x:0:\napp:x:1000:\nvideo:x:50000:app,odd\nadm:x:4: app\nnone:x:9:other\n";

    fn name(name: &str) -> UserPlan {
        UserPlan::Name(name.to_owned())
    }

    fn decided(user: UserPlan, primary: Option<UserPlan>, supplemental: &[u32], merge: bool) -> Identity {
        let groups = GroupPlan { primary, supplemental: supplemental.to_vec(), merge };
        decide(&user, &groups, PASSWD, GROUP).expect("decided")
    }

    #[test]
    fn names_and_ids_find_the_same_user() {
        for user in [name("app"), UserPlan::Id(1000)] {
            let identity = decided(user, None, &[60000], true);
            assert_eq!(
                identity,
                Identity { uid: 1000, gid: 1000, groups: vec![1000, 50000, 4, 60000], home: "/home/app".to_owned() }
            );
        }
    }

    #[test]
    fn strict_leaves_the_images_groups_out() {
        assert_eq!(decided(UserPlan::Id(1000), None, &[60000, 1000], false).groups, [1000, 60000]);
    }

    #[test]
    fn unknown_ids_are_fine_and_unknown_names_are_not() {
        let identity = decided(UserPlan::Id(77), None, &[], true);
        assert_eq!((identity.gid, identity.groups, identity.home.as_str()), (0, vec![0], "/"));
        assert_eq!(decided(name("odd"), Some(name("video")), &[], false).gid, 50000);
        assert_eq!(decided(name("odd"), None, &[], false).home, "/");
        let lost = |user, primary| {
            let groups = GroupPlan { primary, ..GroupPlan::default() };
            decide(&user, &groups, PASSWD, GROUP).expect_err("unknown").to_string()
        };
        assert_eq!(
            lost(name("ghost"), None),
            "look up user \"ghost\": no matching entries in /etc/passwd of the image"
        );
        assert!(lost(name("app"), Some(name("ghost"))).contains("/etc/group"));
    }
}
