//! Whose user a container runs as; names are looked up in the image later, by the container's own process.

use serde::{Deserialize, Serialize};

use crate::{
    runtime::error::PlanError,
    types::{ContainerSecurity, SupplementalGroupsPolicy},
};

/// Most groups a container may list; the kernel takes 65536, but they have to fit one message.
const MAX_GROUPS: usize = 4096;

/// A user as asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum UserPlan {
    /// A number; it need not be in `/etc/passwd`.
    Id(u32),
    /// A name in the image's `/etc/passwd`.
    Name(String),
}

/// The groups of a user as asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct GroupPlan {
    /// The primary group; `None` is the one in `/etc/passwd`, or 0.
    pub primary: Option<UserPlan>,
    /// Groups to add.
    pub supplemental: Vec<u32>,
    /// Also the groups that the image's `/etc/group` lists the user in.
    pub merge: bool,
}

/// Decides the user: the container's id, else its user name, else what the image says.
///
/// # Errors
/// A group without a user, ids out of range, an image user that cannot be read.
pub(super) fn plan(security: &ContainerSecurity, image_user: &str) -> Result<(UserPlan, GroupPlan), PlanError> {
    let (user, image_group) = match (security.run_as_user, security.run_as_username.as_str()) {
        (Some(uid), _) => (UserPlan::Id(id(uid)?), None),
        (None, "") if security.run_as_group.is_some() => return Err(PlanError::GroupWithoutUser),
        (None, "") => image(image_user)?,
        (None, name) => (name_or_id(name)?, None),
    };
    let primary = match security.run_as_group {
        Some(gid) => Some(UserPlan::Id(id(gid)?)),
        None => image_group,
    };
    if security.supplemental_groups.len() > MAX_GROUPS {
        return Err(PlanError::TooManyGroups(security.supplemental_groups.len()));
    }
    let supplemental = security.supplemental_groups.iter().map(|&gid| id(gid)).collect::<Result<_, _>>()?;
    let merge = security.supplemental_groups_policy == SupplementalGroupsPolicy::Merge;
    Ok((user, GroupPlan { primary, supplemental, merge }))
}

/// Reads an image's `user`, `uid`, `user:group`, …; nothing is root.
fn image(text: &str) -> Result<(UserPlan, Option<UserPlan>), PlanError> {
    let (user, group) = match text.split_once(':') {
        Some((user, group)) => (user, Some(group)),
        None => (text, None),
    };
    let user = if user.is_empty() { UserPlan::Id(0) } else { name_or_id(user)? };
    let group = group.filter(|group| !group.is_empty()).map(name_or_id).transpose()?;
    Ok((user, group))
}

fn name_or_id(text: &str) -> Result<UserPlan, PlanError> {
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        return text
            .parse()
            .map_err(|_| PlanError::InvalidUser(text.to_owned()))
            .and_then(|n| Ok(UserPlan::Id(id(n)?)));
    }
    if text.len() > 256 || text.contains([':', '\n', '\0']) {
        return Err(PlanError::InvalidUser(text.chars().take(64).collect()));
    }
    Ok(UserPlan::Name(text.to_owned()))
}

/// An id in the kernel's range; −1 means "leave as it is" to the kernel and is no id.
fn id(number: i64) -> Result<u32, PlanError> {
    match u32::try_from(number) {
        Ok(id) if id <= i32::MAX as u32 => Ok(id),
        _ => Err(PlanError::InvalidUser(number.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(name: &str) -> UserPlan {
        UserPlan::Name(name.to_owned())
    }

    #[test]
    fn the_images_user_is_read_in_all_its_forms() {
        let image = |text| plan(&ContainerSecurity::default(), text).map(|(user, groups)| (user, groups.primary));
        assert_eq!(image("").expect("root"), (UserPlan::Id(0), None));
        assert_eq!(image("www").expect("name"), (name("www"), None));
        assert_eq!(image("1002:22").expect("ids"), (UserPlan::Id(1002), Some(UserPlan::Id(22))));
        assert_eq!(image("www:adm").expect("names"), (name("www"), Some(name("adm"))));
        for bad in ["99999999999", "4294967295", "a:b:c", "x\n"] {
            assert!(image(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn the_container_overrides_the_image() {
        let security = ContainerSecurity { run_as_user: Some(7), run_as_group: Some(8), ..Default::default() };
        let (user, groups) = plan(&security, "www:adm").expect("planned");
        assert_eq!((user, groups.primary), (UserPlan::Id(7), Some(UserPlan::Id(8))));
        let security = ContainerSecurity { run_as_username: "app".to_owned(), ..Default::default() };
        let (user, groups) = plan(&security, "www:adm").expect("planned");
        assert_eq!((user, groups.primary), (name("app"), None));
    }

    #[test]
    fn a_group_needs_a_user() {
        let security = ContainerSecurity { run_as_group: Some(8), ..Default::default() };
        assert!(matches!(plan(&security, "www"), Err(PlanError::GroupWithoutUser)));
    }
}
