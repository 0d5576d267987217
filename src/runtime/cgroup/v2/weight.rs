//! CPU weight of v2 for the shares of v1.
//!
//! Both default values (1024 shares, weight 100) and both ends (2 and 1, 262144 and 10000) correspond, on the curve
//! that the OCI runtimes agreed on: lg w = (L² + 125 L − 126) / 612 with L = log₂ shares.

const SHARES: (f64, f64) = (2.0, 262_144.0);
const WEIGHTS: (f64, f64) = (1.0, 10_000.0);

/// Weight for shares.
#[expect(clippy::cast_possible_truncation, clippy::cast_precision_loss, reason = "clamped to 1–10000")]
pub(in crate::runtime::cgroup) fn from_shares(shares: i64) -> i64 {
    let log = (shares as f64).clamp(SHARES.0, SHARES.1).log2();
    let exponent = (log * log + 125.0 * log - 126.0) / 612.0;
    // The exact powers must not be rounded up for a last bit.
    (10_f64.powf(exponent) - 1e-9).ceil().clamp(WEIGHTS.0, WEIGHTS.1) as i64
}

/// The greatest shares with that weight; weights are coarser, so not always those that were asked for.
#[expect(clippy::cast_possible_truncation, clippy::cast_precision_loss, reason = "clamped to 2–262144")]
pub(super) fn to_shares(weight: i64) -> i64 {
    let exponent = (weight as f64).clamp(WEIGHTS.0, WEIGHTS.1).log10();
    let log = ((125.0_f64.powi(2) + 4.0 * (126.0 + 612.0 * exponent)).sqrt() - 125.0) / 2.0;
    (log.exp2() + 1e-6).floor().clamp(SHARES.0, SHARES.1) as i64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_and_defaults_correspond() {
        for (shares, weight) in [(0, 1), (2, 1), (1024, 100), (262_144, 10_000), (i64::MAX, 10_000)] {
            assert_eq!(from_shares(shares), weight, "{shares} shares");
        }
        for (shares, weight) in [(2, 1), (1024, 100), (262_144, 10_000)] {
            assert_eq!(to_shares(weight), shares, "weight {weight}");
        }
    }

    #[test]
    fn the_way_back_gives_the_same_weight_and_order_is_kept() {
        let mut last = 0;
        for weight in 1..=10_000 {
            let shares = to_shares(weight);
            assert!(shares >= last, "shares fall at weight {weight}");
            last = shares;
        }
        for shares in [2, 10, 102, 512, 1024, 2048, 4096, 100_000] {
            assert_eq!(from_shares(to_shares(from_shares(shares))), from_shares(shares), "{shares} shares");
        }
    }
}
