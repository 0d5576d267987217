//! How a process ended.

use serde::{Deserialize, Serialize};

use super::Timestamp;

/// The end of a container's or an exec's main process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExitStatus {
    /// The exit code, or 128 + the signal's number for a death by signal.
    pub code: i32,
    /// When it was seen to end.
    pub at: Timestamp,
    /// Why, in the words that kubelet knows.
    pub reason: ExitReason,
    /// A sentence for people; empty when there is nothing to add.
    #[serde(default)]
    pub message: String,
}

/// The reason that a container's status gives for its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ExitReason {
    /// Exit code 0.
    Completed,
    /// Any other exit code or a signal.
    Error,
    /// The kernel killed it for memory.
    OomKilled,
    /// It never ran: setting it up or executing its program failed.
    StartError,
    /// Its end was not seen (reboot, or its monitor died).
    Unknown,
}

impl ExitReason {
    /// The word that the CRI carries.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Completed => "Completed",
            Self::Error => "Error",
            Self::OomKilled => "OOMKilled",
            Self::StartError => "StartError",
            Self::Unknown => "Unknown",
        }
    }
}

impl ExitStatus {
    /// Exit code that stands for "its end was not seen".
    pub const UNKNOWN_CODE: i32 = 255;
    /// Exit code of a container that could not be started.
    pub const START_ERROR_CODE: i32 = 128;

    /// The status of a process that ended by itself or by a signal; `oom` says that the kernel's out-of-memory
    /// killer, and nobody else, can have done it.
    pub fn ended(code: i32, oom: bool, at: Timestamp) -> Self {
        let reason = match (code, oom) {
            (137, true) => ExitReason::OomKilled,
            (0, _) => ExitReason::Completed,
            _ => ExitReason::Error,
        };
        Self { code, at, reason, message: String::new() }
    }

    /// The status of a container that could not be started.
    pub fn start_error(message: String, at: Timestamp) -> Self {
        Self { code: Self::START_ERROR_CODE, at, reason: ExitReason::StartError, message }
    }

    /// The status of a container whose end nobody saw.
    pub fn unknown(message: impl Into<String>, at: Timestamp) -> Self {
        Self { code: Self::UNKNOWN_CODE, at, reason: ExitReason::Unknown, message: message.into() }
    }
}
