//! Cgroups that systemd makes: a transient scope unit for each container, `systemd.scope(5)`.
//!
//! A scope needs a process from the start, but containers are cloned into a cgroup that is there. So a placeholder
//! process holds the scope until the container's own runs. The scope is delegated: what is in it is the engine's, and
//! systemd keeps its limits over a reload.

mod bus;
mod message;
mod placeholder;
mod property;

use std::{io, path::Path};

pub(super) use placeholder::Placeholder;

use super::{Error, Limits, Version};
use bus::Bus;
use message::{Body, Value};

/// Whether systemd is the host's init, `sd_booted(3)`.
pub(super) fn is_running() -> bool {
    Path::new("/run/systemd/system").is_dir()
}

/// A scope.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Scope {
    name: String,
    slice: String,
}

impl Scope {
    /// The scope whose cgroup `path` is, if it is one and systemd runs.
    pub(super) fn of(path: &Path) -> Option<Self> {
        Self::named(path).filter(|_| is_running())
    }

    fn named(path: &Path) -> Option<Self> {
        let name = path.file_name()?.to_str()?;
        let slice = path.parent()?.file_name()?.to_str()?;
        let is_scope = name.ends_with(".scope") && slice.ends_with(".slice");
        is_scope.then(|| Self { name: name.to_owned(), slice: slice.to_owned() })
    }

    /// Starts it; it ends with the last of its processes, of which the returned one is the first.
    pub(super) fn start(&self, limits: &Limits, version: Version) -> Result<Placeholder, Error> {
        let failed = |source| self.failed("start", source);
        let process = Placeholder::start().map_err(failed)?;
        let mut properties = vec![
            ("Description", Value::Text(format!("Berth container {}", self.name))),
            ("Slice", Value::Text(self.slice.clone())),
            ("Delegate", Value::Flag(true)),
            ("DefaultDependencies", Value::Flag(false)),
            ("CollectMode", Value::Text("inactive-or-failed".into())),
            ("PIDs", Value::Numbers(vec![process.id()])),
        ];
        properties.extend(property::plan(limits, version));
        let body = Body::default().text(&self.name).text("fail").properties(&properties).no_units();
        Bus::connect()
            .and_then(|mut bus| bus.run_job("StartTransientUnit", "ssa(sv)a(sa(sv))", &body))
            .map_err(failed)?;
        Ok(process)
    }

    /// Has systemd keep changed limits.
    pub(super) fn update(&self, limits: &Limits, version: Version) -> Result<(), Error> {
        let properties = property::plan(limits, version);
        // Until the next boot: the scope does not outlive it either.
        let body = Body::default().text(&self.name).flag(true).properties(&properties);
        Bus::connect()
            .and_then(|mut bus| bus.call("SetUnitProperties", "sba(sv)", &body))
            .map_err(|source| self.failed("set limits of", source))?;
        Ok(())
    }

    /// Stops it; fine when it is gone.
    pub(super) fn stop(&self) -> Result<(), Error> {
        let body = Body::default().text(&self.name).text("replace");
        match Bus::connect().and_then(|mut bus| bus.run_job("StopUnit", "ss", &body)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            result => result.map_err(|source| self.failed("stop", source)),
        }
    }

    fn failed(&self, operation: &'static str, source: io::Error) -> Error {
        Error::Systemd { operation, unit: self.name.clone(), source }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_scope_in_a_slice_is_systemds() {
        let scope = Scope::named(Path::new("a.slice/a-b.slice/berth-1.scope")).expect("a scope");
        assert_eq!((scope.name.as_str(), scope.slice.as_str()), ("berth-1.scope", "a-b.slice"));
        for path in ["berth-1.scope", "kubepods/pod/berth-1", "a/berth-1.scope", "a.slice", ""] {
            assert_eq!(Scope::named(Path::new(path)), None, "{path:?}");
        }
    }
}
