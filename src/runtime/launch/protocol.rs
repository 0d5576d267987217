//! What a new process and its launcher tell each other until the program runs.
//!
//! One `SOCK_SEQPACKET` pair carries both directions; a frame is one packet of JSON, with descriptors beside it.
//!
//! | new process | launcher | then |
//! |---|---|---|
//! | `Unmapped` | `Mapped` | a pod's new user namespace has its id maps |
//! | `Spawned` + pidfd | `Adopted` | a sibling takes over the conversation; it goes on once the launcher knows it |
//! | `Assembled` | `GoOn` | a container has everything but its root: the launcher runs the hooks that want to see it so |
//! | `Ready` (+ console) | | all is set up: only `execve` is left, or the pod's process waits to be read out |
//! | `Failed` | | it ends; nothing follows |
//! | | end of file | the launcher has given up: who waits for it, ends |
//! | end of file | | after `Ready`: the program runs. Before: the process died |
//!
//! [`Conversation`] refuses every other order.

use std::{
    io::{IoSlice, IoSliceMut},
    mem::MaybeUninit,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    time::{Duration, Instant},
};

use rustix::{
    io::Errno,
    net::{
        AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
        SendFlags, Shutdown, SocketFlags, SocketType, recvmsg, sendmsg, shutdown, socketpair,
    },
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::Identity;
use crate::{
    runtime::error::{At as _, LaunchError, Step},
    sys::poll::readable,
};

/// Largest frame; a `Ready` with the most groups that a plan allows fits.
const MAX_FRAME: usize = 64 << 10;

/// From the new process.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Report {
    /// The process has a new user namespace and waits for its maps.
    Unmapped,
    /// A child of the launcher, which the descriptor beside it refers to, goes on in its place. Its id is not told: the
    /// process may be in another PID namespace than the launcher, where the child has another one.
    Spawned,
    /// A container has everything in place, and its root is not its root yet.
    Assembled,
    /// Everything is set up; a console may be beside it.
    Ready(Identity),
    /// It has failed.
    Failed(LaunchError),
}

/// To the new process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Order {
    /// The id maps are written.
    Mapped,
    /// The sibling is known, and will be reaped.
    Adopted,
    /// All hooks have been run.
    GoOn,
}

/// The new process' end.
#[derive(Debug)]
pub(in crate::runtime) struct Reporter(OwnedFd);

/// The launcher's end.
#[derive(Debug)]
pub(super) struct Conversation {
    socket: OwnedFd,
    deadline: Instant,
    ready: bool,
    spawned: bool,
    assembled: bool,
}

/// What the launcher makes of what it hears.
#[derive(Debug)]
pub(super) enum Heard {
    /// See [`Report::Unmapped`].
    Unmapped,
    /// See [`Report::Spawned`].
    Spawned(OwnedFd),
    /// See [`Report::Assembled`].
    Assembled,
    /// See [`Report::Ready`].
    Ready { user: Identity, console: Option<OwnedFd> },
    /// The program runs.
    Executed,
}

/// Makes the two ends.
pub(super) fn pair(deadline: Instant) -> Result<(Conversation, Reporter), LaunchError> {
    let (launcher, process) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
        .at(Step::Protocol, "socket pair")?;
    Ok((Conversation { socket: launcher, deadline, ready: false, spawned: false, assembled: false }, Reporter(process)))
}

impl Reporter {
    /// Says that the process waits for id maps, and waits.
    pub(in crate::runtime) fn wait_for_maps(&self) -> Result<(), LaunchError> {
        send(self.0.as_fd(), &Report::Unmapped, None)?;
        self.wait_for(Order::Mapped)
    }

    /// Waits, as a new sibling, until the launcher knows of it: one that it never hears of must not live on.
    pub(super) fn wait_for_adoption(&self) -> Result<(), LaunchError> {
        self.wait_for(Order::Adopted)
    }

    fn wait_for(&self, order: Order) -> Result<(), LaunchError> {
        match receive::<Order>(self.0.as_fd())? {
            Some((received, _)) if received == order => Ok(()),
            Some(_) => Err(LaunchError::new(Step::Protocol, "the launcher spoke out of turn")),
            None => Err(LaunchError::new(Step::Protocol, "the launcher went away")),
        }
    }

    /// Says that a sibling goes on.
    pub(in crate::runtime) fn spawned(&self, pidfd: BorrowedFd<'_>) -> Result<(), LaunchError> {
        send(self.0.as_fd(), &Report::Spawned, Some(pidfd))
    }

    /// Says that the container is assembled, and waits until the launcher has run the hooks.
    pub(in crate::runtime) fn assembled(&self) -> Result<(), LaunchError> {
        send(self.0.as_fd(), &Report::Assembled, None)?;
        self.wait_for(Order::GoOn)
    }

    /// Says that all is set up.
    pub(in crate::runtime) fn ready(
        &self,
        user: &Identity,
        console: Option<BorrowedFd<'_>>,
    ) -> Result<(), LaunchError> {
        send(self.0.as_fd(), &Report::Ready(user.clone()), console)
    }

    /// Says that it has failed; when that cannot be said, the launcher sees the process end.
    pub(super) fn failed(&self, error: &LaunchError) {
        let _ = send(self.0.as_fd(), &Report::Failed(error.clone()), None);
    }

    /// Waits until the launcher has gone on.
    pub(in crate::runtime) fn wait_for_end(&self) -> Result<(), LaunchError> {
        receive::<Order>(self.0.as_fd()).map(drop)
    }
}

impl AsFd for Reporter {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Conversation {
    /// Says that the id maps are written.
    pub(super) fn mapped(&self) -> Result<(), LaunchError> {
        send(self.socket.as_fd(), &Order::Mapped, None)
    }

    /// Says that the sibling is known.
    pub(super) fn adopted(&self) -> Result<(), LaunchError> {
        send(self.socket.as_fd(), &Order::Adopted, None)
    }

    /// Says that all hooks have been run; the time that they took is given in addition.
    pub(super) fn go_on(&mut self, pause: Duration) -> Result<(), LaunchError> {
        self.deadline += pause;
        send(self.socket.as_fd(), &Order::GoOn, None)
    }

    /// Waits for what comes next.
    ///
    /// # Errors
    /// What the process reports, its silent end, an order that the table does not have, the deadline.
    pub(super) fn next(&mut self) -> Result<Heard, LaunchError> {
        self.wait()?;
        let received = receive::<Report>(self.socket.as_fd())?;
        self.check(received)
    }

    /// Gives up: nothing more will be said to the processes, and those that wait for it end. Returns a sibling that was
    /// not heard of yet, after listening until all have ended or the new deadline has come.
    pub(super) fn give_up(&mut self, deadline: Instant) -> Option<OwnedFd> {
        let _ = shutdown(&self.socket, Shutdown::Write);
        self.deadline = deadline;
        while self.wait().is_ok() {
            match receive::<Report>(self.socket.as_fd()) {
                Ok(Some((Report::Spawned, Some(pidfd)))) => return Some(pidfd),
                Ok(Some(_)) => {}
                _ => break,
            }
        }
        None
    }

    fn check(&mut self, received: Option<(Report, Option<OwnedFd>)>) -> Result<Heard, LaunchError> {
        match received {
            Some((Report::Failed(error), _)) => Err(error),
            None if self.ready => Ok(Heard::Executed),
            None => Err(LaunchError::new(Step::Protocol, "the new process died while it was set up")),
            Some((Report::Unmapped, None)) if !self.ready && !self.spawned => Ok(Heard::Unmapped),
            Some((Report::Spawned, Some(pidfd))) if !self.ready && !self.spawned && !self.assembled => {
                self.spawned = true;
                Ok(Heard::Spawned(pidfd))
            }
            Some((Report::Assembled, None)) if !self.ready && !self.assembled => {
                self.assembled = true;
                Ok(Heard::Assembled)
            }
            Some((Report::Ready(user), console)) if !self.ready => {
                self.ready = true;
                Ok(Heard::Ready { user, console })
            }
            Some(_) => Err(LaunchError::new(Step::Protocol, "the new process spoke out of turn")),
        }
    }

    fn wait(&self) -> Result<(), LaunchError> {
        match readable(&self.socket, self.deadline).at(Step::Protocol, "poll")? {
            true => Ok(()),
            false => Err(LaunchError::new(Step::Deadline, "was not finished in time")),
        }
    }
}

fn send(socket: BorrowedFd<'_>, frame: &impl Serialize, fd: Option<BorrowedFd<'_>>) -> Result<(), LaunchError> {
    let bytes =
        serde_json::to_vec(frame).map_err(|error| LaunchError::new(Step::Protocol, format!("encode: {error}")))?;
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let fds = fd.map(|fd| [fd]);
    if let Some(fds) = &fds {
        control.push(SendAncillaryMessage::ScmRights(fds));
    }
    loop {
        match sendmsg(socket, &[IoSlice::new(&bytes)], &mut control, SendFlags::NOSIGNAL) {
            Ok(_) => return Ok(()),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno).at(Step::Protocol, "send"),
        }
    }
}

/// The next frame and its descriptor; `None` when the other side is gone.
fn receive<T: DeserializeOwned>(socket: BorrowedFd<'_>) -> Result<Option<(T, Option<OwnedFd>)>, LaunchError> {
    let mut bytes = vec![0; MAX_FRAME];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let length = loop {
        match recvmsg(socket, &mut [IoSliceMut::new(&mut bytes)], &mut control, RecvFlags::CMSG_CLOEXEC) {
            Ok(message) => break message.bytes,
            Err(Errno::INTR) => {}
            // The other side went with something unread.
            Err(Errno::CONNRESET) => break 0,
            Err(errno) => return Err(errno).at(Step::Protocol, "receive"),
        }
    };
    let fd = control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
        _ => None,
    });
    if length == 0 {
        return Ok(None);
    }
    let frame = serde_json::from_slice(&bytes[..length])
        .map_err(|error| LaunchError::new(Step::Protocol, format!("decode: {error}")))?;
    Ok(Some((frame, fd)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ends() -> (Conversation, Reporter) {
        pair(Instant::now() + Duration::from_secs(5)).expect("pair")
    }

    fn user() -> Identity {
        Identity { uid: 7, gid: 8, groups: vec![9], home: "/root".to_owned() }
    }

    #[test]
    fn the_usual_order_is_heard() {
        let (mut launcher, process) = ends();
        let pidfd = rustix::process::pidfd_open(rustix::process::getpid(), rustix::process::PidfdFlags::empty());
        process.spawned(pidfd.expect("pidfd").as_fd()).expect("sent");
        process.ready(&user(), None).expect("sent");
        drop(process);
        assert!(matches!(launcher.next().expect("heard"), Heard::Spawned(_)));
        assert!(
            matches!(launcher.next().expect("heard"), Heard::Ready { user: heard, console: None } if heard == user())
        );
        assert!(matches!(launcher.next().expect("heard"), Heard::Executed));
    }

    #[test]
    fn every_other_order_is_refused() {
        let failed = |reports: &[fn(&Reporter)]| {
            let (mut launcher, process) = ends();
            for report in reports {
                report(&process);
            }
            drop(process);
            (0..=reports.len()).find_map(|_| launcher.next().err()).map(|error| error.what)
        };
        let ready: fn(&Reporter) = |process| process.ready(&user(), None).expect("sent");
        let unmapped: fn(&Reporter) = |process| send(process.0.as_fd(), &Report::Unmapped, None).expect("sent");
        let spawned: fn(&Reporter) = |process| process.spawned(process.0.as_fd()).expect("sent");
        let assembled: fn(&Reporter) = |process| send(process.0.as_fd(), &Report::Assembled, None).expect("sent");
        let no_pidfd: fn(&Reporter) = |process| send(process.0.as_fd(), &Report::Spawned, None).expect("sent");
        let turn = Some("the new process spoke out of turn".to_owned());
        for reports in [
            &[ready, ready][..],
            &[ready, unmapped],
            &[ready, spawned],
            &[spawned, spawned],
            &[assembled, assembled],
            &[assembled, spawned],
            &[ready, assembled],
            &[spawned, unmapped],
            &[no_pidfd],
        ] {
            assert_eq!(failed(reports), turn);
        }
        assert_eq!(failed(&[]), Some("the new process died while it was set up".to_owned()));
        assert_eq!(failed(&[spawned]), Some("the new process died while it was set up".to_owned()));
        assert_eq!(failed(&[spawned, ready]), None);
        assert_eq!(failed(&[spawned, assembled, ready]), None);
    }

    #[test]
    fn an_error_keeps_its_parts() {
        let (mut launcher, process) = ends();
        let error = LaunchError::os(Step::Mount, "/proc", libc::EPERM);
        process.ready(&user(), None).expect("sent");
        process.failed(&error);
        launcher.next().expect("ready");
        assert_eq!(launcher.next().expect_err("failed"), error);
    }

    #[test]
    fn a_sibling_waits_for_its_adoption_and_ends_without_it() {
        let (launcher, process) = ends();
        launcher.adopted().expect("sent");
        process.wait_for_adoption().expect("adopted");
        launcher.mapped().expect("sent");
        assert_eq!(process.wait_for_adoption().expect_err("no turn").what, "the launcher spoke out of turn");
        let (mut launcher, process) = ends();
        process.spawned(process.0.as_fd()).expect("sent");
        let deadline = Instant::now() + Duration::from_millis(20);
        assert!(launcher.give_up(deadline).is_some());
        assert_eq!(process.wait_for_adoption().expect_err("given up").what, "the launcher went away");
    }

    #[test]
    fn the_deadline_ends_the_wait() {
        let (mut launcher, _process) = pair(Instant::now() + Duration::from_millis(20)).expect("pair");
        assert_eq!(launcher.next().expect_err("late").step, Step::Deadline);
    }
}
