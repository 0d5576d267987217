//! Fuzz target of an image's users and groups.

use super::identity::{MAX_GROUPS, decide};
use crate::runtime::plan::{GroupPlan, UserPlan};

/// `/etc/passwd` and `/etc/group` of the same text.
pub(crate) fn passwd(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let name = || UserPlan::Name("app".to_owned());
    for user in [name(), UserPlan::Id(0), UserPlan::Id(1000)] {
        for primary in [None, Some(name()), Some(UserPlan::Id(7))] {
            let wanted = GroupPlan { primary: primary.clone(), supplemental: vec![7, 8], merge: true };
            let Ok(identity) = decide(&user, &wanted, &text, &text) else { continue };
            assert!(identity.groups.contains(&identity.gid) && identity.groups.len() <= MAX_GROUPS, "{identity:?}");
            assert!(identity.home.starts_with('/'), "{identity:?}");
            if let UserPlan::Id(uid) = user {
                assert_eq!(identity.uid, uid);
            }
        }
    }
}
