//! The daemon's hold on its state directory, and the socket on which callers come in.

use std::{
    fs::{self, DirBuilder, File, OpenOptions, TryLockError},
    io,
    os::{
        fd::OwnedFd,
        unix::{
            fs::{DirBuilderExt as _, FileTypeExt as _, PermissionsExt as _},
            net::{UnixListener as StdListener, UnixStream as StdStream},
        },
    },
    path::{Path, PathBuf},
    time::Duration,
};

use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, listen, socket_with};
use tokio::net::{UnixListener, UnixStream};
use tokio_stream::Stream;

use super::{Error, authority::Connection};

/// Connections that the kernel keeps waiting for us.
const BACKLOG: i32 = 1024;
/// How long nobody is accepted after that failed, so that open files can be closed.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The right to be the one engine on a state directory; it ends with the process.
#[derive(Debug)]
pub(super) struct StateLock(#[expect(dead_code, reason = "held, never read")] File);

impl StateLock {
    /// Makes the directory if need be and takes the right to it.
    ///
    /// # Errors
    /// [`Error::AlreadyRunning`] when another process has it.
    pub(super) fn take(state: &Path) -> Result<Self, Error> {
        make_directory(state)?;
        let path = state.join("lock");
        let file = OpenOptions::new().create(true).truncate(false).write(true).open(&path);
        let file = file.map_err(|source| Error::file("open", &path, source))?;
        match file.try_lock() {
            Ok(()) => Ok(Self(file)),
            Err(TryLockError::WouldBlock) => Err(Error::AlreadyRunning(state.to_owned())),
            Err(TryLockError::Error(source)) => Err(Error::file("lock", &path, source)),
        }
    }
}

/// Makes a directory through which others can pass but in which they see nothing.
pub(super) fn make_directory(path: &Path) -> Result<(), Error> {
    let made = DirBuilder::new().recursive(true).mode(0o711).create(path);
    made.map_err(|source| Error::file("make directory", path, source))
}

/// The socket, removed again when it is dropped.
#[derive(Debug)]
pub(super) struct Listener {
    path: PathBuf,
    socket: UnixListener,
}

impl Listener {
    /// Binds the socket with its final owner and mode, before anybody can connect. What a dead process left in its
    /// place is replaced.
    ///
    /// # Errors
    /// [`Error::SocketInUse`] when somebody answers there.
    pub(super) fn bind(path: &Path, group: Option<u32>) -> Result<Self, Error> {
        if let Some(directory) = path.parent() {
            make_directory(directory)?;
        }
        clear(path)?;
        let socket = bound(path).map_err(|source| Error::file("bind socket", path, source))?;
        permit(path, group).map_err(|source| Error::file("set permissions of", path, source))?;
        let listening = listen(&socket, BACKLOG).map_err(io::Error::from);
        let listening = listening.and_then(|()| UnixListener::from_std(StdListener::from(socket)));
        let socket = listening.map_err(|source| Error::file("listen on", path, source))?;
        Ok(Self { path: path.to_owned(), socket })
    }

    /// Connections, one after the other. The socket goes with the stream.
    pub(super) fn connections(self) -> impl Stream<Item = io::Result<Connection<UnixStream>>> + Send {
        futures_util::stream::unfold(self, |listener| async move {
            loop {
                match listener.socket.accept().await {
                    Ok((stream, _)) => return Some((Ok(Connection::new(stream)), listener)),
                    Err(error) => {
                        tracing::warn!(%error, "a connection could not be accepted");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                }
            }
        })
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        // Whoever finds it later finds nobody behind it and replaces it.
        let _ = fs::remove_file(&self.path);
    }
}

/// Makes way for a socket: removes one that nobody listens on any more.
fn clear(path: &Path) -> Result<(), Error> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(source) => return Err(Error::file("examine", path, source)),
        Ok(metadata) if !metadata.file_type().is_socket() => return Err(Error::NotASocket(path.to_owned())),
        Ok(_) => {}
    }
    match StdStream::connect(path) {
        Ok(_) => Err(Error::SocketInUse(path.to_owned())),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            fs::remove_file(path).map_err(|source| Error::file("remove stale socket", path, source))
        }
        Err(source) => Err(Error::file("try whether anybody listens on", path, source)),
    }
}

fn bound(path: &Path) -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    bind(&socket, &SocketAddrUnix::new(path)?)?;
    Ok(socket)
}

fn permit(path: &Path, group: Option<u32>) -> io::Result<()> {
    let mode = if group.is_some() { 0o660 } else { 0o600 };
    std::os::unix::fs::chown(path, None, group)?;
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
}

/// Finds the number of a group given by name or number, in the host's `/etc/group`; `None` for an empty name.
pub(super) fn group_id(group: &str) -> Result<Option<u32>, Error> {
    if group.is_empty() {
        return Ok(None);
    }
    if let Ok(number) = group.parse() {
        return Ok(Some(number));
    }
    let path = Path::new("/etc/group");
    let text = fs::read_to_string(path).map_err(|source| Error::file("read", path, source))?;
    find_group(&text, group).map(Some).ok_or_else(|| Error::NoGroup(group.to_owned()))
}

/// `group(5)`: `name:password:number:members`.
fn find_group(text: &str, name: &str) -> Option<u32> {
    text.lines().map(|line| line.split(':').collect::<Vec<_>>()).find(|fields| fields[0] == name)?.get(2)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;

    use super::*;

    fn directory() -> tempfile::TempDir {
        tempfile::tempdir().expect("a directory")
    }

    #[test]
    fn a_state_directory_has_one_engine_at_a_time() {
        let directory = directory();
        let state = directory.path().join("a/b");
        let lock = StateLock::take(&state).expect("free");
        assert!(matches!(StateLock::take(&state), Err(Error::AlreadyRunning(_))));
        drop(lock);
        StateLock::take(&state).expect("free again");
    }

    #[tokio::test]
    async fn the_socket_is_for_root_or_a_group_and_goes_with_the_listener() {
        let directory = directory();
        let path = directory.path().join("run/s.sock");
        let listener = Listener::bind(&path, None).expect("binds");
        let metadata = fs::metadata(&path).expect("is there");
        assert_eq!(metadata.mode() & 0o777, 0o600);
        assert_eq!(fs::metadata(directory.path().join("run")).expect("is there").mode() & 0o777, 0o711);
        assert!(matches!(Listener::bind(&path, None), Err(Error::SocketInUse(_))));
        drop(listener);
        assert!(!path.exists());
        let _listener = Listener::bind(&path, Some(12)).expect("binds");
        let metadata = fs::metadata(&path).expect("is there");
        assert_eq!((metadata.mode() & 0o777, metadata.gid()), (0o660, 12));
    }

    #[tokio::test]
    async fn the_socket_of_a_dead_process_is_replaced_and_a_file_is_not() {
        let directory = directory();
        let path = directory.path().join("s.sock");
        drop(StdListener::bind(&path).expect("binds"));
        assert!(path.exists());
        drop(Listener::bind(&path, None).expect("replaces it"));
        fs::write(&path, "precious").expect("writes");
        assert!(matches!(Listener::bind(&path, None), Err(Error::NotASocket(_))));
        assert_eq!(fs::read_to_string(&path).expect("still there"), "precious");
    }

    #[tokio::test]
    async fn a_path_that_does_not_fit_into_an_address_is_an_error() {
        let path = directory().path().join("x".repeat(120));
        assert!(matches!(Listener::bind(&path, None), Err(Error::File { operation: "bind socket", .. })));
    }

    #[test]
    fn groups_are_found_by_name_and_number() {
        assert_eq!(group_id("").expect("fine"), None);
        assert_eq!(group_id("42").expect("fine"), Some(42));
        assert_eq!(group_id("root").expect("fine"), Some(0));
        assert!(matches!(group_id("no-such-group"), Err(Error::NoGroup(_))));
        assert_eq!(find_group("a:x:1:\nb:x:7:root,me\nbroken\n", "b"), Some(7));
        assert_eq!(find_group("broken\n", "broken"), None);
    }
}
