//! Levels of pods: a pair of categories for each, so that no pod reaches another's files.

use std::collections::HashSet;

use rustix::rand::{GetRandomFlags, getrandom};

use super::Error;

/// Number of categories that policies have.
const CATEGORIES: u16 = 1_024;
/// Tries before giving up; with half of the half million pairs in use, one in two succeeds.
const TRIES: usize = 64;

/// Category pairs in use on this host: one a pod.
#[derive(Debug, Default)]
pub struct Levels {
    used: HashSet<String>,
}

impl Levels {
    /// Takes a pair that nobody has: `s0:c12,c345`.
    pub fn allocate(&mut self) -> Result<String, Error> {
        let levels = std::iter::repeat_with(random_level).take(TRIES).flatten();
        for level in levels {
            if self.used.insert(level.clone()) {
                return Ok(level);
            }
        }
        Err(Error::LevelsExhausted)
    }

    /// Notes a level as used, at recovery.
    pub fn reserve(&mut self, level: &str) {
        self.used.insert(level.to_owned());
    }

    /// Gives a level back.
    pub fn release(&mut self, level: &str) {
        self.used.remove(level);
    }
}

/// Two different categories in order: `None` if both happen to be the same.
fn random_level() -> Option<String> {
    let mut random = [0; 4];
    getrandom(&mut random, GetRandomFlags::empty()).ok()?;
    let [a, b, c, d] = random;
    let (one, two) = (u16::from_le_bytes([a, b]) % CATEGORIES, u16::from_le_bytes([c, d]) % CATEGORIES);
    (one != two).then(|| format!("s0:c{},c{}", one.min(two), one.max(two)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_pods_get_the_same_level() {
        let mut levels = Levels::default();
        let taken: HashSet<String> = (0..1_000).map(|_| levels.allocate().expect("a level")).collect();
        assert_eq!(taken.len(), 1_000);
        let any = taken.iter().next().expect("one").clone();
        levels.release(&any);
        levels.reserve(&any);
        assert_eq!(levels.used.len(), 1_000);
    }
}
