use serde::{Deserialize, Serialize};

use crate::{
    engine::ContainerState,
    runtime::launch::Identity,
    types::{ExitReason, ExitStatus, Timestamp},
};

/// Where a container is in its life.
///
/// ```text
/// Created ──Started──▶ Running ──Ended──▶ Exited
///    └──────────────Ended────────────────▶ Exited   (could not be started, or its end was not seen)
/// ```
///
/// A program may end before the answer to its start has been read, so `Started` also completes an `Exited` that does
/// not know its start yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::engine) enum Phase {
    /// Made, not started.
    Created,
    /// Its main process runs.
    Running { pid: i32, started_at: Timestamp, user: Identity },
    /// Its main process ended, or could not be started.
    Exited { started_at: Option<Timestamp>, user: Option<Identity>, status: ExitStatus },
}

/// What can happen to a container.
#[derive(Debug, Clone)]
pub(in crate::engine) enum Change {
    /// Its main process runs.
    Started { pid: i32, at: Timestamp, user: Identity },
    /// Its main process is no more, or could not be started.
    Ended(ExitStatus),
}

impl Phase {
    /// The phase that a change leads to; `None` when it is not legal in this phase.
    pub(in crate::engine) fn after(&self, change: &Change) -> Option<Self> {
        match (self, change) {
            (Self::Created, Change::Started { pid, at, user }) => {
                Some(Self::Running { pid: *pid, started_at: *at, user: user.clone() })
            }
            (Self::Created, Change::Ended(status)) => {
                Some(Self::Exited { started_at: None, user: None, status: status.clone() })
            }
            (Self::Running { started_at, user, .. }, Change::Ended(status)) => {
                Some(Self::Exited { started_at: Some(*started_at), user: Some(user.clone()), status: status.clone() })
            }
            (Self::Exited { started_at: None, status, .. }, Change::Started { at, user, .. })
                if status.reason != ExitReason::StartError =>
            {
                Some(Self::Exited { started_at: Some(*at), user: Some(user.clone()), status: status.clone() })
            }
            (Self::Running { .. } | Self::Exited { .. }, Change::Started { .. })
            | (Self::Exited { .. }, Change::Ended(_)) => None,
        }
    }

    pub(in crate::engine) fn is_over(&self) -> bool {
        matches!(self, Self::Exited { .. })
    }

    /// Whether its program has ended and the answer to its start has not been read.
    pub(in crate::engine) fn awaits_start(&self) -> bool {
        let Self::Exited { started_at: None, status, .. } = self else { return false };
        !matches!(status.reason, ExitReason::StartError | ExitReason::Unknown)
    }

    /// As people call it.
    pub(in crate::engine) fn name(&self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Running { .. } => "running",
            Self::Exited { .. } => "exited",
        }
    }

    pub(in crate::engine) fn state(&self) -> ContainerState {
        match self {
            Self::Created => ContainerState::Created,
            Self::Running { .. } => ContainerState::Running,
            Self::Exited { .. } => ContainerState::Exited,
        }
    }

    pub(in crate::engine) fn pid(&self) -> Option<i32> {
        match self {
            Self::Running { pid, .. } => Some(*pid),
            _ => None,
        }
    }

    pub(in crate::engine) fn started_at(&self) -> Option<Timestamp> {
        match self {
            Self::Created => None,
            Self::Running { started_at, .. } => Some(*started_at),
            Self::Exited { started_at, .. } => *started_at,
        }
    }

    pub(in crate::engine) fn user(&self) -> Option<&Identity> {
        match self {
            Self::Created => None,
            Self::Running { user, .. } => Some(user),
            Self::Exited { user, .. } => user.as_ref(),
        }
    }

    pub(in crate::engine) fn exit(&self) -> Option<&ExitStatus> {
        match self {
            Self::Exited { status, .. } => Some(status),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn started() -> Change {
        Change::Started {
            pid: 7,
            at: Timestamp(1),
            user: Identity { uid: 0, gid: 0, groups: vec![], home: "/".into() },
        }
    }

    fn ended() -> Change {
        Change::Ended(ExitStatus::ended(0, false, Timestamp(2)))
    }

    #[test]
    fn every_pair_of_phase_and_change_is_as_the_diagram_says() {
        let created = Phase::Created;
        let running = created.after(&started()).unwrap();
        let exited = running.after(&ended()).unwrap();
        let failed = created.after(&Change::Ended(ExitStatus::start_error("no".into(), Timestamp(2)))).unwrap();
        let early = created.after(&ended()).unwrap();

        assert_eq!((running.name(), running.pid()), ("running", Some(7)));
        assert_eq!((exited.name(), exited.started_at()), ("exited", Some(Timestamp(1))));
        assert_eq!(early.after(&started()).unwrap(), exited, "a start that is heard of late completes the exit");
        assert!(early.awaits_start());
        assert!(![&created, &running, &exited, &failed].iter().any(|phase| phase.awaits_start()));
        for (phase, change) in [
            (&running, started()),
            (&exited, started()),
            (&exited, ended()),
            (&failed, started()),
            (&failed, ended()),
            (&early, ended()),
        ] {
            assert_eq!(phase.after(&change), None, "{phase:?} allowed {change:?}");
        }
    }
}
