//! Bytes, durations and moments as people write and read them.

use std::time::Duration;

use crate::types::{Size, Timestamp, size::plain_number};

/// Reads a size, as `64m`; the CRI has bytes as signed numbers.
pub(super) fn parse_bytes(text: &str) -> Result<i64, String> {
    let size = text.parse::<Size>().map_err(|error| error.to_string())?;
    i64::try_from(size.bytes()).map_err(|error| error.to_string())
}

/// Reads a duration: `90`, `90s`, `1h30m`, `250ms`.
pub(super) fn parse_duration(text: &str) -> Result<Duration, String> {
    let refuse = || format!("{text:?} is not a duration like 10s or 1h30m");
    let mut total = 0.0;
    let mut rest = text;
    while !rest.is_empty() {
        let number_end = rest.find(|c: char| c != '.' && !c.is_ascii_digit()).unwrap_or(rest.len());
        let (number, tail) = rest.split_at(number_end);
        let unit_end = tail.find(|c: char| c.is_ascii_digit()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(unit_end);
        let seconds = match unit {
            "ms" => 0.001,
            "" | "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            "d" => 86_400.0,
            _ => return Err(refuse()),
        };
        total += plain_number(number).ok_or_else(refuse)? * seconds;
        rest = tail;
    }
    if text.is_empty() { Err(refuse()) } else { Duration::try_from_secs_f64(total).map_err(|_| refuse()) }
}

/// Reads a moment in RFC 3339, like `2026-01-02T03:04:05.5+01:00`.
pub(super) fn parse_moment(text: &str) -> Option<Timestamp> {
    let (date, time) = text.split_once(['T', 't', ' '])?;
    let zone_at = time.find(['Z', 'z', '+', '-'])?;
    let (clock, zone) = time.split_at(zone_at);
    let (clock, fraction) = clock.split_once('.').unwrap_or((clock, ""));

    let number = |text: &str, len: usize| -> Option<i64> {
        (text.len() == len && text.bytes().all(|b| b.is_ascii_digit())).then(|| text.parse().ok()).flatten()
    };
    let two = |text: &str| number(text, 2);
    let [year, month, day] = split_three(date, '-')?;
    let [hour, minute, second] = split_three(clock, ':')?;
    let days = days_from_civil(number(year, 4)?, two(month)?, two(day)?)?;
    let nanos = if fraction.is_empty() { 0 } else { number(&format!("{fraction:0<9}"), 9)? };
    let offset = match zone {
        "Z" | "z" => 0,
        _ => {
            let (hours, minutes) = zone.get(1..)?.split_once(':')?;
            let minutes = two(hours)? * 60 + two(minutes)?;
            if zone.starts_with('-') { -minutes } else { minutes }
        }
    };
    let seconds = days * 86_400 + two(hour)? * 3600 + (two(minute)? - offset) * 60 + two(second)?;
    // A moment beyond what 64 bits can hold is later, or earlier, than all others.
    Some(Timestamp(seconds.saturating_mul(1_000_000_000).saturating_add(nanos)))
}

fn split_three(text: &str, separator: char) -> Option<[&str; 3]> {
    let mut parts = text.split(separator);
    let three = [parts.next()?, parts.next()?, parts.next()?];
    parts.next().is_none().then_some(three)
}

/// Days since 1970-01-01 of a proleptic Gregorian date, by 400-year eras that begin on 1 March.
fn days_from_civil(year: i64, month: i64, day: i64) -> Option<i64> {
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    let year = if month <= 2 { year - 1 } else { year };
    let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    Some(era * 146_097 + day_of_era - 719_468)
}

/// Shows a size with three digits and a decimal unit: `1.98MB`.
pub(super) fn bytes(count: u64) -> String {
    const UNITS: [&str; 6] = ["B", "kB", "MB", "GB", "TB", "PB"];
    let mut value = count as f64;
    let mut unit = 0;
    // 999.5 would be rounded up to four digits.
    while value >= 999.5 && unit < UNITS.len() - 1 {
        value /= 1000.0;
        unit += 1;
    }
    let decimals = match value {
        _ if unit == 0 => 0,
        value if value < 9.995 => 2,
        value if value < 99.95 => 1,
        _ => 0,
    };
    format!("{value:.decimals$}{}", UNITS[unit])
}

/// Shows how long ago a moment was: `3 minutes ago`. A moment of zero is one that never came.
pub(super) fn ago(moment: i64, now: Timestamp) -> String {
    if moment == 0 {
        return "-".to_owned();
    }
    let seconds = (now.0 - moment).max(0) / 1_000_000_000;
    let (count, unit) = match seconds {
        ..60 => (seconds, "second"),
        60..3_600 => (seconds / 60, "minute"),
        3_600..172_800 => (seconds / 3_600, "hour"),
        _ => (seconds / 86_400, "day"),
    };
    format!("{count} {unit}{} ago", if count == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_sums_of_parts() {
        for (text, millis) in [("10", 10_000), ("10s", 10_000), ("1h30m", 5_400_000), ("250ms", 250), ("1.5m", 90_000)]
        {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for bad in ["", "s", "-1s", "1y", "1h-3m"] {
            assert!(parse_duration(bad).is_err(), "{bad:?} was taken for a duration");
        }
    }

    #[test]
    fn moments_read_back_what_is_shown() {
        for nanos in [0, 951_782_400_000_000_001, 1_798_761_599_999_999_999] {
            assert_eq!(parse_moment(&Timestamp(nanos).to_string()), Some(Timestamp(nanos)));
        }
        let zoned = parse_moment("2026-01-02T03:04:05.5+01:30").expect("parses");
        assert_eq!(zoned.to_string(), "2026-01-02T01:34:05.500000000Z");
        assert_eq!(parse_moment("2999-01-01T00:00:00Z"), Some(Timestamp(i64::MAX)));
        for bad in ["", "2026-01-02", "2026-13-02T00:00:00Z", "2026-01-02T03:04Z", "2026-01-02T03:04:05", "x"] {
            assert_eq!(parse_moment(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn sizes_are_shown_with_three_digits() {
        for (count, text) in [
            (0, "0B"),
            (999, "999B"),
            (1000, "1.00kB"),
            (1_980_000, "1.98MB"),
            (99_960_000, "100MB"),
            (999_600, "1.00MB"),
        ] {
            assert_eq!(bytes(count), text);
        }
    }

    #[test]
    fn ages_are_in_the_largest_unit_that_fits() {
        let now = Timestamp(1_000_000 * 1_000_000_000);
        let ago = |seconds: i64| ago(now.0 - seconds * 1_000_000_000, now);
        assert_eq!(ago(1), "1 second ago");
        assert_eq!(ago(59), "59 seconds ago");
        assert_eq!(ago(120), "2 minutes ago");
        assert_eq!(ago(90_000), "25 hours ago");
        assert_eq!(ago(-5), "0 seconds ago");
        assert_eq!(super::ago(0, now), "-");
    }
}
