//! Date and time as a template prints them: a civil date-time given by the caller, and `strftime`.

use std::fmt::Write;
use std::str::FromStr;

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
const WEEKDAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];

/// A date and a time of day, without a time zone. Parsed from `2025-08-05T12:00:00` (or the date alone: midnight).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CivilDateTime {
    year: u16,
    month: u8,
    day: u8,
    hour: u8,
    minute: u8,
    second: u8,
}

/// The text is no date and time. Completes "failed to …".
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("read `{text}` as a date and time: write it as 2025-08-05T12:00:00")]
pub struct CivilError {
    text: String,
}

impl CivilDateTime {
    /// 1970-01-01, midnight.
    pub const EPOCH: Self = Self { year: 1970, month: 1, day: 1, hour: 0, minute: 0, second: 0 };

    /// A date and time of the Gregorian calendar; `None` where there is no such day or hour. Years from 1 to 9999.
    #[must_use]
    pub fn new(year: u16, month: u8, day: u8, hour: u8, minute: u8, second: u8) -> Option<Self> {
        let date = (1..=9999).contains(&year) && (1..=12).contains(&month);
        let valid = date && (1..=days_in(year, month)).contains(&day) && hour < 24 && minute < 60 && second < 60;
        valid.then_some(Self { year, month, day, hour, minute, second })
    }

    /// Days since 1 January, from 0.
    fn day_of_year(self) -> u16 {
        let before: u16 = (1..self.month).map(|month| u16::from(days_in(self.year, month))).sum();
        before + u16::from(self.day) - 1
    }

    /// Days since Sunday, from 0.
    fn weekday(self) -> usize {
        let years = u32::from(self.year) - 1;
        let days = years * 365 + years / 4 - years / 100 + years / 400 + u32::from(self.day_of_year());
        // 1 January of year 1 was a Monday.
        (days as usize + 1) % 7
    }

    /// Formats as C's `strftime` does in the C locale, without a time zone. `Err` names a directive that is not known.
    pub(super) fn strftime(self, format: &str) -> Result<String, String> {
        let mut out = String::new();
        let mut characters = format.chars();
        while let Some(character) = characters.next() {
            if character != '%' {
                out.push(character);
                continue;
            }
            let mut directive = characters.next();
            let unpadded = directive == Some('-');
            if unpadded {
                directive = characters.next();
            }
            let name = directive.ok_or("%")?;
            if self.number(name, unpadded, &mut out) {
                continue;
            }
            if unpadded || !self.text(name, &mut out)? {
                return Err(format!("%{}{name}", if unpadded { "-" } else { "" }));
            }
        }
        Ok(out)
    }

    /// The directives that are numbers. Returns whether `directive` is one.
    fn number(self, directive: char, unpadded: bool, out: &mut String) -> bool {
        let hour12 = (self.hour + 11) % 12 + 1;
        let (value, width) = match directive {
            'd' => (u16::from(self.day), 2),
            'm' => (u16::from(self.month), 2),
            'y' => (self.year % 100, 2),
            'H' => (u16::from(self.hour), 2),
            'I' => (u16::from(hour12), 2),
            'M' => (u16::from(self.minute), 2),
            'S' => (u16::from(self.second), 2),
            'j' => (self.day_of_year() + 1, 3),
            _ => return false,
        };
        let width = if unpadded { 0 } else { width };
        // Writing to a text cannot fail.
        let _ = write!(out, "{value:0width$}");
        true
    }

    /// The other directives. Returns whether `directive` is one.
    fn text(self, directive: char, out: &mut String) -> Result<bool, String> {
        let month = MONTHS[usize::from(self.month) - 1];
        let weekday = WEEKDAYS[self.weekday()];
        match directive {
            'Y' => out.push_str(&self.year.to_string()),
            'B' => out.push_str(month),
            'b' | 'h' => out.push_str(&month[..3]),
            'A' => out.push_str(weekday),
            'a' => out.push_str(&weekday[..3]),
            'e' => out.push_str(&format!("{:2}", self.day)),
            'p' => out.push_str(if self.hour < 12 { "AM" } else { "PM" }),
            'w' => out.push_str(&self.weekday().to_string()),
            'u' => out.push_str(&((self.weekday() + 6) % 7 + 1).to_string()),
            'f' => out.push_str("000000"),
            'F' => out.push_str(&self.strftime("%Y-%m-%d")?),
            'T' | 'X' => out.push_str(&self.strftime("%H:%M:%S")?),
            'R' => out.push_str(&self.strftime("%H:%M")?),
            'D' | 'x' => out.push_str(&self.strftime("%m/%d/%y")?),
            'c' => out.push_str(&self.strftime("%a %b %e %H:%M:%S %Y")?),
            'n' => out.push('\n'),
            't' => out.push('\t'),
            // A date-time without a time zone prints none.
            'Z' | 'z' => {}
            '%' => out.push('%'),
            _ => return Ok(false),
        }
        Ok(true)
    }
}

fn days_in(year: u16, month: u8) -> u8 {
    let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    match month {
        2 if leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

impl FromStr for CivilDateTime {
    type Err = CivilError;

    fn from_str(text: &str) -> Result<Self, CivilError> {
        parse(text).ok_or_else(|| CivilError { text: text.to_owned() })
    }
}

fn parse(text: &str) -> Option<CivilDateTime> {
    let (date, time) = match text.split_once(['T', ' ']) {
        Some((date, time)) => (date, time),
        None => (text, "00:00:00"),
    };
    let mut date = date.split('-');
    let (year, month, day) = (digits(date.next()?, 4)?, digits(date.next()?, 2)?, digits(date.next()?, 2)?);
    let mut time = time.split(':');
    let (hour, minute, second) = (digits(time.next()?, 2)?, digits(time.next()?, 2)?, digits(time.next()?, 2)?);
    if date.next().is_some() || time.next().is_some() {
        return None;
    }
    let small = |number: u16| u8::try_from(number).ok();
    CivilDateTime::new(year, small(month)?, small(day)?, small(hour)?, small(minute)?, small(second)?)
}

fn digits(text: &str, count: usize) -> Option<u16> {
    (text.len() == count && text.bytes().all(|byte| byte.is_ascii_digit())).then(|| text.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Golden values: CPython's `datetime.strftime`.
    #[test]
    fn prints_as_python_does() {
        let cases = [
            (
                "2025-08-05T12:00:00",
                "%d %b %Y|%B %-d, %Y|%A %a|%Y-%m-%d %H:%M:%S",
                "05 Aug 2025|August 5, 2025|Tuesday Tue|2025-08-05 12:00:00",
            ),
            ("2024-02-29T00:07:09", "%j %I:%M %p %-I %y %%", "060 12:07 AM 12 24 %"),
            ("1999-12-31 23:59:59", "%F %T %R %D %w %u %e", "1999-12-31 23:59:59 23:59 12/31/99 5 5 31"),
            ("2000-03-01", "%A %c|%Z", "Wednesday Wed Mar  1 00:00:00 2000|"),
        ];
        for (at, format, expected) in cases {
            let at: CivilDateTime = at.parse().unwrap();
            assert_eq!(at.strftime(format).unwrap(), expected);
        }
        assert_eq!(CivilDateTime::EPOCH.strftime("%A"), Ok("Thursday".to_owned()));
        assert_eq!(CivilDateTime::EPOCH.strftime("%Q"), Err("%Q".to_owned()));
        assert_eq!(CivilDateTime::EPOCH.strftime("%"), Err("%".to_owned()));
    }

    #[test]
    fn refuses_what_is_no_date() {
        for text in [
            "",
            "2025",
            "2025-13-01",
            "2023-02-29",
            "2025-08-05T24:00:00",
            "2025-8-5",
            "2025-08-05T12:00:00Z",
            "+025-08-05",
        ] {
            assert!(text.parse::<CivilDateTime>().is_err(), "{text}");
        }
    }
}
