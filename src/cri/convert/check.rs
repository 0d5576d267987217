//! What a field of a request may hold, and the error that says which field does not.

use std::{collections::BTreeMap, fmt};

/// A field of a request that cannot be taken; the text names the field and says in a sentence what is wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid request: {field} {problem}")]
pub(crate) struct Invalid {
    field: String,
    problem: String,
}

/// Longest name of a pod, a container or a namespace, bytes. Kubernetes allows 253.
const MAX_NAME: usize = 1024;
/// Longest path that the kernel takes, with its NUL (`PATH_MAX`).
const MAX_PATH: usize = 4096;
/// Longest argument or environment variable that the kernel takes, with its NUL (`MAX_ARG_STRLEN`).
const MAX_ARGUMENT: usize = 128 * 1024;
/// Most bytes of one map of labels or annotations. Kubernetes allows 256 KiB of annotations and adds some.
const MAX_MAP: usize = 512 * 1024;

impl Invalid {
    pub(crate) fn new(field: impl Into<String>, problem: impl Into<String>) -> Self {
        Self { field: field.into(), problem: problem.into() }
    }

    /// The same, told from the point of view of the message that `parent` is a field of.
    pub(crate) fn within(mut self, parent: impl fmt::Display) -> Self {
        self.field = if self.field.is_empty() { parent.to_string() } else { format!("{parent}.{}", self.field) };
        self
    }
}

/// A message that must be there.
pub(crate) fn required<T>(field: &str, message: Option<T>) -> Result<T, Invalid> {
    message.ok_or_else(|| Invalid::new(field, "is missing"))
}

/// A number that must be one of an enumeration's.
pub(crate) fn enumeration<E: TryFrom<i32>>(field: &str, number: i32) -> Result<E, Invalid> {
    E::try_from(number).map_err(|_| Invalid::new(field, format!("has the unknown value {number}")))
}

/// Converts the members of a list; an error names the index. Members that are no messages call their field "".
pub(crate) fn each<T, U>(
    field: &str,
    members: Vec<T>,
    convert: impl Fn(T) -> Result<U, Invalid>,
) -> Result<Vec<U>, Invalid> {
    let numbered = members.into_iter().enumerate();
    numbered.map(|(index, member)| convert(member).map_err(|e| e.within(format!("{field}[{index}]")))).collect()
}

/// Text that goes to the kernel or into a file by lines: no NUL, and not longer than `limit`.
pub(crate) fn text(field: &str, text: String, limit: usize) -> Result<String, Invalid> {
    if text.len() > limit {
        return Err(Invalid::new(field, format!("is {} bytes long; at most {limit} are taken", text.len())));
    }
    if text.contains('\0') {
        return Err(Invalid::new(field, "contains a NUL"));
    }
    Ok(text)
}

/// A name, which must not be empty.
pub(crate) fn name(field: &str, name: String) -> Result<String, Invalid> {
    if name.is_empty() {
        return Err(Invalid::new(field, "is empty"));
    }
    text(field, name, MAX_NAME)
}

/// A short word that may be empty.
pub(crate) fn word(field: &str, word: String) -> Result<String, Invalid> {
    text(field, word, MAX_NAME)
}

/// Words of a command line.
pub(crate) fn arguments(field: &str, words: Vec<String>) -> Result<Vec<String>, Invalid> {
    for (index, argument) in words.iter().enumerate() {
        if argument.len() >= MAX_ARGUMENT || argument.contains('\0') {
            let problem = format!("is longer than {} bytes or contains a NUL", MAX_ARGUMENT - 1);
            return Err(Invalid::new(format!("{field}[{index}]"), problem));
        }
    }
    Ok(words)
}

/// The id of a pod or a container, or the beginning of one. What it stands for is the engine's to say.
pub(crate) fn id(field: &str, id: String) -> Result<String, Invalid> {
    if id.is_empty() {
        return Err(Invalid::new(field, "is empty"));
    }
    // Old callers' ids of other engines are only unknown, not wrong; but nobody has ids of a megabyte.
    text(field, id, MAX_NAME)
}

/// An absolute path without `..`; it is not changed in any way.
pub(crate) fn absolute_path(field: &str, path: String) -> Result<String, Invalid> {
    if !path.starts_with('/') {
        return Err(Invalid::new(field, format!("must be an absolute path, not {}", shown(&path))));
    }
    plain_path(field, path)
}

/// A path below some directory, without `..`; empty for that directory itself.
pub(crate) fn relative_path(field: &str, path: String) -> Result<String, Invalid> {
    if path.starts_with('/') {
        return Err(Invalid::new(field, format!("must be a relative path, not {}", shown(&path))));
    }
    plain_path(field, path)
}

/// Some path without `..`.
fn plain_path(field: &str, path: String) -> Result<String, Invalid> {
    if path.split('/').any(|part| part == "..") {
        return Err(Invalid::new(field, format!("must not contain \"..\": {}", shown(&path))));
    }
    text(field, path, MAX_PATH - 1)
}

/// Like [`absolute_path`], but may be empty.
pub(crate) fn optional_path(field: &str, path: String) -> Result<String, Invalid> {
    if path.is_empty() { Ok(path) } else { absolute_path(field, path) }
}

/// Labels or annotations. They are kept byte by byte; only their size is bounded.
pub(crate) fn map(field: &str, map: BTreeMap<String, String>) -> Result<BTreeMap<String, String>, Invalid> {
    let size: usize = map.iter().map(|(key, value)| key.len() + value.len()).sum();
    if size > MAX_MAP {
        return Err(Invalid::new(field, format!("come to {size} bytes; at most {MAX_MAP} are taken")));
    }
    if map.contains_key("") {
        return Err(Invalid::new(field, "have an empty key"));
    }
    Ok(map)
}

/// A user or group id; the largest number stands for "no id" in system calls.
pub(crate) fn user_id(field: &str, id: i64) -> Result<i64, Invalid> {
    if (0..i64::from(u32::MAX)).contains(&id) {
        Ok(id)
    } else {
        Err(Invalid::new(field, format!("must be between 0 and {}, not {id}", u32::MAX - 1)))
    }
}

/// Quotes a value for an error message, cut to a readable length.
pub(crate) fn shown(value: &str) -> String {
    match value.char_indices().nth(200) {
        Some((end, _)) => format!("{:?}…", &value[..end]),
        None => format!("{value:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_names_the_field_and_says_what_is_wrong() {
        let error = each("mounts", vec!["/a".to_owned(), "b".to_owned()], |path| absolute_path("host_path", path));
        let error = error.expect_err("the second is relative").within("config");
        assert_eq!(
            error.to_string(),
            r#"invalid request: config.mounts[1].host_path must be an absolute path, not "b""#
        );
    }

    #[test]
    fn paths_are_taken_verbatim_or_not_at_all() {
        for good in ["/", "/a//b/./c/", "/a..b/..c", "/…"] {
            assert_eq!(absolute_path("p", good.to_owned()).as_deref(), Ok(good));
        }
        for bad in ["", "a", "./a", "/a/../b", "/..", "/a\0b", &"/a".repeat(MAX_PATH / 2)] {
            absolute_path("p", bad.to_owned()).expect_err(bad);
        }
        for bad in ["/a", "..", "a/../../b", "a\0"] {
            relative_path("p", bad.to_owned()).expect_err(bad);
        }
        assert_eq!(relative_path("p", "a/b.log".to_owned()).as_deref(), Ok("a/b.log"));
    }

    #[test]
    fn sizes_are_bounded() {
        name("n", "x".repeat(MAX_NAME)).expect("long enough for everybody");
        name("n", "x".repeat(64 * 1024 + 1)).expect_err("absurd");
        name("n", String::new()).expect_err("empty");
        let labels = |size| BTreeMap::from([("k".to_owned(), "v".repeat(size))]);
        map("labels", labels(MAX_MAP - 1)).expect("fits");
        let error = map("labels", labels(1 << 20)).expect_err("1 MiB").to_string();
        assert!(error.starts_with("invalid request: labels come to 1048577 bytes"), "{error}");
        arguments("args", vec!["x".repeat(MAX_ARGUMENT)]).expect_err("more than execve takes");
    }

    #[test]
    fn user_ids_are_those_of_the_kernel() {
        for good in [0, 65534, i64::from(u32::MAX) - 1] {
            assert_eq!(user_id("u", good), Ok(good));
        }
        for bad in [-1, i64::from(u32::MAX), i64::MAX, i64::MIN] {
            user_id("u", bad).expect_err("no id");
        }
    }
}
