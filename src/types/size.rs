//! Sizes as people write them.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// A number of bytes, at least one and at most 8 PiB.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Size(u64);

/// Units of 1024 each.
const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
/// The last integer that `f64` counts exactly.
const LARGEST: f64 = 9_007_199_254_740_992.0;

/// A text that is no size.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a size like 512k, 64m or 1.5g")]
pub struct InvalidSize(String);

impl Size {
    /// So many mebibytes.
    pub const fn mebibytes(count: u32) -> Self {
        Self((count as u64) << 20)
    }

    /// In bytes.
    pub const fn bytes(self) -> u64 {
        self.0
    }
}

/// Digits with an optional fraction and an optional unit (`b k m g t`, also `kb`, `KiB` and `Ki`), of 1024 each.
impl FromStr for Size {
    type Err = InvalidSize;

    fn from_str(text: &str) -> Result<Self, InvalidSize> {
        let refuse = || InvalidSize(text.to_owned());
        let lower = text.to_ascii_lowercase();
        let digits = lower.trim_end_matches(|c: char| c.is_ascii_alphabetic());
        let exponent = match lower[digits.len()..].trim_end_matches('b').trim_end_matches('i') {
            "" => 0,
            "k" => 1,
            "m" => 2,
            "g" => 3,
            "t" => 4,
            _ => return Err(refuse()),
        };
        let bytes = plain_number(digits).ok_or_else(refuse)? * 1024_f64.powi(exponent);
        if (1.0..=LARGEST).contains(&bytes) { Ok(Self(bytes as u64)) } else { Err(refuse()) }
    }
}

/// Exactly, in the largest unit that leaves no fraction: `10GiB`.
impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (mut count, mut unit) = (self.0, 0);
        while count.is_multiple_of(1024) && count > 0 && unit < UNITS.len() - 1 {
            count /= 1024;
            unit += 1;
        }
        write!(f, "{count}{}", UNITS[unit])
    }
}

/// A number of digits and at most one point; unlike `f64`'s own parser it takes no sign, exponent or `inf`.
pub fn plain_number(text: &str) -> Option<f64> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    if plain { text.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_in_powers_of_1024() {
        for (text, bytes) in [
            ("1", 1),
            ("512k", 524_288),
            ("64m", 67_108_864),
            ("64MiB", 67_108_864),
            ("64Mi", 67_108_864),
            ("1.5G", 1_610_612_736),
        ] {
            assert_eq!(text.parse(), Ok(Size(bytes)), "{text}");
        }
        for bad in ["", "0", "m", "-1", "1e9", "inf", "1x", "1.2.3m", "99999999999t", "1 g"] {
            assert!(bad.parse::<Size>().is_err(), "{bad:?} was taken for a size");
        }
    }

    #[test]
    fn sizes_are_shown_so_that_they_read_back() {
        for (bytes, text) in
            [(1, "1B"), (1025, "1025B"), (10 << 30, "10GiB"), (1536 << 20, "1536MiB"), (1 << 50, "1024TiB")]
        {
            assert_eq!(Size(bytes).to_string(), text);
            assert_eq!(text.parse(), Ok(Size(bytes)));
        }
        assert_eq!(Size::mebibytes(3).bytes(), 3 << 20);
    }
}
