//! Signals by name and number.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// A Linux signal number, 1–64.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Signal(i32);

/// A word that names no signal.
#[derive(Debug, thiserror::Error)]
#[error("unknown signal: {0:?}")]
pub struct InvalidSignal(String);

/// Names and numbers of the standard signals, `signal(7)`; the first name of a number is the one shown.
const NAMES: &[(&str, i32)] = &[
    ("HUP", 1),
    ("INT", 2),
    ("QUIT", 3),
    ("ILL", 4),
    ("TRAP", 5),
    ("ABRT", 6),
    ("IOT", 6),
    ("BUS", 7),
    ("FPE", 8),
    ("KILL", 9),
    ("USR1", 10),
    ("SEGV", 11),
    ("USR2", 12),
    ("PIPE", 13),
    ("ALRM", 14),
    ("TERM", 15),
    ("STKFLT", 16),
    ("CHLD", 17),
    ("CLD", 17),
    ("CONT", 18),
    ("STOP", 19),
    ("TSTP", 20),
    ("TTIN", 21),
    ("TTOU", 22),
    ("URG", 23),
    ("XCPU", 24),
    ("XFSZ", 25),
    ("VTALRM", 26),
    ("PROF", 27),
    ("WINCH", 28),
    ("IO", 29),
    ("POLL", 29),
    ("PWR", 30),
    ("SYS", 31),
];

/// First real-time signal that programs may use with glibc.
const RTMIN: i32 = 34;
const RTMAX: i32 = 64;

impl Signal {
    /// `SIGTERM`, the default stop signal.
    pub const TERM: Self = Self(15);
    /// `SIGKILL`.
    pub const KILL: Self = Self(9);

    /// The number for `kill(2)`.
    pub const fn number(self) -> i32 {
        self.0
    }
}

impl TryFrom<i32> for Signal {
    type Error = InvalidSignal;

    fn try_from(number: i32) -> Result<Self, InvalidSignal> {
        if (1..=RTMAX).contains(&number) { Ok(Self(number)) } else { Err(InvalidSignal(number.to_string())) }
    }
}

/// Takes `SIGTERM`, `TERM`, `15`, `SIGRTMIN+3`, `RTMAX-1` in any case.
impl FromStr for Signal {
    type Err = InvalidSignal;

    fn from_str(text: &str) -> Result<Self, InvalidSignal> {
        let invalid = || InvalidSignal(text.chars().take(32).collect());
        if let Ok(number) = text.parse::<i32>() {
            return Self::try_from(number);
        }
        let upper = text.to_ascii_uppercase();
        let name = upper.strip_prefix("SIG").unwrap_or(&upper);
        if let Some(&(_, number)) = NAMES.iter().find(|(known, _)| *known == name) {
            return Ok(Self(number));
        }
        let number = match (name.strip_prefix("RTMIN"), name.strip_prefix("RTMAX")) {
            (Some(""), _) => RTMIN,
            (_, Some("")) => RTMAX,
            (Some(rest), _) => RTMIN + offset(rest, '+').ok_or_else(invalid)?,
            (_, Some(rest)) => RTMAX - offset(rest, '-').ok_or_else(invalid)?,
            _ => return Err(invalid()),
        };
        if (RTMIN..=RTMAX).contains(&number) { Ok(Self(number)) } else { Err(invalid()) }
    }
}

fn offset(text: &str, sign: char) -> Option<i32> {
    text.strip_prefix(sign)?.parse().ok().filter(|n| (0..=30).contains(n))
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match NAMES.iter().find(|(_, number)| *number == self.0) {
            Some((name, _)) => write!(f, "SIG{name}"),
            None if self.0 == RTMIN => f.write_str("SIGRTMIN"),
            None if self.0 > RTMIN => write!(f, "SIGRTMIN+{}", self.0 - RTMIN),
            None => write!(f, "{}", self.0),
        }
    }
}

impl fmt::Debug for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_numbers_and_real_time_signals_are_understood() {
        for (text, number) in
            [("SIGTERM", 15), ("term", 15), ("9", 9), ("SIGRTMIN+3", 37), ("RTMAX-14", 50), ("SIGPOLL", 29)]
        {
            assert_eq!(text.parse::<Signal>().expect(text).number(), number);
        }
        for bad in ["", "0", "65", "-1", "SIGNOPE", "RTMIN+99", "RTMIN-1"] {
            assert!(bad.parse::<Signal>().is_err(), "{bad:?} was taken for a signal");
        }
    }
}
