//! What the containers of a run do.

/// What a container's program does. All count, a number a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Goes on until SIGTERM, then exits with 7.
    Obedient,
    /// Goes on until SIGKILL.
    Stubborn,
    /// Counts so far, then exits with this code.
    Finite { lines: u64, code: i32 },
}

impl Kind {
    pub(crate) fn random(chance: &mut fastrand::Rng) -> Self {
        match chance.u32(..5) {
            0..=1 => Self::Obedient,
            2 => Self::Stubborn,
            _ => Self::Finite { lines: chance.u64(..300), code: chance.i32(0..120) },
        }
    }

    /// The program. On a terminal it sees to it that lines end as they do in a file.
    pub(crate) fn script(self, has_terminal: bool) -> String {
        let setting = if has_terminal { "stty -onlcr; " } else { "" };
        let endless = "i=0; while :; do echo $i; i=$((i+1)); sleep 0.1; done";
        match self {
            Self::Obedient => format!("{setting}trap 'exit 7' TERM; {endless}"),
            Self::Stubborn => format!("{setting}trap '' TERM; {endless}"),
            Self::Finite { lines, code } => {
                let count = format!("i=0; while [ $i -lt {lines} ]; do echo $i; i=$((i+1)); sleep 0.01; done");
                format!("{setting}{count}; exit {code}")
            }
        }
    }
}
