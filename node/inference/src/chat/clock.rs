//! `strftime_now`: the date as a template wants to read it, in UTC and in English.

use std::time::{SystemTime, UNIX_EPOCH};

use minijinja::{Error, ErrorKind};

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const DAYS: [&str; 7] =
    ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];

/// Bytes of a form; nothing that it holds becomes longer than ten.
const LONGEST: usize = 256;

/// Writes a time in a form of `strftime`. A directive that is not known is an error.
pub(super) fn format(now: SystemTime, form: &str) -> Result<String, Error> {
    let wrong = |reason: String| Error::new(ErrorKind::InvalidOperation, reason);
    if LONGEST < form.len() {
        return Err(wrong(format!("a form of a date of over {LONGEST} bytes")));
    }
    let seconds = now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let (days, second) = ((seconds / 86_400) as i64, seconds % 86_400);
    let (year, month, day) = date(days);
    let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
    let weekday = (days + 4).rem_euclid(7) as usize;
    let twelve = if hour % 12 == 0 { 12 } else { hour % 12 };
    let (month_name, day_name) = (MONTHS[month as usize - 1], DAYS[weekday]);
    let mut out = String::new();
    let mut chars = form.chars();
    while let Some(character) = chars.next() {
        if character != '%' {
            out.push(character);
            continue;
        }
        let mut directive = chars.next();
        let bare = directive == Some('-');
        if bare {
            directive = chars.next();
        }
        let two = |n: u64| if bare { n.to_string() } else { format!("{n:02}") };
        let part = match directive {
            Some('Y') => year.to_string(),
            Some('y') => two(year.rem_euclid(100) as u64),
            Some('m') => two(month),
            Some('d') => two(day),
            Some('e') => format!("{day:2}"),
            Some('H') => two(hour),
            Some('I') => two(twelve),
            Some('M') => two(minute),
            Some('S') => two(second),
            Some('p') => if hour < 12 { "AM" } else { "PM" }.to_owned(),
            Some('B') => month_name.to_owned(),
            Some('b' | 'h') => month_name[..3].to_owned(),
            Some('A') => day_name.to_owned(),
            Some('a') => day_name[..3].to_owned(),
            Some('j') => {
                let first = days - days_before(year);
                if bare { (first + 1).to_string() } else { format!("{:03}", first + 1) }
            }
            Some('F') => format!("{year}-{month:02}-{day:02}"),
            Some('T') => format!("{hour:02}:{minute:02}:{second:02}"),
            Some('s') => seconds.to_string(),
            Some('Z') => "UTC".to_owned(),
            Some('z') => "+0000".to_owned(),
            Some('%') => "%".to_owned(),
            Some(other) => return Err(wrong(format!("`%{other}` in a form of a date"))),
            None => return Err(wrong("a form of a date ends in `%`".to_owned())),
        };
        out.push_str(&part);
    }
    Ok(out)
}

/// The date of a day since 1970 (Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms").
fn date(days: i64) -> (i64, u64, u64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let of_era = days.rem_euclid(146_097);
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (year + era * 400 + i64::from(month <= 2), month as u64, day as u64)
}

/// Days from 1970 to a year's first.
fn days_before(year: i64) -> i64 {
    let y = year - 1;
    y * 365 + y.div_euclid(4) - y.div_euclid(100) + y.div_euclid(400) - 719_162
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn dates_are_written_as_strftime_writes_them() {
        // `TZ=UTC date -d @1763726401 "+…"`
        let now = UNIX_EPOCH + Duration::from_secs(1_763_726_401);
        for (form, expected) in [
            ("%Y-%m-%d", "2025-11-21"),
            ("%d %b %Y", "21 Nov 2025"),
            ("%A, %B %-d, %Y", "Friday, November 21, 2025"),
            ("%H:%M:%S %I%p %Z %j %y %e %a %%", "12:00:01 12PM UTC 325 25 21 Fri %"),
        ] {
            assert_eq!(format(now, form).unwrap(), expected);
        }
        let leap = UNIX_EPOCH + Duration::from_secs(951_782_400 + 1);
        assert_eq!(format(leap, "%F %j %A").unwrap(), "2000-02-29 060 Tuesday");
        assert_eq!(format(UNIX_EPOCH, "%F %A %-I").unwrap(), "1970-01-01 Thursday 12");
    }

    #[test]
    fn an_unknown_directive_is_an_error() {
        for form in ["%Q", "%", "%-", &"x".repeat(300)] {
            assert!(format(UNIX_EPOCH, form).is_err(), "{form}");
        }
    }
}
