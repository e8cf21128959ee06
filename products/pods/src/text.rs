//! Small texts: durations as typed, ages and sizes as shown.
//!
//! What it does not do: it asks no clock and writes nothing.

use std::time::Duration;

use jiff::Timestamp;

/// Reads a duration as people write it: `30s`, `5m`, `1h30m`, `250ms`, `2d`; a bare number is seconds.
///
/// # Errors
/// A text for people that names what was given and what would be right.
pub fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("`{text}` is no duration, write for example 30s, 5m or 1h30m");
    if let Ok(seconds) = text.parse::<u64>() {
        return Ok(Duration::from_secs(seconds));
    }
    let mut total = Duration::ZERO;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).filter(|at| *at > 0).ok_or_else(wrong)?;
        let count: u64 = rest[..digits].parse().map_err(|_| wrong())?;
        rest = &rest[digits..];
        let letters = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        let milliseconds: u64 = match &rest[..letters] {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return Err(wrong()),
        };
        rest = &rest[letters..];
        let part = count.checked_mul(milliseconds).map(Duration::from_millis).ok_or_else(wrong)?;
        total = total.checked_add(part).ok_or_else(wrong)?;
    }
    if text.is_empty() { Err(wrong()) } else { Ok(total) }
}

/// A span of time as kubectl shows ages: the two largest units that say something (`12s`, `3m20s`, `5h`, `2d4h`).
pub fn span(span: Duration) -> String {
    let seconds = span.as_secs();
    let two = |large: u64, unit: char, small: u64, below: char| match small {
        0 => format!("{large}{unit}"),
        _ => format!("{large}{unit}{small}{below}"),
    };
    match seconds {
        0..120 => format!("{seconds}s"),
        120..600 => two(seconds / 60, 'm', seconds % 60, 's'),
        600..10_800 => format!("{}m", seconds / 60),
        10_800..28_800 => two(seconds / 3600, 'h', seconds % 3600 / 60, 'm'),
        28_800..172_800 => format!("{}h", seconds / 3600),
        172_800..691_200 => two(seconds / 86_400, 'd', seconds % 86_400 / 3600, 'h'),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// How long ago something was; nothing passes for times that lie ahead.
pub fn age(since: Timestamp, now: Timestamp) -> String {
    span(Duration::try_from(now.duration_since(since)).unwrap_or_default())
}

/// A number of bytes, to be read at a glance: `0`, `512B`, `3.4Mi`, `120Mi`.
pub fn bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["Ki", "Mi", "Gi", "Ti", "Pi"];
    if count < 1024 {
        return if count == 0 { "0".to_owned() } else { format!("{count}B") };
    }
    let mut tenths = u128::from(count) * 10 / 1024;
    let mut unit = 0;
    while tenths >= 10_240 && unit + 1 < UNITS.len() {
        tenths /= 1024;
        unit += 1;
    }
    match tenths {
        0..100 => format!("{}.{}{}", tenths / 10, tenths % 10, UNITS[unit]),
        _ => format!("{}{}", tenths / 10, UNITS[unit]),
    }
}

/// A share of CPU time, in thousandths of a core: `0m`, `35m`, `2.4`.
pub fn cpu(millicores: u64) -> String {
    match millicores {
        0..1000 => format!("{millicores}m"),
        _ => format!("{}.{}", millicores / 1000, millicores % 1000 / 100),
    }
}

/// `1 pod`, `2 pods`.
pub fn count(number: usize, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

/// Names as a sentence has them: `a`, `a and b`, `a, b and c`; `none` where there is none.
pub fn listing<S: AsRef<str>>(names: &[S]) -> String {
    match names {
        [] => "none".to_owned(),
        [one] => one.as_ref().to_owned(),
        [first @ .., last] => {
            let first: Vec<&str> = first.iter().map(AsRef::as_ref).collect();
            format!("{} and {}", first.join(", "), last.as_ref())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_people_write_them() {
        for (text, milliseconds) in
            [("30", 30_000), ("30s", 30_000), ("0s", 0), ("1h30m", 5_400_000), ("250ms", 250), ("2d", 172_800_000)]
        {
            assert_eq!(duration(text), Ok(Duration::from_millis(milliseconds)), "{text}");
        }
        for text in ["", "s", "5x", "-3s", "1.5h", "99999999999999999999s", "5m3"] {
            assert!(duration(text).unwrap_err().contains("is no duration"), "{text}");
        }
    }

    #[test]
    fn spans_show_the_units_that_say_something() {
        for (seconds, text) in [
            (0, "0s"),
            (119, "119s"),
            (200, "3m20s"),
            (240, "4m"),
            (3600, "60m"),
            (11_000, "3h3m"),
            (30_000, "8h"),
            (200_000, "2d7h"),
            (864_000, "10d"),
        ] {
            assert_eq!(span(Duration::from_secs(seconds)), text);
        }
    }

    #[test]
    fn sizes_are_short() {
        for (count, text) in
            [(0, "0"), (512, "512B"), (3_500_000, "3.3Mi"), (125_829_120, "120Mi"), (u64::MAX, "16383Pi")]
        {
            assert_eq!(bytes(count), text);
        }
        assert_eq!((cpu(35), cpu(2400)), ("35m".to_owned(), "2.4".to_owned()));
    }

    #[test]
    fn lists_read_as_sentences() {
        assert_eq!(listing::<&str>(&[]), "none");
        assert_eq!(listing(&["a"]), "a");
        assert_eq!(listing(&["a", "b", "c"]), "a, b and c");
        assert_eq!((count(1, "pod"), count(2, "pod")), ("1 pod".to_owned(), "2 pods".to_owned()));
    }
}
