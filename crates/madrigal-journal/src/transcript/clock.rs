//! Times and lengths of time as people read them.

use crate::civil::civil_date;

const MS_PER_DAY: u64 = 86_400_000;

/// `+1:02:03.4`: a time since the run's start.
pub(super) fn since_start(ms: u64) -> String {
    let (hours, minutes) = (ms / 3_600_000, ms / 60_000 % 60);
    let (seconds, tenths) = (ms / 1000 % 60, ms / 100 % 10);
    if hours > 0 {
        format!("+{hours}:{minutes:02}:{seconds:02}.{tenths}")
    } else {
        format!("+{minutes}:{seconds:02}.{tenths}")
    }
}

/// `1 h 2 min`, `2 min 3 s`, `3.4 s`: a length of time.
pub(super) fn length(ms: u64) -> String {
    let (hours, minutes, seconds) = (ms / 3_600_000, ms / 60_000 % 60, ms / 1000 % 60);
    if hours > 0 {
        format!("{hours} h {minutes} min")
    } else if minutes > 0 {
        format!("{minutes} min {seconds} s")
    } else {
        format!("{seconds}.{} s", ms / 100 % 10)
    }
}

/// `PT3.214S`: a length of time in ISO 8601.
pub(super) fn iso_length(ms: u64) -> String {
    format!("PT{}.{:03}S", ms / 1000, ms % 1000)
}

/// `2026-11-20 21:53:01 UTC`: a moment given in milliseconds since the Unix epoch.
pub(super) fn moment(ms: u64) -> String {
    let (year, month, day) = civil_date(ms / MS_PER_DAY);
    let second = ms % MS_PER_DAY / 1000;
    format!("{year:04}-{month:02}-{day:02} {:02}:{:02}:{:02} UTC", second / 3600, second / 60 % 60, second % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_civil_dates() {
        // Expected values by `date -u -d @SECONDS`.
        for (seconds, expected) in [
            (0, "1970-01-01 00:00:00 UTC"),
            (951_782_399, "2000-02-28 23:59:59 UTC"),
            (951_782_400, "2000-02-29 00:00:00 UTC"),
            (1_795_211_581, "2026-11-20 21:53:01 UTC"),
            (4_107_542_400, "2100-03-01 00:00:00 UTC"),
        ] {
            assert_eq!(moment(seconds * 1000), expected);
        }
    }

    #[test]
    fn lengths_read_well_at_every_scale() {
        for (ms, start, of) in [
            (0, "+0:00.0", "0.0 s"),
            (3_299, "+0:03.2", "3.2 s"),
            (59_999, "+0:59.9", "59.9 s"),
            (60_000, "+1:00.0", "1 min 0 s"),
            (3_723_456, "+1:02:03.4", "1 h 2 min"),
            (360_000_000, "+100:00:00.0", "100 h 0 min"),
        ] {
            assert_eq!((since_start(ms).as_str(), length(ms).as_str()), (start, of));
        }
        for any in [since_start, length, iso_length, moment] {
            assert!(!any(u64::MAX).is_empty());
        }
    }
}
