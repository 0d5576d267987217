//! Standard streams, working directory, and the program.

use std::{
    convert::Infallible,
    ffi::CString,
    os::{
        fd::{AsFd as _, OwnedFd},
        unix::ffi::OsStrExt as _,
    },
    path::{Path, PathBuf},
};

use rustix::{
    fs::{Access, FileType, Mode, OFlags, access, fchown, fstat, makedev, open, stat},
    io::Errno,
    process::{Uid, fchdir, getcwd, ioctl_tiocsctty},
    stdio::{dup2_stderr, dup2_stdin, dup2_stdout},
};

use super::console::Terminal;
use crate::{
    runtime::{
        error::{At as _, LaunchError, Step, error_text},
        launch::{Identity, Reporter, Stdio},
        plan::ProcessPlan,
    },
    sys::{
        descriptors::close_all_but,
        openat2::{Missing, Root},
    },
};

/// Puts the standard streams in place; returns the terminal's other side.
pub(super) fn stdio(stdio: Stdio, terminal: Option<Terminal>, user: &Identity) -> Result<Option<OwnedFd>, LaunchError> {
    match (stdio, terminal) {
        (Stdio::Pipes { stdin, stdout, stderr }, _) => {
            for stream in [&stdin, &stdout, &stderr] {
                give(stream, user)?;
            }
            dup2_stdin(null_inside(stdin)?).at(Step::Stdio, "stdin")?;
            dup2_stdout(&stdout).at(Step::Stdio, "stdout")?;
            dup2_stderr(&stderr).at(Step::Stdio, "stderr")?;
            Ok(None)
        }
        (Stdio::Terminal, Some(Terminal { master, slave })) => {
            give(&slave, user)?;
            dup2_stdin(&slave).at(Step::Stdio, "stdin")?;
            dup2_stdout(&slave).at(Step::Stdio, "stdout")?;
            dup2_stderr(&slave).at(Step::Stdio, "stderr")?;
            Ok(Some(master))
        }
        (Stdio::Terminal, None) => Err(LaunchError::new(Step::Console, "was not made")),
    }
}

/// The container's own null device in place of the host's: a mount of the host that a process holds open keeps it from
/// being checkpointed. A container that has none keeps the host's.
fn null_inside(stdin: OwnedFd) -> Result<OwnedFd, LaunchError> {
    if !is_null(&stdin)? {
        return Ok(stdin);
    }
    match open("/dev/null", OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK, Mode::empty()) {
        Ok(own) if is_null(&own)? => Ok(own),
        _ => Ok(stdin),
    }
}

fn is_null(stream: &OwnedFd) -> Result<bool, LaunchError> {
    let found = fstat(stream).at(Step::Stdio, "stat")?;
    Ok(FileType::from_raw_mode(found.st_mode).is_char_device() && found.st_rdev == makedev(1, 3))
}

/// Makes the standard streams' terminal that of the session, which this process leads.
pub(super) fn control_terminal() -> Result<(), LaunchError> {
    ioctl_tiocsctty(rustix::stdio::stdin()).at(Step::Console, "controlling terminal")
}

/// Lets the user open a stream once more, as `/dev/stdout`. Only what was made for this process: not the null device,
/// nor a file of the host.
fn give(stream: &OwnedFd, user: &Identity) -> Result<(), LaunchError> {
    let found = fstat(stream).at(Step::Stdio, "stat")?;
    let kind = FileType::from_raw_mode(found.st_mode);
    let terminal = kind.is_char_device() && rustix::termios::isatty(stream);
    if found.st_uid == user.uid || !(kind.is_fifo() || kind.is_socket() || terminal) {
        return Ok(());
    }
    match fchown(stream, Some(Uid::from_raw(user.uid)), None) {
        // Not mapped in the stream's user namespace: it stays as it is.
        Ok(()) | Err(Errno::PERM | Errno::INVAL) => Ok(()),
        Err(errno) => Err(errno).at(Step::Stdio, format_args!("owner {}", user.uid)),
    }
}

/// Closes all descriptors but the standard streams and what is still to be said to the launcher.
pub(super) fn close_others(reporter: &Reporter, console: Option<&OwnedFd>) -> Result<(), LaunchError> {
    let kept: Vec<_> = [Some(reporter.as_fd()), console.map(OwnedFd::as_fd)].into_iter().flatten().collect();
    close_all_but(3, &kept).at(Step::Stdio, "close the others")
}

/// Goes to the working directory, which is made when it is missing. `false` when root may not: the user may.
pub(super) fn change_directory(path: &str) -> Result<bool, LaunchError> {
    let root = Root::open_host("/").at(Step::WorkingDirectory, "/")?;
    match root.make(path, Missing::Directory).and_then(|directory| fchdir(&directory)) {
        Ok(()) => inside(path).map(|()| true),
        Err(Errno::ACCESS | Errno::PERM) => Ok(false),
        Err(errno) => Err(errno).at(Step::WorkingDirectory, path),
    }
}

/// Goes to the working directory with the user's own rights.
pub(super) fn change_directory_as_user(path: &str) -> Result<(), LaunchError> {
    let root = Root::open_host("/").at(Step::WorkingDirectory, "/")?;
    let directory = root.open(path, OFlags::PATH | OFlags::DIRECTORY).at(Step::WorkingDirectory, path)?;
    fchdir(&directory).at(Step::WorkingDirectory, path)?;
    inside(path)
}

/// The kernel names a directory outside the root `(unreachable)/…`.
fn inside(path: &str) -> Result<(), LaunchError> {
    let current = getcwd(Vec::new()).at(Step::WorkingDirectory, path)?;
    if current.as_bytes().starts_with(b"/") {
        return Ok(());
    }
    Err(LaunchError::new(Step::WorkingDirectory, format!("{path}: it is outside the container")))
}

/// A program that was found.
#[derive(Debug)]
pub(super) struct Program {
    path: CString,
    args: Vec<CString>,
    env: Vec<CString>,
}

impl Program {
    /// Finds the program as a shell does: a name with a slash is a path, another one is looked for in `$PATH`.
    pub(super) fn find(process: &ProcessPlan, user: &Identity) -> Result<Self, LaunchError> {
        let lookup = |what: String| LaunchError::new(Step::Lookup, what);
        let name = process.args.first().ok_or_else(|| lookup("no command specified".to_owned()))?;
        let variable = |name: &str| process.env.iter().find_map(|entry| entry.strip_prefix(name)?.strip_prefix('='));
        let path = if name.contains('/') {
            check(Path::new(name)).map_err(|errno| lookup(format!("{name:?}: {}", describe(name, errno))))?;
            PathBuf::from(name)
        } else {
            search(name, variable("PATH").unwrap_or("")).map_err(|errno| match errno {
                Errno::ACCESS => lookup(format!("{name:?}: permission denied")),
                _ => lookup(format!("{name:?}: executable file not found in $PATH")),
            })?
        };
        let text = |text: &[u8]| CString::new(text).map_err(|_| lookup("NUL byte".to_owned()));
        let mut env = process.env.iter().map(|entry| text(entry.as_bytes())).collect::<Result<Vec<_>, _>>()?;
        if variable("HOME").is_none() {
            env.push(text(format!("HOME={}", user.home).as_bytes())?);
        }
        let args = process.args.iter().map(|arg| text(arg.as_bytes())).collect::<Result<_, _>>()?;
        Ok(Self { path: text(path.as_os_str().as_bytes())?, args, env })
    }

    /// Becomes the program.
    pub(super) fn execute(self) -> Result<Infallible, LaunchError> {
        nix::unistd::execve(&self.path, &self.args, &self.env).at(Step::Execute, self.path.to_string_lossy())
    }
}

fn search(name: &str, path: &str) -> Result<PathBuf, Errno> {
    let mut denied = false;
    for directory in path.split(':') {
        let candidate = Path::new(if directory.is_empty() { "." } else { directory }).join(name);
        match check(&candidate) {
            Ok(()) => return Ok(candidate),
            Err(Errno::ACCESS) => denied = true,
            Err(_) => {}
        }
    }
    Err(if denied { Errno::ACCESS } else { Errno::NOENT })
}

/// Whether a file can be executed by this user, as far as can be seen without doing it.
fn check(path: &Path) -> Result<(), Errno> {
    if FileType::from_raw_mode(stat(path)?.st_mode).is_dir() {
        return Err(Errno::ISDIR);
    }
    access(path, Access::EXEC_OK)
}

fn describe(name: &str, errno: Errno) -> String {
    match errno {
        Errno::NOENT => format!("stat {name}: no such file or directory"),
        Errno::ACCESS => "permission denied".to_owned(),
        Errno::ISDIR => "is a directory".to_owned(),
        errno => error_text(errno.raw_os_error()),
    }
}
