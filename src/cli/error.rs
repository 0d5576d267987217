//! What can go wrong in a verb, and what a person can do about it.

use std::{fmt, io, path::PathBuf};

use tonic::Code;

use crate::error::chain;

/// A verb's failure.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    /// The client's own event loop could not be made.
    #[error("start the client")]
    Runtime(#[source] io::Error),
    /// Nobody answers at the socket.
    #[error("connect to the engine at {}", socket.display())]
    Connect {
        socket: PathBuf,
        #[source]
        source: io::Error,
    },
    /// The socket is there, but what answers does not speak gRPC.
    #[error("talk to the engine at {}", socket.display())]
    Handshake {
        socket: PathBuf,
        #[source]
        source: tonic::transport::Error,
    },
    /// The engine refused a call.
    #[error("{operation}")]
    Call {
        operation: String,
        #[source]
        refusal: Refusal,
    },
    /// The engine's answer lacks what it must carry.
    #[error("{operation}: the engine's answer has no {missing}")]
    Incomplete { operation: String, missing: &'static str },
    /// A name or id that belongs to nothing.
    #[error("no such {kind}: {given}")]
    NoSuch { kind: &'static str, given: String },
    /// A name or id prefix that belongs to several things.
    #[error("{given} means more than one {kind}: {}", matches.join(", "))]
    Ambiguous { kind: &'static str, given: String, matches: Vec<String> },
    /// The thing is not in the state that the verb needs.
    #[error("{kind} {given} is running")]
    Running { kind: &'static str, given: String },
    /// A file that cannot be read.
    #[error("read {}", path.display())]
    Read {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// A directory that cannot be removed.
    #[error("remove {}", path.display())]
    Remove {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// A configuration file that does not say what it should.
    #[error("{} is not a {expected}", path.display())]
    Config {
        path: PathBuf,
        expected: &'static str,
        #[source]
        source: serde_json::Error,
    },
    /// The container writes no log file.
    #[error("container {given} has no log file")]
    NoLog { given: String },
    /// The streaming server cannot be reached, or the connection to it failed.
    #[error("talk to the engine's streaming server")]
    Stream {
        #[source]
        source: Box<tokio_tungstenite::tungstenite::Error>,
    },
    /// A session could not be had; the engine says why.
    #[error("{sentence}")]
    Remote { sentence: String },
    /// A session broke off.
    #[error("the connection was lost before the end of the session")]
    Lost,
    /// The terminal's mode cannot be changed.
    #[error("change the terminal's mode")]
    Terminal(#[source] io::Error),
    /// The engine's own part of a verb that needs no running engine failed.
    #[error(transparent)]
    Settings(crate::daemon::Error),
    /// Nobody is there to be asked.
    #[error("nobody can be asked whether to go on: standard input is no terminal")]
    Unconfirmed,
    /// Standard input cannot be read.
    #[error("read the answer")]
    Input(#[source] io::Error),
    /// A file that cannot be written.
    #[error("write {}", path.display())]
    Write {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// Credentials cannot be kept or forgotten.
    #[error(transparent)]
    Login(#[from] crate::image::LoginFileError),
    /// Standard output or error cannot be written to.
    #[error("write the output")]
    Output(#[source] io::Error),
    /// Some of several things failed; each has been reported already.
    #[error("{failed} of {total} failed")]
    Several { failed: usize, total: usize },
}

/// A gRPC status, shown by its sentence alone.
#[derive(Debug)]
pub(super) struct Refusal(Box<tonic::Status>);

impl Refusal {
    /// Keeps a status.
    pub(super) fn new(status: tonic::Status) -> Self {
        Self(Box::new(status))
    }

    fn code(&self) -> Code {
        self.0.code()
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.message() {
            "" => f.write_str(self.0.code().description()),
            message => f.write_str(message),
        }
    }
}

impl std::error::Error for Refusal {}

/// Turns an engine's answer into the message inside it.
pub(super) trait Answer<T> {
    /// Takes the message out; `operation` says what was asked, like `stop container web`.
    fn during(self, operation: impl Into<String>) -> Result<T, Error>;
}

impl<T> Answer<T> for Result<tonic::Response<T>, tonic::Status> {
    fn during(self, operation: impl Into<String>) -> Result<T, Error> {
        match self {
            Ok(response) => Ok(response.into_inner()),
            Err(status) => Err(Error::call(operation, status)),
        }
    }
}

impl Error {
    /// A call that the engine refused; `operation` says what was asked, like `stop container web`.
    pub(super) fn call(operation: impl Into<String>, status: tonic::Status) -> Self {
        Self::Call { operation: operation.into(), refusal: Refusal::new(status) }
    }

    /// The whole report for standard error: the chain of causes, and a hint where there is one.
    pub(super) fn report(&self) -> String {
        match self.hint() {
            Some(hint) => format!("berth: {}\nhint: {hint}\n", chain(self)),
            None => format!("berth: {}\n", chain(self)),
        }
    }

    /// What a person can try next.
    fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Connect { source, .. } => match source.kind() {
                io::ErrorKind::NotFound => Some("is the engine running? Start it with `sudo berth serve`"),
                io::ErrorKind::ConnectionRefused => {
                    Some("the engine that made this socket is gone; start it with `sudo berth serve`")
                }
                io::ErrorKind::PermissionDenied => Some("only root may use this socket; try it with sudo"),
                _ => None,
            },
            Self::Handshake { .. } => Some("is this the socket of a container engine?"),
            Self::Call { refusal, .. } => match refusal.code() {
                Code::Unavailable => Some("the engine may still be starting; try again in a moment"),
                Code::Unimplemented => Some("this engine does not offer that; see `berth version`"),
                _ => None,
            },
            Self::Settings(crate::daemon::Error::AlreadyRunning(_)) => Some("stop it first"),
            Self::Unconfirmed => Some("use --force"),
            Self::NoSuch { kind: "image", .. } => Some("`berth image ls` lists the images that are here"),
            Self::NoSuch { kind: "login", .. } => None,
            Self::NoSuch { kind: "pod", .. } => Some("`berth pod ls` lists the pods"),
            Self::NoSuch { .. } => Some("`berth ps --all` lists the containers"),
            Self::Ambiguous { .. } => Some("give more digits of the id"),
            Self::Running { .. } => Some("stop it first, or use --force"),
            Self::NoLog { .. } => Some("its pod was made without a log directory"),
            _ => None,
        }
    }

    /// The exit code of `run` and `exec` after this failure: 127 when the command does not exist, 126 when it cannot
    /// be executed, 125 otherwise.
    pub(super) fn command_exit_code(&self) -> u8 {
        match self {
            Self::Call { refusal, .. } => start_failure_code(&refusal.to_string()),
            Self::Remote { sentence } => start_failure_code(sentence),
            _ => super::ENGINE_FAILED,
        }
    }
}

/// Reads from the engine's sentence why a command could not be started.
pub(super) fn start_failure_code(message: &str) -> u8 {
    let message = message.to_ascii_lowercase();
    if !message.contains("exec") {
        super::ENGINE_FAILED
    } else if message.contains("no such file or directory") || message.contains("not found") {
        127
    } else if ["permission denied", "exec format error", "is a directory"].iter().any(|text| message.contains(text)) {
        126
    } else {
        super::ENGINE_FAILED
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(code: Code, message: &str) -> Error {
        let status = Err::<tonic::Response<()>, _>(tonic::Status::new(code, message));
        status.during("start container web").expect_err("a refusal")
    }

    #[test]
    fn a_report_says_operation_cause_and_hint() {
        let report = refused(Code::Unavailable, "recovery has not finished").report();
        assert!(report.starts_with("berth: start container web: recovery has not finished\nhint: "), "{report}");
        assert_eq!(
            refused(Code::Internal, "").report(),
            format!("berth: start container web: {}\n", Code::Internal.description())
        );
    }

    #[test]
    fn commands_that_cannot_run_have_the_codes_that_shells_use() {
        let code = |message| refused(Code::Unknown, message).command_exit_code();
        assert_eq!(code("exec \"nope\": No such file or directory"), 127);
        assert_eq!(code("exec \"/etc/passwd\": permission denied"), 126);
        assert_eq!(code("mount /proc: no such file or directory"), 125);
        assert_eq!(Error::NoLog { given: String::new() }.command_exit_code(), 125);
    }
}
