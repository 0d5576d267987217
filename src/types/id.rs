//! Identity of pods, containers and execs.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// The id of a pod, a container or an exec: 64 lower-case hexadecimal digits.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Id(std::sync::Arc<str>);

/// A string that is not an id.
#[derive(Debug, thiserror::Error)]
#[error("not an id of 64 hexadecimal digits: {0:?}")]
pub struct InvalidId(String);

impl Id {
    /// Number of hexadecimal digits.
    pub const LEN: usize = 64;

    /// Makes an id from 32 random bytes.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        use fmt::Write as _;
        let mut text = String::with_capacity(Self::LEN);
        for byte in bytes {
            let _ = write!(text, "{byte:02x}");
        }
        Self(text.into())
    }

    /// The 64 digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The first 13 digits, as people see them in tables.
    pub fn short(&self) -> &str {
        &self.0[..13]
    }
}

impl FromStr for Id {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let hex = |byte: &u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(byte);
        if text.len() == Self::LEN && text.as_bytes().iter().all(hex) {
            Ok(Self(text.into()))
        } else {
            Err(InvalidId(text.chars().take(Self::LEN + 1).collect()))
        }
    }
}

impl TryFrom<String> for Id {
    type Error = InvalidId;

    fn try_from(text: String) -> Result<Self, InvalidId> {
        text.parse()
    }
}

impl From<Id> for String {
    fn from(id: Id) -> Self {
        id.0.as_ref().to_owned()
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.short())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_lower_case_hex_of_the_right_length_is_an_id() {
        let good = Id::from_bytes([0xa5; 32]);
        assert_eq!(good.as_str().parse::<Id>().expect("round trip"), good);
        for bad in ["", "abc", &"A".repeat(64), &"g".repeat(64), &"a".repeat(65), "../../../etc/passwd"] {
            assert!(bad.parse::<Id>().is_err(), "{bad:?} was taken for an id");
        }
    }
}
