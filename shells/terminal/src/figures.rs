//! Ages, sizes and shares of CPU time, short enough for a column.
//!
//! What it does not do: it asks no clock and writes nothing.

use std::time::Duration;

use jiff::Timestamp;

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

#[cfg(test)]
mod tests {
    use super::*;

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
}
