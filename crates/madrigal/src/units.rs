//! Durations and sizes as people write them, and surprise as they read it.

use std::time::Duration;

/// Reads `90`, `90s`, `5m`, `1.5h` or `2d`; a bare number is seconds.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let (number, unit) = split(text);
    let factor = match unit {
        "" | "s" => 1.0,
        "m" | "min" => 60.0,
        "h" => 3600.0,
        "d" => 86_400.0,
        _ => return Err(format!("`{text}` is no duration; write for example 90s, 5m or 1.5h")),
    };
    number
        .and_then(|number| Duration::try_from_secs_f64(number * factor).ok())
        .ok_or_else(|| format!("`{text}` is no duration; write for example 90s, 5m or 1.5h"))
}

/// How surprising a message was, in bits a token.
pub(crate) fn surprise(nats: f64, tokens: u32) -> String {
    let bits = nats / std::f64::consts::LN_2 / f64::from(tokens.max(1));
    format!("{bits:.2} bits a token over {tokens}")
}

/// Reads `8GiB`, `8GB`, `8G`, `512MiB` or a bare number of bytes. `G` and `GiB` are powers of 1,024.
pub(crate) fn bytes(text: &str) -> Result<u64, String> {
    let (number, unit) = split(text);
    let factor: f64 = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 1.0,
        "k" | "kib" => 1024.0,
        "kb" => 1e3,
        "m" | "mib" => 1_048_576.0,
        "mb" => 1e6,
        "g" | "gib" => 1_073_741_824.0,
        "gb" => 1e9,
        "t" | "tib" => 1_099_511_627_776.0,
        "tb" => 1e12,
        _ => return Err(format!("`{text}` is no size; write for example 8GiB or 512MB")),
    };
    number
        .filter(|number| *number > 0.0)
        .map(|number| (number * factor) as u64)
        .ok_or_else(|| format!("`{text}` is no size; write for example 8GiB or 512MB"))
}

fn split(text: &str) -> (Option<f64>, &str) {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    (number.parse().ok(), unit.trim())
}

/// A size for people.
pub(crate) fn show_bytes(bytes: u64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut size = bytes as f64;
    let mut unit = 0;
    while size >= 1024.0 && unit + 1 < units.len() {
        size /= 1024.0;
        unit += 1;
    }
    if unit == 0 { format!("{bytes} B") } else { format!("{size:.1} {}", units[unit]) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        for (text, seconds) in [("90", 90.0), ("90s", 90.0), ("5m", 300.0), ("1.5h", 5400.0), (" 2 d ", 172_800.0)] {
            assert_eq!(duration(text), Ok(Duration::from_secs_f64(seconds)), "{text}");
        }
        for text in ["", "m", "5 parsecs", "-1s", "1.2.3s", "1e999d"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn sizes() {
        for (text, size) in [("512", 512), ("8GiB", 8 << 30), ("8G", 8 << 30), ("8GB", 8_000_000_000), ("1.5 k", 1536)]
        {
            assert_eq!(bytes(text), Ok(size), "{text}");
        }
        for text in ["", "G", "8 apples", "-1", "0"] {
            assert!(bytes(text).is_err(), "{text}");
        }
        assert_eq!(show_bytes(1536), "1.5 KiB");
        assert_eq!(show_bytes(7), "7 B");
    }
}
