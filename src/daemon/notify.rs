//! Tells the service manager how it goes, `sd_notify(3)`.

use std::{
    env, io,
    os::{
        linux::net::SocketAddrExt as _,
        unix::ffi::OsStrExt as _,
        unix::net::{SocketAddr, UnixDatagram},
    },
};

/// What a service manager can be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// Requests are answered.
    Ready,
    /// The daemon is about to end.
    Stopping,
}

/// The way to the service manager, if there is one.
#[derive(Debug)]
pub(super) struct Notifier(Option<SocketAddr>);

impl Notifier {
    /// Takes the address from the environment.
    pub(super) fn from_environment() -> Self {
        let name = env::var_os("NOTIFY_SOCKET").filter(|name| !name.is_empty());
        Self(name.and_then(|name| match name.as_bytes() {
            [b'@', abstract_name @ ..] => SocketAddr::from_abstract_name(abstract_name).ok(),
            _ => SocketAddr::from_pathname(name).ok(),
        }))
    }

    /// Tells; that nobody listens is only worth a line in the log.
    pub(super) fn tell(&self, state: State) {
        if let Some(address) = &self.0
            && let Err(error) = send(address, state)
        {
            tracing::warn!(?state, %error, "the service manager could not be told");
        }
    }
}

fn send(address: &SocketAddr, state: State) -> io::Result<()> {
    let message = match state {
        State::Ready => format!("READY=1\nMAINPID={}\n", std::process::id()),
        State::Stopping => "STOPPING=1\n".to_owned(),
    };
    UnixDatagram::unbound()?.send_to_addr(message.as_bytes(), address).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_service_manager_is_told_at_its_address() {
        let directory = tempfile::tempdir().expect("a directory");
        let address = SocketAddr::from_pathname(directory.path().join("notify")).expect("a path");
        let manager = UnixDatagram::bind_addr(&address).expect("binds");
        let notifier = Notifier(Some(address));
        let mut received = [0; 100];
        notifier.tell(State::Ready);
        let length = manager.recv(&mut received).expect("told");
        assert_eq!(received[..length], *format!("READY=1\nMAINPID={}\n", std::process::id()).as_bytes());
        notifier.tell(State::Stopping);
        let length = manager.recv(&mut received).expect("told");
        assert_eq!(received[..length], *b"STOPPING=1\n");
        Notifier(None).tell(State::Ready);
    }
}
