//! The pod annotations that limit bandwidth, as kubelet's plugins have them.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::error::Error;

/// Limits what comes in to a pod, bit/s.
const INGRESS: &str = "kubernetes.io/ingress-bandwidth";
/// Limits what goes out of a pod, bit/s.
const EGRESS: &str = "kubernetes.io/egress-bandwidth";

/// The range that Kubernetes takes, bit/s.
const LEAST: f64 = 1e3;
const MOST: f64 = 1e15;

/// What the `bandwidth` capability wants: rates in bit/s, bursts in bits; `None` without any limit.
///
/// # Errors
/// When an annotation is no quantity, or one out of the range from 1k to 1P.
pub(super) fn limits(annotations: &BTreeMap<String, String>) -> Result<Option<Value>, Error> {
    let mut limits = Map::new();
    for (annotation, rate, burst) in [(INGRESS, "ingressRate", "ingressBurst"), (EGRESS, "egressRate", "egressBurst")] {
        let Some(text) = annotations.get(annotation) else { continue };
        let refuse = |reason: &str| Error::Request { what: annotation, value: text.clone(), reason: reason.to_owned() };
        let bits = quantity(text).ok_or_else(|| refuse("is no quantity like 10M"))?;
        if !(LEAST..=MOST).contains(&bits) {
            return Err(refuse("is not between 1k and 1P"));
        }
        limits.insert(rate.to_owned(), (bits.ceil() as u64).into());
        // The most that the plugin takes: the rate alone is to limit.
        limits.insert(burst.to_owned(), u32::MAX.into());
    }
    Ok((!limits.is_empty()).then(|| limits.into()))
}

/// A Kubernetes quantity: a decimal number with a suffix, or with an exponent.
fn quantity(text: &str) -> Option<f64> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, suffix) = text.split_at(end);
    let factor = match suffix {
        "" => 1.0,
        "k" => 1e3,
        "M" => 1e6,
        "G" => 1e9,
        "T" => 1e12,
        "P" => 1e15,
        "Ki" => 1024.0,
        "Mi" => 1024f64.powi(2),
        "Gi" => 1024f64.powi(3),
        "Ti" => 1024f64.powi(4),
        "m" => 1e-3,
        _ => 10f64.powi(suffix.strip_prefix(['e', 'E'])?.parse::<i8>().ok()?.into()),
    };
    Some(number.parse::<f64>().ok()? * factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(ingress: &str) -> Result<Option<Value>, Error> {
        limits(&BTreeMap::from([(INGRESS.to_owned(), ingress.to_owned())]))
    }

    #[test]
    fn quantities_become_bits_per_second() {
        for (text, bits) in [
            ("10M", 10_000_000u64),
            ("1Gi", 1 << 30),
            ("1.5k", 1500),
            ("2e6", 2_000_000),
            ("1P", 1_000_000_000_000_000),
        ] {
            let limits = of(text).expect("fine").expect("a limit");
            assert_eq!(limits["ingressRate"], bits, "{text}");
            assert_eq!(limits["ingressBurst"], u32::MAX);
            assert!(limits.get("egressRate").is_none());
        }
        assert!(limits(&BTreeMap::new()).expect("fine").is_none());
    }

    #[test]
    fn what_is_no_bandwidth_is_refused() {
        for text in ["", "M", "fast", "10MB", "-1M", "999", "2P", "1e99", "1 M", "nan", "inf"] {
            assert!(of(text).is_err(), "{text}");
        }
    }
}
