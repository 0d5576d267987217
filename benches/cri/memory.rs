//! Memory of an engine's processes.

use std::{
    fs,
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
};

use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};

/// Sum of the proportional set sizes of all processes whose name begins with one of these, bytes.
pub(crate) fn pss(names: &[String]) -> u64 {
    let processes = fs::read_dir("/proc").expect("read /proc").filter_map(Result::ok).map(|entry| entry.path());
    let of_one = |directory: PathBuf| {
        let name = fs::read_to_string(directory.join("comm")).ok()?;
        names.iter().any(|beginning| name.starts_with(beginning)).then(|| Process { directory }.pss()).flatten()
    };
    processes.filter_map(of_one).sum()
}

/// A process by its directory in `/proc`.
#[derive(Debug)]
pub(crate) struct Process {
    directory: PathBuf,
}

impl Process {
    /// The one that listens on a socket.
    pub(crate) fn behind(socket: &Path) -> Self {
        let connection = UnixStream::connect(socket).expect("connect to the engine");
        let peer = getsockopt(&connection, PeerCredentials).expect("ask who is there");
        Self { directory: format!("/proc/{}", peer.pid()).into() }
    }

    /// Its proportional set size, bytes. `None` when it is gone, or has no memory of its own.
    pub(crate) fn pss(&self) -> Option<u64> {
        self.bytes("smaps_rollup", "Pss:")
    }

    /// The most that it had in memory since [`Self::forget_peak`], bytes.
    pub(crate) fn peak(&self) -> Option<u64> {
        self.bytes("status", "VmHWM:")
    }

    /// From now on, [`Self::peak`] is that of the time to come: proc_pid_clear_refs(5).
    pub(crate) fn forget_peak(&self) {
        fs::write(self.directory.join("clear_refs"), "5").expect("forget the peak of the memory");
    }

    fn bytes(&self, file: &str, field: &str) -> Option<u64> {
        let text = fs::read_to_string(self.directory.join(file)).ok()?;
        let line = text.lines().find(|line| line.starts_with(field))?;
        Some(line.split_whitespace().nth(1)?.parse::<u64>().ok()? * 1024)
    }
}
