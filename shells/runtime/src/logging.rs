//! Logs go to stderr: text on a terminal, one JSON object per line elsewhere. What is logged can be changed at run time.
//!
//! A [`LogFilter`] is what configuration and the admin endpoint speak: `info`, or `info,outrigger_pods=debug`.
//!
//! What it does not do: it has no regular expressions and no filter by field, and it reads no `RUST_LOG`.

use std::fmt;
use std::io::{self, IsTerminal};
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};

use thiserror::Error;
use tracing::Subscriber;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::reload;
use tracing_subscriber::{Layer, Registry};

/// The levels, from the one that says least.
const LEVELS: [(&str, LevelFilter); 6] = [
    ("off", LevelFilter::OFF),
    ("error", LevelFilter::ERROR),
    ("warn", LevelFilter::WARN),
    ("info", LevelFilter::INFO),
    ("debug", LevelFilter::DEBUG),
    ("trace", LevelFilter::TRACE),
];

/// What is logged: a level for everything, and levels for single targets (crates, modules), as `info,hyper=warn`.
///
/// Without a level for everything it is `info`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogFilter {
    everything: LevelFilter,
    targets: Vec<(String, LevelFilter)>,
}

/// Why a text is no [`LogFilter`].
#[derive(Debug, Error, PartialEq, Eq)]
pub enum LogFilterError {
    /// A level that does not exist.
    #[error("\"{0}\" is no log level: off, error, warn, info, debug and trace are, alone or as TARGET=LEVEL")]
    Level(String),
    /// `=debug`.
    #[error("\"{0}\" names no target before its level: write TARGET=LEVEL or LEVEL")]
    NoTarget(String),
    /// Two levels for everything, or two for one target.
    #[error("\"{0}\" and another level stand for the same: one level for each")]
    Twice(String),
}

/// How a log line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text {
        /// With colors.
        color: bool,
    },
    /// One JSON object per line, for machines.
    Json,
}

/// The logs of this process could not be started, since it already has some.
#[derive(Debug, Error)]
#[error("the logs of this process were started already")]
pub struct LogsAlreadyStarted;

/// Reads and changes what is logged while the process runs. Clones change the same logs.
#[derive(Debug, Clone)]
pub struct LogLevel {
    current: Arc<Mutex<LogFilter>>,
    handle: reload::Handle<Targets, Registry>,
}

/// Starts the logs of this process on stderr. The returned value changes what is logged.
pub fn start_logging(filter: LogFilter) -> Result<LogLevel, LogsAlreadyStarted> {
    let color = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let format = LogFormat::fitting(io::stderr().is_terminal(), color);
    let (subscriber, level) = subscriber(filter, format, io::stderr);
    tracing::subscriber::set_global_default(subscriber).map_err(|_| LogsAlreadyStarted)?;
    Ok(level)
}

/// Logs to any writer: what [`start_logging`] makes for the process.
pub fn subscriber<W>(filter: LogFilter, format: LogFormat, writer: W) -> (impl Subscriber + Send + Sync, LogLevel)
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let (targets, handle) = reload::Layer::new(filter.targets());
    // A log that cannot be written is lost in silence: stderr may be a pipe that was closed.
    let lines = tracing_subscriber::fmt::layer().with_writer(writer).log_internal_errors(false);
    let lines = match format {
        LogFormat::Text { color } => lines.with_target(false).with_ansi(color).boxed(),
        LogFormat::Json => lines.json().flatten_event(true).with_current_span(false).boxed(),
    };
    let level = LogLevel { current: Arc::new(Mutex::new(filter)), handle };
    (Registry::default().with(targets).with(lines), level)
}

impl LogFormat {
    /// Text on a terminal, with colors where they are wanted; JSON elsewhere.
    pub fn fitting(is_terminal: bool, color: bool) -> Self {
        if is_terminal { Self::Text { color } } else { Self::Json }
    }
}

impl LogLevel {
    /// What is logged now.
    pub fn get(&self) -> LogFilter {
        self.current.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Logs by another filter from now on. Without effect where the logs have ended with their process.
    pub fn set(&self, filter: LogFilter) {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if self.handle.reload(filter.targets()).is_ok() {
            *current = filter;
        }
    }
}

impl LogFilter {
    fn targets(&self) -> Targets {
        Targets::new().with_default(self.everything).with_targets(self.targets.iter().cloned())
    }
}

impl Default for LogFilter {
    fn default() -> Self {
        Self { everything: LevelFilter::INFO, targets: Vec::new() }
    }
}

impl FromStr for LogFilter {
    type Err = LogFilterError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut everything = None;
        let mut targets: Vec<(String, LevelFilter)> = Vec::new();
        for part in text.split(',').map(str::trim) {
            let twice = match part.split_once('=') {
                None => everything.replace(level(part)?).is_some(),
                Some(("", _)) => return Err(LogFilterError::NoTarget(part.to_owned())),
                Some((target, name)) => {
                    let twice = targets.iter().any(|(other, _)| other == target);
                    targets.push((target.to_owned(), level(name)?));
                    twice
                }
            };
            if twice {
                return Err(LogFilterError::Twice(part.to_owned()));
            }
        }
        Ok(Self { everything: everything.unwrap_or(LevelFilter::INFO), targets })
    }
}

impl fmt::Display for LogFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.everything)?;
        self.targets.iter().try_for_each(|(target, level)| write!(f, ",{target}={level}"))
    }
}

fn level(name: &str) -> Result<LevelFilter, LogFilterError> {
    let known = LEVELS.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
    known.map(|(_, level)| *level).ok_or_else(|| LogFilterError::Level(name.to_owned()))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use tracing::subscriber::with_default;
    use tracing::{debug, info};

    use super::*;

    /// A writer whose text the test reads.
    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl Written {
        fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
        }
    }

    impl Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn start(filter: &str, format: LogFormat) -> (impl Subscriber + Send + Sync, LogLevel, Written) {
        let written = Written::default();
        let writer = written.clone();
        let (subscriber, level) = subscriber(filter.parse().unwrap(), format, move || writer.clone());
        (subscriber, level, written)
    }

    #[test]
    fn filters_are_read_and_written() {
        for (text, canonical) in [
            ("info", "info"),
            ("WARN", "warn"),
            ("warn, outrigger_pods=debug", "warn,outrigger_pods=debug"),
            ("hyper=off", "info,hyper=off"),
        ] {
            assert_eq!(text.parse::<LogFilter>().unwrap().to_string(), canonical, "{text}");
        }
    }

    #[test]
    fn a_wrong_filter_says_what_is_wrong() {
        for (text, error) in [
            ("debg", LogFilterError::Level("debg".into())),
            ("", LogFilterError::Level(String::new())),
            ("info,hyper=loud", LogFilterError::Level("loud".into())),
            ("=debug", LogFilterError::NoTarget("=debug".into())),
            ("info,debug", LogFilterError::Twice("debug".into())),
            ("a=info,a=debug", LogFilterError::Twice("a=debug".into())),
        ] {
            assert_eq!(text.parse::<LogFilter>().unwrap_err(), error, "{text}");
        }
    }

    #[test]
    fn text_is_for_people() {
        let (subscriber, _, written) = start("info", LogFormat::Text { color: false });
        with_default(subscriber, || info!(pool = "gpu", "Serving"));
        assert!(written.text().ends_with(" INFO Serving pool=\"gpu\"\n"), "{}", written.text());
    }

    #[test]
    fn json_has_the_fields_beside_the_message() {
        let (subscriber, _, written) = start("info", LogFormat::Json);
        with_default(subscriber, || info!(pool = "gpu", "Serving"));
        let text = written.text();
        assert!(text.starts_with('{') && text.ends_with("}\n") && text.lines().count() == 1, "{text}");
        assert!(text.contains("\"message\":\"Serving\",\"pool\":\"gpu\""), "{text}");
    }

    #[test]
    fn the_level_changes_at_run_time() {
        let (subscriber, level, written) = start("info", LogFormat::Json);
        with_default(subscriber, || {
            debug!("unheard");
            level.set("debug".parse().unwrap());
            debug!("heard");
            assert_eq!(level.get().to_string(), "debug");
            level.set("warn".parse().unwrap());
            info!("unheard");
        });
        assert_eq!(written.text().lines().count(), 1, "{}", written.text());
    }

    #[test]
    fn the_format_fits_the_place() {
        assert_eq!(LogFormat::fitting(true, true), LogFormat::Text { color: true });
        assert_eq!(LogFormat::fitting(true, false), LogFormat::Text { color: false });
        assert_eq!(LogFormat::fitting(false, true), LogFormat::Json);
    }
}
