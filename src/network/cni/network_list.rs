//! The network configuration: which plugins run, in which order, with what.

use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{error::Unloadable, version::Version};

/// A network and the chain of plugins that joins pods to it; the specification's *network configuration list*.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct NetworkList {
    /// The network's name.
    pub(super) name: String,
    /// The version that is spoken with its plugins.
    pub(super) version: Version,
    /// Plugins must not be asked to CHECK.
    #[serde(default)]
    pub(super) disable_check: bool,
    /// Plugins must not be asked to GC.
    #[serde(default)]
    pub(super) disable_gc: bool,
    /// In the order of ADD.
    pub(super) plugins: Vec<PluginConfig>,
}

/// The configuration of one plugin.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct PluginConfig {
    /// Name of its program.
    pub(super) kind: String,
    /// What it wants to be told of a pod.
    pub(super) capabilities: BTreeSet<String>,
    /// All of it, as written.
    pub(super) body: Map<String, Value>,
}

/// Reads the configuration of the pods' network: the first file of `dir`, by name, that ends in `.conflist`, `.conf` or
/// `.json`.
///
/// # Errors
/// When there is none, or that one cannot be used; a later one never takes its place.
pub(super) fn load(dir: &Path) -> Result<NetworkList, Unloadable> {
    let path = first_file(dir)?.ok_or_else(|| Unloadable::Missing(dir.to_owned()))?;
    let bytes = fs::read(&path).map_err(|source| Unloadable::Unreadable { path: path.clone(), source })?;
    let is_list = path.extension().is_some_and(|extension| extension == "conflist");
    parse(&bytes, is_list).map_err(|reason| Unloadable::Invalid { path, reason })
}

fn first_file(dir: &Path) -> Result<Option<PathBuf>, Unloadable> {
    let unreadable = |source| Unloadable::Unreadable { path: dir.to_owned(), source };
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        entries => entries.map_err(unreadable)?,
    };
    let mut first: Option<PathBuf> = None;
    for entry in entries {
        let path = entry.map_err(unreadable)?.path();
        let extension = path.extension().and_then(|extension| extension.to_str());
        let is_candidate = matches!(extension, Some("conflist" | "conf" | "json")) && path.is_file();
        if is_candidate && first.as_ref().is_none_or(|first| path < *first) {
            first = Some(path);
        }
    }
    Ok(first)
}

pub(super) fn parse(bytes: &[u8], is_list: bool) -> Result<NetworkList, String> {
    let body: Map<String, Value> = serde_json::from_slice(bytes).map_err(|error| format!("not JSON: {error}"))?;
    let plugins = if is_list {
        let plugins = body.get("plugins").and_then(Value::as_array).ok_or("\"plugins\" is no list")?;
        plugins.iter().map(plugin).collect::<Result<Vec<_>, _>>()?
    } else {
        // A lone plugin's configuration names the network, too.
        vec![plugin(&Value::Object(body.clone()))?]
    };
    if plugins.is_empty() {
        return Err("\"plugins\" is empty".to_owned());
    }
    Ok(NetworkList {
        name: name(&body)?,
        version: version(&body)?,
        disable_check: flag(&body, "disableCheck")?,
        disable_gc: flag(&body, "disableGC")?,
        plugins,
    })
}

fn plugin(body: &Value) -> Result<PluginConfig, String> {
    let body = body.as_object().ok_or("a plugin is no object")?;
    let kind =
        body.get("type").and_then(Value::as_str).filter(|kind| !kind.is_empty()).ok_or("a plugin has no type")?;
    if kind.contains('/') || kind == "." || kind == ".." {
        return Err(format!("plugin type {kind:?} is no file name"));
    }
    let declared = body.get("capabilities").and_then(Value::as_object).into_iter().flatten();
    let capabilities = declared.filter(|(_, wanted)| **wanted == Value::Bool(true)).map(|(name, _)| name.clone());
    Ok(PluginConfig { kind: kind.to_owned(), capabilities: capabilities.collect(), body: body.clone() })
}

fn name(body: &Map<String, Value>) -> Result<String, String> {
    let name = body.get("name").and_then(Value::as_str).ok_or("the network has no name")?;
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
    if !name.starts_with(|c: char| c.is_ascii_alphanumeric()) || !name.chars().all(plain) {
        return Err(format!("the network's name {name:?} is not of letters, digits, '_', '.' and '-'"));
    }
    Ok(name.to_owned())
}

/// The highest version that both the configuration and this engine know.
fn version(body: &Map<String, Value>) -> Result<Version, String> {
    let single = body.get("cniVersion");
    let several = body.get("cniVersions").and_then(Value::as_array).into_iter().flatten();
    let texts: Vec<&str> = single.into_iter().chain(several).filter_map(Value::as_str).collect();
    match texts.iter().filter_map(|text| text.parse().ok()).max() {
        Some(version) => Ok(version),
        // Nothing said means 0.1.0, which had no chains.
        None => texts.first().copied().unwrap_or("0.1.0").parse(),
    }
}

/// A flag, which early versions of the specification wanted as a string.
fn flag(body: &Map<String, Value>, key: &str) -> Result<bool, String> {
    match body.get(key) {
        None => Ok(false),
        Some(Value::Bool(flag)) => Ok(*flag),
        Some(Value::String(text)) if text == "true" || text == "false" => Ok(text == "true"),
        Some(other) => Err(format!("{key:?} is neither true nor false: {other}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(text: &str, is_list: bool) -> String {
        parse(text.as_bytes(), is_list).expect_err("refused")
    }

    #[test]
    fn a_list_is_read_with_all_that_its_plugins_have() {
        let text = r#"{"cniVersion":"1.0.0","name":"n.1","disableCheck":"true","plugins":[
            {"type":"bridge","bridge":"b0"},
            {"type":"portmap","capabilities":{"portMappings":true,"other":false}}]}"#;
        let list = parse(text.as_bytes(), true).expect("a list");
        assert_eq!((list.name.as_str(), list.version), ("n.1", Version::V1_0_0));
        assert!(list.disable_check && !list.disable_gc);
        assert_eq!(list.plugins[0].body["bridge"], "b0");
        assert_eq!(list.plugins[1].capabilities, BTreeSet::from(["portMappings".to_owned()]));
    }

    #[test]
    fn a_lone_plugin_is_a_list_of_one() {
        let list = parse(br#"{"cniVersion":"0.3.1","name":"n","type":"ptp"}"#, false).expect("a list");
        assert_eq!((list.plugins.len(), list.plugins[0].kind.as_str()), (1, "ptp"));
    }

    #[test]
    fn the_highest_version_that_both_know_is_spoken() {
        let of = |versions: &str| {
            let text = format!(r#"{{"name":"n","type":"t",{versions}}}"#);
            parse(text.as_bytes(), false).map(|list| list.version)
        };
        assert_eq!(of(r#""cniVersion":"0.4.0","cniVersions":["1.0.0","1.1.0","9.0.0"]"#), Ok(Version::V1_1_0));
        assert_eq!(of(r#""cniVersions":["0.4.0"]"#), Ok(Version::V0_4_0));
        for bad in [r#""cniVersion":"0.2.0""#, r#""cniVersion":"2.0.0""#, r#""x":1"#] {
            assert!(of(bad).expect_err("refused").contains("0.3.0 to 1.1.0"), "{bad}");
        }
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        for (text, is_list, wanted) in [
            ("{", true, "not JSON"),
            ("[]", true, "not JSON"),
            (r#"{"cniVersion":"1.0.0","name":"n"}"#, true, "no list"),
            (r#"{"cniVersion":"1.0.0","name":"n","plugins":[]}"#, true, "empty"),
            (r#"{"cniVersion":"1.0.0","name":"n","plugins":[{}]}"#, true, "no type"),
            (r#"{"cniVersion":"1.0.0","name":"n","type":"../sh"}"#, false, "no file name"),
            (r#"{"cniVersion":"1.0.0","name":"../n","type":"t"}"#, false, "name"),
            (r#"{"cniVersion":"1.0.0","type":"t"}"#, false, "no name"),
            (r#"{"cniVersion":"1.0.0","name":"n","type":"t","disableGC":7}"#, false, "disableGC"),
        ] {
            let refused = refusal(text, is_list);
            assert!(refused.contains(wanted), "{text}: {refused}");
        }
    }

    #[test]
    fn the_first_file_by_name_counts_even_when_it_is_broken() {
        let dir = tempfile::tempdir().expect("dir");
        let write = |name: &str, text: &str| fs::write(dir.path().join(name), text).expect("write");
        assert!(matches!(load(&dir.path().join("absent")), Err(Unloadable::Missing(_))));
        write("00-note.txt", "{}");
        fs::create_dir(dir.path().join("00-dir.conf")).expect("dir");
        assert!(matches!(load(dir.path()), Err(Unloadable::Missing(_))));
        write("20-second.conf", r#"{"cniVersion":"1.0.0","name":"second","type":"t"}"#);
        assert_eq!(load(dir.path()).expect("a list").name, "second");
        write("10-first.conflist", r#"{"cniVersion":"1.0.0","name":"first","plugins":[{"type":"t"}]}"#);
        assert_eq!(load(dir.path()).expect("a list").name, "first");
        write("05-broken.json", "{");
        assert!(matches!(load(dir.path()), Err(Unloadable::Invalid { path, .. }) if path.ends_with("05-broken.json")));
    }
}
