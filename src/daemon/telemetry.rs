//! The log: to standard error, for people or for programs.

use std::io;

use tracing_subscriber::{EnvFilter, fmt, layer::SubscriberExt as _, registry, util::SubscriberInitExt as _};

use super::{
    Error,
    config::{LogFormat, Settings},
};

/// Begins to log as the settings say. May be called once in a process.
pub(super) fn begin(settings: &Settings) -> Result<(), Error> {
    let log = &settings.log;
    let filter = EnvFilter::try_new(&log.level)
        .map_err(|error| Error::Setting { key: "log.level", problem: format!("{:?}: {error}", log.level) })?;
    let registry = registry().with(filter);
    let begun = match log.format {
        LogFormat::Text => registry.with(fmt::layer().with_writer(io::stderr).with_ansi(false)).try_init(),
        LogFormat::Json => registry.with(fmt::layer().json().flatten_event(true).with_writer(io::stderr)).try_init(),
    };
    begun.map_err(|error| Error::Process("begin to log", io::Error::other(error)))
}
