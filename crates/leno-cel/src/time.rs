//! Durations and timestamps: as texts, and in parts.

use time::format_description::well_known::Rfc3339;
use time::{OffsetDateTime, UtcOffset};

use crate::error::Error;

const SECOND: i128 = 1_000_000_000;
/// Protobuf's `Duration`: ten thousand years.
const LONGEST: i128 = 315_576_000_000 * SECOND;

/// A part of a timestamp, as its getter counts it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    FullYear,
    /// From 0 on.
    Month,
    /// Of the month, from 1 on.
    Date,
    /// Of the month, from 0 on.
    DayOfMonth,
    /// From 0 on.
    DayOfYear,
    /// Sunday is 0.
    DayOfWeek,
    Hours,
    Minutes,
    Seconds,
    Milliseconds,
}

/// Within what durations may be.
pub(crate) fn duration(nanoseconds: i128) -> Result<i128, Error> {
    match nanoseconds.unsigned_abs() <= LONGEST.unsigned_abs() {
        true => Ok(nanoseconds),
        false => Err(Error::Range),
    }
}

/// Within the years 1 to 9999.
pub(crate) fn timestamp(nanoseconds: i128) -> Result<i128, Error> {
    let time = OffsetDateTime::from_unix_timestamp_nanos(nanoseconds).map_err(|_| Error::Range)?;
    match time.year() {
        1..=9999 => Ok(nanoseconds),
        _ => Err(Error::Range),
    }
}

/// `1h30m`, `1.5s`, `-20ms`.
pub(crate) fn parse_duration(text: &str) -> Result<i128, Error> {
    let (sign, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Ok(0);
    }
    let mut whole = 0_i128;
    let mut any = false;
    while !rest.is_empty() {
        let end = rest
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .ok_or(Error::Form)?;
        let (number, unit) = rest.split_at(end);
        let (name, nanoseconds) = [
            ("ns", 1),
            ("us", 1_000),
            ("ms", 1_000_000),
            ("s", SECOND),
            ("m", 60 * SECOND),
            ("h", 3_600 * SECOND),
        ]
        .into_iter()
        .find(|(name, _)| unit.starts_with(name))
        .ok_or(Error::Form)?;
        rest = unit.get(name.len()..).unwrap_or_default();
        whole = duration(whole + scaled(number, nanoseconds)?)?;
        any = true;
    }
    match any {
        true => Ok(sign * whole),
        false => Err(Error::Form),
    }
}

/// A decimal number of units; what is less than a nanosecond is cut off.
fn scaled(number: &str, unit: i128) -> Result<i128, Error> {
    let (before, after) = number.split_once('.').unwrap_or((number, ""));
    if before.is_empty() && after.is_empty() || before.len() > 18 || after.contains('.') {
        return Err(Error::Form);
    }
    let digits = |text: &str| match text {
        "" => Ok(0),
        text => text.parse::<i128>().map_err(|_| Error::Form),
    };
    let after = after.get(..after.len().min(18)).unwrap_or_default();
    let fraction = digits(after)? * unit / 10_i128.pow(u32::try_from(after.len()).unwrap_or(0));
    Ok(digits(before)? * unit + fraction)
}

/// RFC 3339.
pub(crate) fn parse_timestamp(text: &str) -> Result<i128, Error> {
    let time = OffsetDateTime::parse(text, &Rfc3339).map_err(|_| Error::Form)?;
    timestamp(time.unix_timestamp_nanos())
}

/// As abseil writes it: `1h30m0.5s`, `20ms`, `0`.
pub(crate) fn duration_text(nanoseconds: i128) -> String {
    if nanoseconds == 0 {
        return "0".to_owned();
    }
    let mut out = String::new();
    if nanoseconds < 0 {
        out.push('-');
    }
    let left = nanoseconds.abs();
    if left < SECOND {
        let (unit, name) = match left {
            0..1_000 => (1, "ns"),
            1_000..1_000_000 => (1_000, "us"),
            _ => (1_000_000, "ms"),
        };
        out.push_str(&decimal(left, unit));
        out.push_str(name);
        return out;
    }
    let (hours, minutes) = (left / (3_600 * SECOND), left / (60 * SECOND) % 60);
    if hours > 0 {
        out.push_str(&format!("{hours}h"));
    }
    if minutes > 0 {
        out.push_str(&format!("{minutes}m"));
    }
    let seconds = left % (60 * SECOND);
    if seconds > 0 {
        out.push_str(&decimal(seconds, SECOND));
        out.push('s');
    }
    out
}

/// So many units, with no zeros at the end of the fraction.
fn decimal(nanoseconds: i128, unit: i128) -> String {
    let fraction = nanoseconds % unit;
    if fraction == 0 {
        return (nanoseconds / unit).to_string();
    }
    let width = unit.ilog10() as usize;
    let text = format!("{}.{fraction:0width$}", nanoseconds / unit);
    text.trim_end_matches('0').to_owned()
}

/// In seconds, as JSON has it: `5400s`.
pub fn duration_json(nanoseconds: i128) -> String {
    let sign = if nanoseconds < 0 { "-" } else { "" };
    format!("{sign}{}s", decimal(nanoseconds.abs(), SECOND))
}

/// `2023-08-26T19:39:00+00:00`.
pub(crate) fn timestamp_text(nanoseconds: i128) -> String {
    let time = OffsetDateTime::from_unix_timestamp_nanos(nanoseconds);
    let text = time.ok().and_then(|time| time.format(&Rfc3339).ok());
    match text {
        Some(text) => text.replace('Z', "+00:00"),
        None => String::new(),
    }
}

/// `zone`: `UTC`, or an offset such as `-08:00`.
pub(crate) fn part(nanoseconds: i128, part: Part, zone: Option<&str>) -> Result<i64, Error> {
    let time = OffsetDateTime::from_unix_timestamp_nanos(nanoseconds).map_err(|_| Error::Range)?;
    let time = match zone {
        None | Some("UTC" | "Z" | "GMT") => time,
        Some(zone) => time.checked_to_offset(offset(zone)?).ok_or(Error::Range)?,
    };
    Ok(match part {
        Part::FullYear => time.year().into(),
        Part::Month => i64::from(u8::from(time.month())) - 1,
        Part::Date => time.day().into(),
        Part::DayOfMonth => i64::from(time.day()) - 1,
        Part::DayOfYear => i64::from(time.ordinal()) - 1,
        Part::DayOfWeek => time.weekday().number_days_from_sunday().into(),
        Part::Hours => time.hour().into(),
        Part::Minutes => time.minute().into(),
        Part::Seconds => time.second().into(),
        Part::Milliseconds => time.millisecond().into(),
    })
}

/// The same part of a duration: all of it in that unit, but of milliseconds only those beyond the second.
pub(crate) fn duration_part(nanoseconds: i128, part: Part) -> Result<i64, Error> {
    let whole = match part {
        Part::Hours => nanoseconds / (3_600 * SECOND),
        Part::Minutes => nanoseconds / (60 * SECOND),
        Part::Seconds => nanoseconds / SECOND,
        Part::Milliseconds => nanoseconds % SECOND / 1_000_000,
        _ => return Err(Error::Types),
    };
    i64::try_from(whole).map_err(|_| Error::Range)
}

fn offset(zone: &str) -> Result<UtcOffset, Error> {
    let (sign, rest) = match zone.split_at_checked(1) {
        Some(("-", rest)) => (-1, rest),
        Some(("+", rest)) => (1, rest),
        _ => (1, zone),
    };
    let (hours, minutes) = rest.split_once(':').ok_or(Error::Form)?;
    let number = |text: &str| text.parse::<u8>().ok().filter(|n| *n < 60).ok_or(Error::Form);
    let (hours, minutes) = (number(hours)? as i8, number(minutes)? as i8);
    UtcOffset::from_hms(sign * hours, sign * minutes, 0).map_err(|_| Error::Form)
}
