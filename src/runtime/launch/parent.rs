//! The launcher's side: it makes the process, listens until the program runs, and cleans up when it does not come to
//! that.

use std::{
    convert::Infallible,
    os::fd::{AsFd as _, BorrowedFd, OwnedFd},
    time::{Duration, Instant},
};

use rustix::{
    fs::{CWD, Mode, OFlags, openat, stat},
    io::Errno,
    process::{Signal, WaitId, WaitIdOptions, pidfd_send_signal, waitid},
    thread::{LinkNameSpaceType, ThreadNameSpaceType, move_into_link_name_space, move_into_thread_name_spaces},
};

use super::{
    Child, DEADLINE, Identity, Launched, child,
    protocol::{self, Conversation, Heard, Reporter},
};
use crate::{
    runtime::error::{At as _, LaunchError, Step},
    sys::{clone3::Clone3, poll::readable},
};

/// How long a process may take to end by itself when the launch has failed.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// How long a killed process is waited for. One that hangs in a system call, as on a file system whose server does not
/// answer, dies after that; it stays a child of the launcher, who reaps it then.
const DEATH: Duration = Duration::from_secs(1);

/// Makes a process that runs `main`, with `pid_namespace` in the PID namespace of that process, and waits until the
/// program runs, at most until [`DEADLINE`].
pub(super) fn launch(
    clone: &Clone3<'_>,
    pid_namespace: Option<BorrowedFd<'_>>,
    main: impl FnOnce(&Reporter) -> Result<Infallible, LaunchError>,
) -> Result<Launched, LaunchError> {
    launch_until(Instant::now() + DEADLINE, clone, pid_namespace, &mut unexpected, main)
}

/// As [`launch`], for a process that says when its container is assembled: `assembled` is called with it then, while it
/// waits. The time for that is not counted.
pub(super) fn launch_in_steps(
    clone: &Clone3<'_>,
    pid_namespace: Option<BorrowedFd<'_>>,
    assembled: Assembled<'_>,
    main: impl FnOnce(&Reporter) -> Result<Infallible, LaunchError>,
) -> Result<Launched, LaunchError> {
    launch_until(Instant::now() + DEADLINE, clone, pid_namespace, assembled, main)
}

/// What is done while a container that is assembled waits.
type Assembled<'a> = &'a mut dyn FnMut(&Child) -> Result<(), LaunchError>;

fn unexpected(_: &Child) -> Result<(), LaunchError> {
    Err(LaunchError::new(Step::Protocol, "the new process waits for something that nobody does"))
}

/// Makes a process that runs `main` in the launcher's namespaces and ends by itself after it has said that it is ready,
/// and waits for its end.
pub(super) fn run_until(
    deadline: Instant,
    main: impl FnOnce(&Reporter) -> Result<Infallible, LaunchError>,
) -> Result<(), LaunchError> {
    let Launched { pid, pidfd, .. } = launch_until(deadline, &Clone3::default(), None, &mut unexpected, main)?;
    reap(&Child { pid, pidfd });
    Ok(())
}

fn launch_until(
    deadline: Instant,
    clone: &Clone3<'_>,
    pid_namespace: Option<BorrowedFd<'_>>,
    assembled: Assembled<'_>,
    main: impl FnOnce(&Reporter) -> Result<Infallible, LaunchError>,
) -> Result<Launched, LaunchError> {
    let ends = protocol::pair(deadline)?;
    let (child, conversation) = in_pid_namespace(pid_namespace, || child::spawn(clone, ends, main))?;
    let mut family = Family { first: child, second: None, conversation };
    match family.listen(assembled) {
        Ok((user, console)) => {
            let Child { pid, pidfd } = family.settle();
            Ok(Launched { pid, pidfd, console, user })
        }
        Err(error) => Err(family.bury(error)),
    }
}

/// The processes of one launch: with a user namespace, the first one hands over to a second.
struct Family {
    first: Child,
    second: Option<Child>,
    conversation: Conversation,
}

impl Family {
    /// Listens until the program runs.
    fn listen(&mut self, assembled: Assembled<'_>) -> Result<(Identity, Option<OwnedFd>), LaunchError> {
        let mut ready = None;
        loop {
            match self.conversation.next()? {
                Heard::Spawned(pidfd) => {
                    self.second = Some(identify(pidfd)?);
                    self.conversation.adopted()?;
                }
                Heard::Assembled => {
                    let began = Instant::now();
                    assembled(self.second.as_ref().unwrap_or(&self.first))?;
                    self.conversation.go_on(began.elapsed())?;
                }
                Heard::Ready { user, console } => ready = Some((user, console)),
                Heard::Executed => {
                    return ready.ok_or_else(|| LaunchError::new(Step::Protocol, "the new process was never ready"));
                }
                Heard::Unmapped => return Err(LaunchError::new(Step::Protocol, "a container asked for id maps")),
            }
        }
    }

    /// The process that runs the program; one that has handed over is reaped.
    fn settle(self) -> Child {
        match self.second {
            Some(second) => {
                reap(&self.first);
                second
            }
            None => self.first,
        }
    }

    /// Kills all, reaps those that die, and returns `error`.
    fn bury(mut self, error: LaunchError) -> LaunchError {
        // A first process may be about to report a second one: killed before that, nobody would know whom to reap.
        if self.second.is_none() {
            let unheard = self.conversation.give_up(Instant::now() + LAST_WORDS);
            self.second = unheard.and_then(|pidfd| identify(pidfd).ok());
        }
        let all = [Some(&self.first), self.second.as_ref()];
        all.into_iter().flatten().for_each(kill);
        let by = Instant::now() + DEATH;
        for process in all.into_iter().flatten() {
            if readable(&process.pidfd, by).unwrap_or(true) {
                reap(process);
            }
        }
        error
    }
}

/// Finds a child's id in our own PID namespace, `proc_pid_fdinfo(5)`; it stays the child's until it is reaped.
fn identify(pidfd: OwnedFd) -> Result<Child, LaunchError> {
    use std::os::fd::AsRawFd as _;
    let path = format!("/proc/self/fdinfo/{}", pidfd.as_raw_fd());
    let info = std::fs::read_to_string(&path).at(Step::Protocol, &path)?;
    let pid = info.lines().find_map(|line| line.strip_prefix("Pid:")?.trim().parse().ok()).filter(|pid| *pid > 0);
    let pid = pid.ok_or_else(|| LaunchError::new(Step::Protocol, "the new process is not a child"))?;
    Ok(Child { pid, pidfd })
}

/// Kills a child; fine when it has ended.
pub(super) fn kill(child: &Child) {
    let _ = pidfd_send_signal(&child.pidfd, Signal::KILL);
}

/// Waits for the end of a child.
pub(super) fn reap(child: &Child) {
    while let Err(Errno::INTR) = waitid(WaitId::PidFd(child.pidfd.as_fd()), WaitIdOptions::EXITED) {}
}

/// Runs `birth` so that the process which it makes is born into the PID namespace of `process`.
fn in_pid_namespace(
    process: Option<BorrowedFd<'_>>,
    birth: impl FnOnce() -> Result<(Child, Conversation), LaunchError>,
) -> Result<(Child, Conversation), LaunchError> {
    let Some(process) = process else { return birth() };
    let own = openat(CWD, c"/proc/self/ns/pid", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
        .at(Step::Namespace, "own pid namespace")?;
    move_into_thread_name_spaces(process, ThreadNameSpaceType::PROCESS_ID).at(Step::Namespace, "pid")?;
    let born = birth();
    let back = move_into_link_name_space(own.as_fd(), Some(LinkNameSpaceType::ProcessID))
        .at(Step::Namespace, "return to own pid namespace");
    match (born, back) {
        (Ok((child, _)), Err(error)) => {
            kill(&child);
            reap(&child);
            Err(error)
        }
        (born, Ok(())) => born,
        (Err(error), Err(_)) => Err(error),
    }
}

/// Says that the process `pid` is in another PID namespace than we are: its container has one of its own, and the id that it
/// was found by has not been taken over by a process of the node.
pub(super) fn check_target(pid: i32) -> Result<(), LaunchError> {
    let own = stat(c"/proc/self/ns/pid").at(Step::Namespace, "own pid namespace")?;
    let target = stat(format!("/proc/{pid}/ns/pid")).at(Step::Namespace, "target container's pid namespace")?;
    if own.st_ino == target.st_ino {
        return Err(LaunchError::new(Step::Namespace, "pid: the target container has none of its own"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use rustix::process::{WaitIdOptions, waitid};

    use super::*;
    use crate::sys::isolate::isolated;

    fn failure(main: impl FnOnce(&Reporter) -> Result<Infallible, LaunchError>) {
        isolated(|| {
            let deadline = Instant::now() + Duration::from_millis(50);
            let error = launch_until(deadline, &Clone3::default(), None, &mut unexpected, main)
                .expect_err("it never becomes a program");
            let none = waitid(WaitId::All, WaitIdOptions::EXITED | WaitIdOptions::NOHANG);
            assert!(matches!(none, Err(Errno::CHILD)), "a child is left after {error}: {none:?}");
            assert_eq!(error.step, if error.what.contains("in time") { Step::Deadline } else { Step::Protocol });
        });
    }

    #[test]
    fn a_process_that_hangs_is_killed_at_the_deadline() {
        failure(|_| {
            loop {
                std::thread::sleep(Duration::from_secs(1));
            }
        });
    }

    #[test]
    fn a_process_that_dies_or_panics_is_an_error() {
        failure(|_| crate::sys::exit::now(3));
        failure(|_| panic!("on purpose"));
    }

    #[test]
    fn a_sibling_is_killed_too() {
        failure(|reporter| {
            child::go_on_as_sibling(0, reporter)?;
            loop {
                std::thread::sleep(Duration::from_secs(1));
            }
        });
    }
}
