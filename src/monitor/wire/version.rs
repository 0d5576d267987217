//! Versions of the protocol. docs/decisions/0017 says what makes a new one, and what every version must understand.

use crate::fault;

/// The versions that a program speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::monitor) struct Versions {
    oldest: u32,
    newest: u32,
}

/// Those of this program, unless a test says otherwise.
const OWN: Versions = Versions { oldest: 1, newest: HOOKS };

/// The version from which on monitors run the hooks of a plan; older ones would leave them out without a word.
pub(in crate::monitor) const HOOKS: u32 = 2;

impl Versions {
    /// Those that this process speaks.
    pub(in crate::monitor) fn spoken() -> Self {
        fault::protocols().map_or(OWN, |(oldest, newest)| Self { oldest, newest })
    }

    /// The newest one.
    pub(in crate::monitor) fn newest(self) -> u32 {
        self.newest
    }

    /// A monitor's choice for a connection to a daemon that speaks `asked` and perhaps older ones: the newest that both
    /// may speak, or else the nearest that the monitor does. The daemon sees whether it is one of its own.
    pub(in crate::monitor) fn choose(self, asked: u32) -> u32 {
        asked.clamp(self.oldest, self.newest)
    }

    /// Whether a connection can use that one.
    pub(in crate::monitor) fn has(self, version: u32) -> bool {
        (self.oldest..=self.newest).contains(&version)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The version that a daemon and a monitor use, if there is one.
    fn meet((oldest, newest): (u32, u32), monitor: (u32, u32)) -> Option<u32> {
        let chosen = Versions { oldest: monitor.0, newest: monitor.1 }.choose(newest);
        Versions { oldest, newest }.has(chosen).then_some(chosen)
    }

    #[test]
    fn peers_use_the_newest_version_that_both_speak() {
        assert_eq!(meet((1, 1), (1, 1)), Some(1));
        assert_eq!(meet((1, 3), (1, 2)), Some(2), "an older monitor");
        assert_eq!(meet((1, 2), (1, 3)), Some(2), "a newer monitor");
        assert_eq!(meet((2, 4), (1, 3)), Some(3));
        assert_eq!(meet((3, 4), (1, 2)), None, "a monitor that is too old");
        assert_eq!(meet((1, 2), (3, 4)), None, "a monitor that is too new");
    }
}
