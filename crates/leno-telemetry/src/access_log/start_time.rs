//! `%START_TIME%` and `%START_TIME(format)%`: by Envoy's subset of strftime, in UTC or the machine's time zone.

use std::io::Write;
use std::time::{Duration, SystemTime};

use leno_engine::compile::access_log::Clock;

/// What is told of local time, unless a format says otherwise.
const LOCAL: &str = "%Y-%m-%dT%H:%M:%E3S%z";

/// A moment in the proleptic Gregorian calendar.
struct Civil<'z> {
    year: i64,
    month: u32,
    day: u32,
    /// Of the day.
    second: u32,
    nanos: u32,
    /// Since 1970.
    unix: u64,
    /// Seconds east of Greenwich, and what that is called.
    zone: (i32, &'z str),
}

/// Appends the time; without a format as `2016-04-15T20:17:00.310Z`.
pub fn write(time: SystemTime, format: Option<&str>, out: &mut Vec<u8>) -> bool {
    let civil = Civil::of(since_1970(time), UTC);
    match format {
        None => {
            civil.iso_8601(out);
            true
        }
        Some(format) => civil.pieces(format, out).is_ok(),
    }
}

/// The same, of that clock.
pub(super) fn by_clock(time: SystemTime, clock: &Clock, out: &mut Vec<u8>) -> bool {
    let Some(zone) = &clock.zone else {
        return write(time, clock.format.as_deref(), out);
    };
    let since = since_1970(time);
    let civil = Civil::of(since, zone.at(since.as_secs()));
    civil
        .pieces(clock.format.as_deref().unwrap_or(LOCAL), out)
        .is_ok()
}

fn since_1970(time: SystemTime) -> Duration {
    time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}

/// Finds the first conversion that [`write`] has not.
pub(super) fn check(format: &str) -> Result<(), String> {
    Civil::of(Duration::ZERO, UTC).pieces(format, &mut Vec::new())
}

// === impl Civil ===

const UTC: (i32, &str) = (0, "UTC");

impl<'z> Civil<'z> {
    fn of(since: Duration, zone: (i32, &'z str)) -> Self {
        let shown = since.as_secs().saturating_add_signed(zone.0.into());
        // Howard Hinnant's civil_from_days, for days since 1970-01-01: years that begin in March put the leap day last.
        let days = i64::try_from(shown / 86_400).unwrap_or(0) + 719_468;
        let era = days / 146_097;
        let day_of_era = days % 146_097;
        let year_of_era =
            (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let march_month = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * march_month + 2) / 5 + 1;
        let month = if march_month < 10 {
            march_month + 3
        } else {
            march_month - 9
        };
        Civil {
            year: year_of_era + era * 400 + i64::from(month <= 2),
            month: month as u32,
            day: day as u32,
            second: (shown % 86_400) as u32,
            nanos: since.subsec_nanos(),
            unix: since.as_secs(),
            zone,
        }
    }

    /// The default, which is written for almost every line.
    fn iso_8601(&self, out: &mut Vec<u8>) {
        let (year, millis) = (self.year.clamp(0, 9999) as u32, self.nanos / 1_000_000);
        let mut text = *b"0000-00-00T00:00:00.000Z";
        let two = |text: &mut [u8; 24], at: usize, value: u32| {
            text[at] = b'0' + (value / 10 % 10) as u8;
            text[at + 1] = b'0' + (value % 10) as u8;
        };
        two(&mut text, 0, year / 100);
        two(&mut text, 2, year % 100);
        two(&mut text, 5, self.month);
        two(&mut text, 8, self.day);
        two(&mut text, 11, self.second / 3_600);
        two(&mut text, 14, self.second / 60 % 60);
        two(&mut text, 17, self.second % 60);
        two(&mut text, 20, millis / 10);
        text[22] = b'0' + (millis % 10) as u8;
        out.extend_from_slice(&text);
    }

    fn pieces(&self, format: &str, out: &mut Vec<u8>) -> Result<(), String> {
        let mut rest = format;
        while let Some((literal, after)) = rest.split_once('%') {
            out.extend_from_slice(literal.as_bytes());
            rest = self.conversion(after, out).ok_or_else(|| format.to_owned())?;
        }
        out.extend_from_slice(rest.as_bytes());
        Ok(())
    }

    /// Appends one conversion and returns what follows it; `None` for one that is not known.
    fn conversion<'a>(&self, text: &'a str, out: &mut Vec<u8>) -> Option<&'a str> {
        let (hour, minute, second) = (self.second / 3_600, self.second / 60 % 60, self.second % 60);
        if let Some((digits, rest)) = seconds_digits(text) {
            write!(out, "{second:02}.").ok()?;
            self.fraction(digits, out)?;
            return Some(rest);
        }
        if let Some(rest) = text.strip_prefix("Ez") {
            self.offset(":", out).ok()?;
            return Some(rest);
        }
        if let Some((digits, rest)) = fraction_digits(text) {
            self.fraction(digits, out)?;
            return Some(rest);
        }
        let mut chars = text.chars();
        match chars.next()? {
            'Y' => write!(out, "{:04}", self.year),
            'm' => write!(out, "{:02}", self.month),
            'd' => write!(out, "{:02}", self.day),
            'H' => write!(out, "{hour:02}"),
            'M' => write!(out, "{minute:02}"),
            'S' => write!(out, "{second:02}"),
            'F' => write!(out, "{:04}-{:02}-{:02}", self.year, self.month, self.day),
            'T' => write!(out, "{hour:02}:{minute:02}:{second:02}"),
            's' => write!(out, "{}", self.unix),
            'z' => self.offset("", out),
            'Z' => write!(out, "{}", self.zone.1),
            'b' | 'h' => write!(out, "{}", self.month_name()?.get(..3)?),
            'B' => write!(out, "{}", self.month_name()?),
            'a' => write!(out, "{}", self.day_name()?.get(..3)?),
            'A' => write!(out, "{}", self.day_name()?),
            'C' => write!(out, "{:02}", self.year / 100),
            'y' => write!(out, "{:02}", self.year % 100),
            'e' => write!(out, "{:2}", self.day),
            'j' => write!(out, "{:03}", self.day_of_year()),
            'I' => write!(out, "{:02}", (hour + 11) % 12 + 1),
            'k' => write!(out, "{hour:2}"),
            'l' => write!(out, "{:2}", (hour + 11) % 12 + 1),
            'p' => write!(out, "{}", if hour < 12 { "AM" } else { "PM" }),
            'D' | 'x' => write!(out, "{:02}/{:02}/{:02}", self.month, self.day, self.year % 100),
            'R' => write!(out, "{hour:02}:{minute:02}"),
            'X' => write!(out, "{hour:02}:{minute:02}:{second:02}"),
            'r' => {
                let half = if hour < 12 { "AM" } else { "PM" };
                write!(out, "{:02}:{minute:02}:{second:02} {half}", (hour + 11) % 12 + 1)
            }
            'c' => {
                return self
                    .conversions("%a %b %e %H:%M:%S %Y", out)
                    .map(|()| chars.as_str());
            }
            'u' => write!(out, "{}", (self.weekday() + 6) % 7 + 1),
            'w' => write!(out, "{}", self.weekday()),
            'U' => write!(out, "{:02}", (self.day_of_year() + 6 - self.weekday()) / 7),
            'W' => write!(
                out,
                "{:02}",
                (self.day_of_year() + 6 - (self.weekday() + 6) % 7) / 7
            ),
            't' => write!(out, "\t"),
            '%' => write!(out, "%"),
            _ => return None,
        }
        .ok()?;
        Some(chars.as_str())
    }

    fn conversions(&self, format: &str, out: &mut Vec<u8>) -> Option<()> {
        self.pieces(format, out).ok()
    }

    fn month_name(&self) -> Option<&'static str> {
        MONTHS.get(self.month as usize - 1).copied()
    }

    fn day_name(&self) -> Option<&'static str> {
        DAYS.get(self.weekday() as usize).copied()
    }

    /// From Sunday, which is 0, on: 1970 began with a Thursday.
    fn weekday(&self) -> u32 {
        let shown = self.unix.saturating_add_signed(self.zone.0.into());
        ((shown / 86_400 + 4) % 7) as u32
    }

    /// From 1 on.
    fn day_of_year(&self) -> u32 {
        let leap = self.year % 4 == 0 && (self.year % 100 != 0 || self.year % 400 == 0);
        let before = [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334];
        let before = before.get(self.month as usize - 1).copied().unwrap_or(0);
        before + self.day + u32::from(leap && self.month > 2)
    }

    /// `+0530`
    fn offset(&self, between: &str, out: &mut Vec<u8>) -> std::io::Result<()> {
        let (sign, minutes) = match self.zone.0 / 60 {
            west @ ..0 => ('-', west.unsigned_abs()),
            east => ('+', east.unsigned_abs()),
        };
        write!(out, "{sign}{:02}{between}{:02}", minutes / 60, minutes % 60)
    }

    fn fraction(&self, digits: u32, out: &mut Vec<u8>) -> Option<()> {
        let value = self.nanos / 10u32.checked_pow(9u32.checked_sub(digits)?)?;
        write!(out, "{value:0width$}", width = digits as usize).ok()
    }
}

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

const DAYS: [&str; 7] = [
    "Sunday",
    "Monday",
    "Tuesday",
    "Wednesday",
    "Thursday",
    "Friday",
    "Saturday",
];

/// `%E3S`: seconds with so many digits of their fraction.
fn seconds_digits(text: &str) -> Option<(u32, &str)> {
    let rest = text.strip_prefix('E')?;
    let digits = rest.chars().next()?.to_digit(10).filter(|digits| *digits > 0)?;
    Some((digits, rest.get(1..)?.strip_prefix('S')?))
}

/// `%f` is nanoseconds to Envoy, `%3f` milliseconds and so on.
fn fraction_digits(text: &str) -> Option<(u32, &str)> {
    if let Some(rest) = text.strip_prefix('f') {
        return Some((9, rest));
    }
    let digits = text
        .chars()
        .next()?
        .to_digit(10)
        .filter(|digits| (1..=9).contains(digits))?;
    Some((digits, text.get(1..)?.strip_prefix('f')?))
}

#[cfg(test)]
mod tests {
    use leno_engine::compile::access_log::Zone;

    use super::*;

    fn at(seconds: u64, nanos: u32, format: Option<&str>) -> String {
        let mut out = Vec::new();
        assert!(write(
            SystemTime::UNIX_EPOCH + Duration::new(seconds, nanos),
            format,
            &mut out
        ));
        String::from_utf8_lossy(&out).into_owned()
    }

    #[test]
    fn dates_are_right_around_leap_days() {
        assert_eq!(at(0, 0, None), "1970-01-01T00:00:00.000Z");
        assert_eq!(at(951_782_400, 0, Some("%F")), "2000-02-29");
        assert_eq!(at(1_460_751_420, 310_000_000, None), "2016-04-15T20:17:00.310Z");
        assert_eq!(at(1_709_251_199, 999_999_999, None), "2024-02-29T23:59:59.999Z");
        assert_eq!(at(4_107_542_400, 0, Some("%F")), "2100-03-01");
    }

    #[test]
    fn clocks_may_be_local_ones() {
        // Of RFC 9636, without a transition but for the rule: the summer of the European Union.
        let rule: &[u8] = b"\nCET-1CEST,M3.5.0,M10.5.0/3\n";
        let header = |version: u8, types: u8, names: u8| {
            let mut header = [b"TZif".as_slice(), &[version], &[0; 15]].concat();
            for count in [0, 0, 0, 0, types, names] {
                header.extend([0, 0, 0, count]);
            }
            header
        };
        let body = [&[0, 0, 14, 16, 0, 0], b"CET\0".as_slice()].concat();
        let data = [
            header(b'2', 1, 4),
            body.clone(),
            header(b'2', 1, 4),
            body,
            rule.to_vec(),
        ]
        .concat();
        let told = |seconds: u64, data: Option<&[u8]>, format: Option<&str>| {
            let clock = Clock {
                format: format.map(str::to_owned),
                zone: Some(Zone::new(data)),
            };
            let mut out = Vec::new();
            assert!(by_clock(
                SystemTime::UNIX_EPOCH + Duration::from_secs(seconds),
                &clock,
                &mut out
            ));
            String::from_utf8_lossy(&out).into_owned()
        };
        let zone = Some(data.as_slice());
        assert_eq!(told(1_783_000_000, zone, None), "2026-07-02T15:46:40.000+0200");
        assert_eq!(
            told(1_797_000_000, zone, Some("%F %T %Ez %Z %a %s")),
            "2026-12-11 15:40:00 +01:00 CET Fri 1797000000"
        );
        assert_eq!(told(1_797_000_000, None, Some("%T %Z")), "14:40:00 UTC");
    }

    #[test]
    fn formats_are_envoys() {
        assert_eq!(
            at(1_460_751_420, 310_000_000, Some("%Y/%m/%dT%H:%M:%S%z %s")),
            "2016/04/15T20:17:00+0000 1460751420"
        );
        assert_eq!(
            at(0, 12_345_678, Some("%3f %6f %f %E3S %d/%b %%")),
            "012 012345 012345678 00.012 01/Jan %"
        );
    }

    #[test]
    fn an_unknown_conversion_is_refused() {
        assert_eq!(
            at(
                1_460_751_420,
                0,
                Some("%a %A %h %B %C %y|%e|%j %I %k %l %p %D %R %r|%c|%u %w %U %W")
            ),
            "Fri Friday Apr April 20 16|15|106 08 20  8 PM 04/15/16 20:17 08:17:00 PM|Fri Apr 15 20:17:00 2016|5 5 15 15"
        );
        assert!(check("%Y %q").is_err());
        assert!(check("%0f").is_err());
        assert!(check("%").is_err());
        assert!(check("%T.%6f").is_ok());
    }
}
