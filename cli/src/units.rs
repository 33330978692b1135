//! Sizes and times as people write and read them.
//!
//! Decimal units are printed, as disks and networks are sold; binary ones are understood.

use std::time::Duration;

const UNITS: [(&str, u64); 5] =
    [("TB", 1_000_000_000_000), ("GB", 1_000_000_000), ("MB", 1_000_000), ("kB", 1_000), ("B", 1)];

/// Bytes: `253.1 MB`.
pub(crate) fn bytes(n: u64) -> String {
    let (unit, one) = UNITS.into_iter().find(|&(_, one)| n >= one).unwrap_or(("B", 1));
    if one == 1 { format!("{n} B") } else { format!("{:.1} {unit}", n as f64 / one as f64) }
}

/// Bytes a second: `85.2 MB/s`.
pub(crate) fn rate(per_second: f64) -> String {
    format!("{}/s", bytes(per_second.max(0.0) as u64))
}

/// A time that passed or is left: `0.8 s`, `12 s`, `3:05`, `1:02:03`.
pub(crate) fn seconds(seconds: f64) -> String {
    let whole = seconds.max(0.0).round() as u64;
    match whole {
        _ if seconds < 9.95 => format!("{seconds:.1} s"),
        0..60 => format!("{whole} s"),
        60..3600 => format!("{}:{:02}", whole / 60, whole % 60),
        _ => format!("{}:{:02}:{:02}", whole / 3600, whole / 60 % 60, whole % 60),
    }
}

/// A moment in seconds since 1970: `2026-11-28 14:37 UTC`.
pub(crate) fn date(moment: u64) -> String {
    let (days, second) = (moment / 86_400, moment % 86_400);
    // Howard Hinnant's `civil_from_days`: years begin in March, so that the leap day is their last.
    let days = days + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02} {:02}:{:02} UTC", second / 3600, second / 60 % 60)
}

/// A part in percent, rounded down so that 100 % means all.
pub(crate) fn percent(part: u64, whole: u64) -> u64 {
    if whole == 0 { 100 } else { (u128::from(part) * 100 / u128::from(whole)) as u64 }
}

/// Reads `253`, `1.5GB`, `5 GiB`, `10MB/s`.
pub(crate) fn parse_bytes(text: &str) -> Result<u64, String> {
    let error = || format!("`{text}` is no size; write `500MB`, `1.5GB` or `5GiB`");
    let number_end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(number_end);
    let unit = unit.trim().to_ascii_lowercase();
    let unit = unit.strip_suffix("/s").unwrap_or(&unit);
    let (prefix, binary) = match unit.strip_suffix("ib").or_else(|| unit.strip_suffix('b')) {
        Some(prefix) => (prefix, unit.ends_with("ib")),
        None => (unit, false),
    };
    let power = ["", "k", "m", "g", "t"].iter().position(|&known| known == prefix);
    let one = power.map(|power| if binary { 1024_u64 } else { 1000 }.pow(power as u32));
    let one = one.ok_or_else(error)?;
    // A size that is a whole number is read as one: floats lose bytes beyond 2^53.
    if let Ok(whole) = number.parse::<u64>() {
        return whole.checked_mul(one).ok_or_else(error);
    }
    let size = number.parse::<f64>().map_err(|_| error())? * one as f64;
    if size < u64::MAX as f64 { Ok(size as u64) } else { Err(error()) }
}

/// Reads `20`, `20s`, `500ms`, `2m`, `1h`, `7d`.
pub(crate) fn parse_duration(text: &str) -> Result<Duration, String> {
    let error = || format!("`{text}` is no duration; write `20s`, `500ms`, `2m` or `7d`");
    let number_end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(number_end);
    let seconds = match unit.trim() {
        "ms" => 0.001,
        "" | "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        "d" => 86_400.0,
        _ => return Err(error()),
    };
    let number: f64 = number.parse().map_err(|_| error())?;
    Duration::try_from_secs_f64(number * seconds).map_err(|_| error())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_written_for_people() {
        for (n, text) in [
            (0, "0 B"),
            (999, "999 B"),
            (1_000, "1.0 kB"),
            (253_100_000, "253.1 MB"),
            (u64::MAX, "18446744.1 TB"),
        ] {
            assert_eq!(bytes(n), text);
        }
    }

    #[test]
    fn sizes_are_read_as_people_write_them() {
        for (text, n) in [
            ("0", 0),
            ("12", 12),
            ("500MB", 500_000_000),
            ("1.5 GB", 1_500_000_000),
            ("5GiB", 5 << 30),
            ("10mb/s", 10_000_000),
            ("2k", 2_000),
            ("18446744073709551615", u64::MAX),
        ] {
            assert_eq!(parse_bytes(text), Ok(n), "{text}");
        }
        for text in
            ["", "MB", "-1", "1.5.2GB", "12 parsecs", "99999999999999999999", "9e99TB", "1ib2"]
        {
            assert!(parse_bytes(text).is_err(), "{text}");
        }
    }

    #[test]
    fn durations_are_read_and_written() {
        assert_eq!(parse_duration("20"), Ok(Duration::from_secs(20)));
        assert_eq!(parse_duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(parse_duration("1.5m"), Ok(Duration::from_secs(90)));
        assert_eq!(parse_duration("7d"), Ok(Duration::from_hours(7 * 24)));
        for text in ["", "s", "-1s", "1y", "1.2.3"] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
        let shown = [0.84, 9.96, 12.0, 185.0, 3723.0].map(seconds);
        assert_eq!(shown, ["0.8 s", "10 s", "12 s", "3:05", "1:02:03"]);
    }

    #[test]
    fn moments_are_written_as_dates() {
        for (moment, text) in [
            (0, "1970-01-01 00:00 UTC"),
            (951_782_399, "2000-02-28 23:59 UTC"),
            (951_782_400, "2000-02-29 00:00 UTC"),
            (1_795_271_820, "2026-11-21 14:37 UTC"),
            (4_107_542_400, "2100-03-01 00:00 UTC"),
        ] {
            assert_eq!(date(moment), text);
        }
        // No moment is too far.
        assert!(date(u64::MAX).ends_with("UTC"));
    }

    #[test]
    fn all_but_a_byte_is_not_all() {
        assert_eq!(percent(u64::MAX - 1, u64::MAX), 99);
        assert_eq!(percent(0, 0), 100);
    }
}
