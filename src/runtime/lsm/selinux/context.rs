//! Security contexts: `user:role:type:level`.

use std::fmt;

use super::Error;
use crate::types::SelinuxOptions;

/// A context in its parts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Context {
    user: String,
    role: String,
    kind: String,
    /// May hold colons; empty under a policy without levels.
    level: String,
}

impl Context {
    pub(super) fn parse(text: &str) -> Self {
        let mut parts = text.splitn(4, ':').map(str::to_owned);
        let mut next = || parts.next().unwrap_or_default();
        Self { user: next(), role: next(), kind: next(), level: next() }
    }

    /// The same with the given parts in the place of its own.
    pub(super) fn with(&self, options: &SelinuxOptions) -> Self {
        let pick = |given: &String, own: &String| if given.is_empty() { own.clone() } else { given.clone() };
        Self {
            user: pick(&options.user, &self.user),
            role: pick(&options.role, &self.role),
            kind: pick(&options.kind, &self.kind),
            level: pick(&options.level, &self.level),
        }
    }
}

impl fmt::Display for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.user, self.role, self.kind)?;
        if self.level.is_empty() { Ok(()) } else { write!(f, ":{}", self.level) }
    }
}

/// Says that all given parts are well-formed.
pub(super) fn check(options: &SelinuxOptions) -> Result<(), Error> {
    let names = [("user", &options.user), ("role", &options.role), ("type", &options.kind)];
    let bad_name = names.into_iter().find(|(_, name)| !name.bytes().all(is_name_byte));
    let bad_level = Some(("level", &options.level)).filter(|(_, level)| !level.is_empty() && !is_level(level));
    match bad_name.or(bad_level) {
        Some((part, value)) => Err(Error::InvalidSelinux { part, value: value.clone() }),
        None => Ok(()),
    }
}

fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.')
}

/// `s0`, `s0:c1,c5`, or a range of two such, each with ranges of categories such as `c0.c1023`.
fn is_level(text: &str) -> bool {
    let (low, high) = text.split_once('-').unwrap_or((text, text));
    [low, high].iter().all(|level| match level.split_once(':') {
        Some((sensitivity, categories)) => is_numbered('s', sensitivity) && categories.split(',').all(is_category),
        None => is_numbered('s', level),
    })
}

fn is_category(text: &str) -> bool {
    let (first, last) = text.split_once('.').unwrap_or((text, text));
    is_numbered('c', first) && is_numbered('c', last)
}

fn is_numbered(letter: char, text: &str) -> bool {
    text.strip_prefix(letter)
        .is_some_and(|number| (1..=4).contains(&number.len()) && number.bytes().all(|digit| digit.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_keeps_its_colon() {
        let context = Context::parse("system_u:system_r:container_t:s0:c1,c2");
        assert_eq!(context.level, "s0:c1,c2");
        assert_eq!(context.to_string(), "system_u:system_r:container_t:s0:c1,c2");
        assert_eq!(Context::parse("u:r:t").to_string(), "u:r:t");
    }

    #[test]
    fn levels_are_checked() {
        for good in ["s0", "s15", "s0:c1", "s0:c1,c2", "s0-s15:c0.c1023", "s0:c1.c3,c9", "s0:c1-s1:c1,c2"] {
            assert!(is_level(good), "{good:?}");
        }
        for bad in ["0", "s", "s0:", "s0:c", "s0:1", "s0:c1,", "s0:c1,c2 ", "s0-", "sx", "s0:c12345", "s0:c1,c2\n"] {
            assert!(!is_level(bad), "{bad:?} was taken for a level");
        }
    }

    #[test]
    fn malformed_parts_are_named() {
        let options = SelinuxOptions { kind: "container_t:s0".into(), ..Default::default() };
        let error = check(&options).expect_err("a colon would start the next part");
        assert_eq!(error.to_string(), "invalid selinux type \"container_t:s0\"");
        let options = SelinuxOptions { level: "top".into(), ..Default::default() };
        assert_eq!(check(&options).expect_err("level").to_string(), "invalid selinux level \"top\"");
        check(&SelinuxOptions::default()).expect("nothing given");
    }
}
