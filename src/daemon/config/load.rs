//! Where settings come from: defaults, then the file, then the command line.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use clap::ValueEnum as _;
use toml::{Table, Value};

use super::{LogFormat, Settings};
use crate::daemon::Error;

/// All settings with their defaults, as a file to start from.
pub(crate) const DEFAULTS: &str = include_str!("default.toml");

/// The file that is read when no other is named; it need not exist.
const DEFAULT_PATH: &str = "/etc/berth/config.toml";

/// Command line of `berth serve`. Every flag but `--config` stands for a setting of the file.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct Flags {
    /// Settings file [default: /etc/berth/config.toml, if there is one]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Directory of what survives a reboot
    #[arg(long, value_name = "DIR")]
    pub root: Option<String>,
    /// Directory of what does not survive a reboot
    #[arg(long, value_name = "DIR")]
    pub state: Option<String>,
    /// Unix socket to serve on
    #[arg(long, value_name = "PATH")]
    pub socket: Option<String>,
    /// What is logged: error, warn, info, debug, trace, or a list by module
    #[arg(long, value_name = "LEVEL")]
    pub log_level: Option<String>,
    /// For whom the log is
    #[arg(long, value_name = "FORMAT")]
    pub log_format: Option<LogFormat>,
    /// Address of the metrics endpoint
    #[arg(long, value_name = "IP:PORT")]
    pub metrics_address: Option<String>,
    /// Any setting of the file, as network.mtu=9000
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub settings: Vec<String>,
}

impl Flags {
    /// The settings that the flags stand for, as key and text; later ones win.
    fn overrides(&self) -> Result<Vec<(String, String)>, Error> {
        let format =
            self.log_format.and_then(|format| format.to_possible_value()).map(|name| name.get_name().to_owned());
        let named = [
            ("root", &self.root),
            ("state", &self.state),
            ("socket.path", &self.socket),
            ("log.level", &self.log_level),
            ("log.format", &format),
            ("metrics.address", &self.metrics_address),
        ];
        let named = named.into_iter().filter_map(|(key, text)| Some((key.to_owned(), text.clone()?)));
        let mut overrides: Vec<_> = named.collect();
        for setting in &self.settings {
            let (key, text) = setting.split_once('=').ok_or_else(|| Error::MalformedFlag(setting.clone()))?;
            overrides.push((key.trim().to_owned(), text.trim().to_owned()));
        }
        Ok(overrides)
    }
}

/// Puts the settings together and checks what can be checked without the host.
///
/// # Errors
/// Names the file and the line, or the flag, that is wrong.
pub(crate) fn load(flags: &Flags) -> Result<Settings, Error> {
    let mut settings = read(flags.config.as_deref())?;
    for (key, text) in flags.overrides()? {
        settings = with_override(&settings, &key, &text)?;
    }
    settings.check()?;
    Ok(settings)
}

fn read(path: Option<&Path>) -> Result<Settings, Error> {
    let named = path.is_some();
    let path = path.unwrap_or(Path::new(DEFAULT_PATH));
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound && !named => return Ok(Settings::default()),
        Err(source) => return Err(Error::ReadConfig { path: path.to_owned(), source }),
    };
    toml::from_str(&text).map_err(|source| Error::ParseConfig { path: path.to_owned(), source })
}

/// Sets one setting. The text is read as TOML, or, where that does not fit, as a string, so that quotes are not needed.
fn with_override(settings: &Settings, key: &str, text: &str) -> Result<Settings, Error> {
    let document = toml::from_str::<Table>(&format!("value = {text}"));
    let value = document.ok().and_then(|mut table| table.remove("value"));
    let string = with_value(settings, key, Value::String(text.to_owned()));
    let changed = match value {
        Some(value) => with_value(settings, key, value).or_else(|problem| string.map_err(|_| problem)),
        None => string,
    };
    changed.map_err(|problem| Error::Override { key: key.to_owned(), problem })
}

fn with_value(settings: &Settings, key: &str, value: Value) -> Result<Settings, String> {
    let mut root = Value::try_from(settings).map_err(|error| error.to_string())?;
    let mut place = &mut root;
    for part in key.split('.') {
        let table = place.as_table_mut().ok_or("there is no such setting")?;
        place = table.entry(part).or_insert_with(|| Value::Table(Table::new()));
    }
    *place = value;
    root.try_into().map_err(|error: toml::de::Error| error.message().to_owned())
}

#[cfg(test)]
mod tests;
