//! What an image says about how it is to be run, OCI image-spec "config.md" and its Docker forerunner.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Deserializer};

use super::Error;
use crate::types::{Digest, Timestamp};

/// The parts of an image's configuration that the engine acts upon or shows.
///
/// The bytes that were received are kept as they are; this is only a reading of them, in which unknown fields do not
/// matter.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ImageConfig {
    /// User to run as: a name or a number, optionally with `:group`; empty for root.
    pub user: String,
    /// Environment as `NAME=value`.
    pub env: Vec<String>,
    /// First words of the command line.
    pub entrypoint: Vec<String>,
    /// Last words of the command line unless the caller gives others.
    pub cmd: Vec<String>,
    /// Working directory; empty for the root.
    pub working_dir: String,
    /// Signal that asks the container to stop, by name or number.
    pub stop_signal: Option<String>,
    /// Paths that hold data.
    pub volumes: BTreeSet<String>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Ports the image means to serve, as `80/tcp`.
    pub exposed_ports: BTreeSet<String>,
    /// Processor architecture by Go's names: `amd64`, `arm64`.
    pub architecture: String,
    /// Operating system.
    pub os: String,
}

/// A configuration as a whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Configuration {
    /// How the image is run.
    pub(super) image: ImageConfig,
    /// Diff ids of the layers, bottom first.
    pub(super) diff_ids: Vec<Digest>,
    /// When the image was made.
    pub(super) created: Option<Timestamp>,
}

#[derive(Deserialize)]
struct Raw {
    #[serde(default, deserialize_with = "or_default")]
    architecture: String,
    #[serde(default, deserialize_with = "or_default")]
    os: String,
    #[serde(default, deserialize_with = "or_default")]
    created: String,
    #[serde(default, deserialize_with = "or_default")]
    config: RawRun,
    rootfs: RawLayers,
}

#[derive(Deserialize)]
struct RawLayers {
    #[serde(default, deserialize_with = "or_default")]
    diff_ids: Vec<Digest>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct RawRun {
    #[serde(deserialize_with = "or_default")]
    user: String,
    #[serde(deserialize_with = "or_default")]
    env: Vec<String>,
    #[serde(deserialize_with = "or_default")]
    entrypoint: Words,
    #[serde(deserialize_with = "or_default")]
    cmd: Words,
    #[serde(deserialize_with = "or_default")]
    working_dir: String,
    #[serde(deserialize_with = "or_default")]
    stop_signal: String,
    #[serde(deserialize_with = "or_default")]
    volumes: BTreeMap<String, serde::de::IgnoredAny>,
    #[serde(deserialize_with = "or_default")]
    labels: BTreeMap<String, String>,
    #[serde(deserialize_with = "or_default")]
    exposed_ports: BTreeMap<String, serde::de::IgnoredAny>,
}

/// A command line; old images may have a single string, which is one word.
#[derive(Deserialize)]
#[serde(untagged)]
enum Words {
    Many(Vec<String>),
    One(String),
}

impl Default for Words {
    fn default() -> Self {
        Self::Many(Vec::new())
    }
}

impl From<Words> for Vec<String> {
    fn from(words: Words) -> Self {
        match words {
            Words::Many(words) => words,
            Words::One(word) => vec![word],
        }
    }
}

/// Takes `null`, which Go writes for what is empty, as the default.
fn or_default<'de, T: Deserialize<'de> + Default, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
    Option::deserialize(deserializer).map(Option::unwrap_or_default)
}

impl Configuration {
    /// Reads a configuration.
    pub(super) fn parse(digest: Digest, bytes: &[u8]) -> Result<Self, Error> {
        let failed = |source| Error::Document { what: "image configuration", digest, source };
        let Raw { architecture, os, created, config: run, rootfs } = serde_json::from_slice(bytes).map_err(failed)?;
        let image = ImageConfig {
            user: run.user,
            env: run.env,
            entrypoint: run.entrypoint.into(),
            cmd: run.cmd.into(),
            working_dir: run.working_dir,
            stop_signal: Some(run.stop_signal).filter(|signal| !signal.is_empty()),
            volumes: run.volumes.into_keys().collect(),
            labels: run.labels,
            exposed_ports: run.exposed_ports.into_keys().collect(),
            architecture,
            os,
        };
        Ok(Self { image, diff_ids: rootfs.diff_ids, created: parse_time(&created) })
    }
}

/// Reads RFC 3339: `2026-01-02T03:04:05.678Z` or with an offset like `+01:00`. `None` for anything else.
pub(super) fn parse_time(text: &str) -> Option<Timestamp> {
    let (date, rest) = text.split_once(['T', 't'])?;
    let zone = rest.find(['Z', 'z', '+', '-'])?;
    let (time, zone) = rest.split_at(zone);
    let numbers = |text: &str, separator| -> Option<Vec<i64>> {
        text.split(separator)
            .map(|part| part.bytes().all(|byte| byte.is_ascii_digit()).then(|| part.parse().ok())?)
            .collect()
    };
    let (clock, fraction) = time.split_once('.').unwrap_or((time, "0"));
    let (&[year, month, day], &[hour, minute, second]) = (&numbers(date, '-')?[..], &numbers(clock, ':')?[..]) else {
        return None;
    };
    let offset = match zone.split_at(1) {
        ("Z" | "z", "") => 0,
        (sign, offset) => {
            let &[hours, minutes] = &numbers(offset, ':')?[..] else { return None };
            (hours * 60 + minutes) * if sign == "-" { -60 } else { 60 }
        }
    };
    let is_possible = (1..=12).contains(&month)
        && (1..=31).contains(&day)
        && (0..10_000).contains(&year)
        && hour < 24
        && minute < 60
        && second <= 60
        && fraction.bytes().all(|byte| byte.is_ascii_digit());
    let nanos: i64 = format!("{fraction:0<9}").get(..9)?.parse().ok()?;
    let seconds = days_from_civil(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second - offset;
    is_possible.then(|| seconds.checked_mul(1_000_000_000)?.checked_add(nanos))?.map(Timestamp)
}

/// Days since 1970-01-01 of a date in the proleptic Gregorian calendar, by 400-year eras that begin on 1 March.
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(json: &str) -> Result<Configuration, Error> {
        Configuration::parse(Digest::of(json.as_bytes()), json.as_bytes())
    }

    #[test]
    fn a_configuration_is_read_whatever_else_is_in_it() {
        let diff_id = Digest::of(b"layer");
        let config = parse(&format!(
            r#"{{"architecture":"amd64","os":"linux","created":"2026-01-02T03:04:05.000000006Z","history":[{{}}],
            "config":{{"User":"1002:22","Env":["A=b"],"Entrypoint":["/init"],"Cmd":["a","b"],"WorkingDir":"/w",
            "StopSignal":"SIGINT","Volumes":{{"/data":{{}}}},"Labels":{{"k":"v"}},"ExposedPorts":{{"80/tcp":{{}}}},
            "Healthcheck":{{"Test":["NONE"]}},"OnBuild":null}},
            "rootfs":{{"type":"layers","diff_ids":["{diff_id}"]}}}}"#
        ))
        .expect("reads");
        assert_eq!(
            config.created.map(|created| created.to_string()).as_deref(),
            Some("2026-01-02T03:04:05.000000006Z")
        );
        assert_eq!(config.diff_ids, [diff_id]);
        let image = config.image;
        assert_eq!((image.user.as_str(), image.working_dir.as_str()), ("1002:22", "/w"));
        assert_eq!((image.entrypoint, image.cmd), (vec!["/init".to_owned()], vec!["a".to_owned(), "b".to_owned()]));
        assert_eq!(image.stop_signal.as_deref(), Some("SIGINT"));
        assert!(image.volumes.contains("/data") && image.exposed_ports.contains("80/tcp"));
    }

    #[test]
    fn what_is_left_out_or_null_is_empty() {
        let config =
            parse(r#"{"config":{"Env":null,"Cmd":"single","Labels":null},"rootfs":{"diff_ids":null}}"#).expect("reads");
        assert_eq!(config.image, ImageConfig { cmd: vec!["single".to_owned()], ..ImageConfig::default() });
        assert_eq!(parse(r#"{"rootfs":{}}"#).expect("reads").created, None);
        assert!(parse(r#"{"rootfs":{"diff_ids":["sha256:no"]}}"#).is_err());
        assert!(parse("{}").is_err(), "no layers are something else than no word about layers");
    }

    #[test]
    fn times_are_read_with_their_offset() {
        for (text, shown) in [
            ("2024-02-29T23:59:60Z", "2024-03-01T00:00:00.000000000Z"),
            ("2026-01-02T03:04:05.5+01:30", "2026-01-02T01:34:05.500000000Z"),
            ("2026-01-02t03:04:05-01:00", "2026-01-02T04:04:05.000000000Z"),
            ("1969-12-31T23:59:59.999999999Z", "1969-12-31T23:59:59.999999999Z"),
        ] {
            assert_eq!(parse_time(text).map(|time| time.to_string()).as_deref(), Some(shown), "{text}");
        }
        for bad in [
            "",
            "yesterday",
            "2026-13-01T00:00:00Z",
            "2026-01-02",
            "2026-01-02T03:04Z",
            "2026-01-02T03:04:05.xZ",
            "0001-01-01T00:00:00Z",
        ] {
            assert_eq!(parse_time(bad), None, "{bad}");
        }
    }
}
