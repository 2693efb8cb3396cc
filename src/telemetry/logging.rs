//! The process log, on standard error: JSON or text, one line an event, the level changeable while
//! it runs. Decisions have a log of their own ([`crate::usage::decision_log`]).
//
// INVARIANT: no control character of a logged value reaches the output, so that nobody can forge a
// line or drive a terminal; the target of `explain` is silent unless it is asked for by name.

use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tracing::Subscriber;
use tracing::metadata::LevelFilter;
use tracing_subscriber::filter::{EnvFilter, ParseError};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::{Layer as _, Registry, reload};

use crate::config::findings::Findings;
use crate::telemetry::escape::Escaped;

/// What `explain` listens to; it holds what a request carried.
const EXPLAIN_TARGET: &str = "portcullis::explain";

/// The log.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct LogConfig {
    /// How events are written.
    pub format: LogFormat,
    /// What is logged: `error`, `warn`, `info`, `debug`, `trace`, or several for targets, such as
    /// `info,portcullis::catalog=debug`.
    pub level: String,
}

/// How events are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// One line of text, for people.
    Text,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self {
            format: LogFormat::Json,
            level: "info".to_owned(),
        }
    }
}

impl LogConfig {
    /// Finds what is wrong.
    pub fn check(&self, findings: &mut Findings) {
        if let Err(error) = filter(&self.level) {
            findings.wrong("level", error.to_string());
        }
    }

    /// Makes this the log of the process, on standard error.
    ///
    /// # Errors
    /// Where the level cannot be read, or the process has a log already.
    pub fn install(&self) -> anyhow::Result<LogLevel> {
        let (subscriber, level) = self.build(io::stderr)?;
        tracing::subscriber::set_global_default(subscriber)?;
        Ok(level)
    }

    /// The log that writes to `writer`.
    ///
    /// # Errors
    /// Where the level cannot be read.
    pub fn build<W>(
        &self,
        writer: W,
    ) -> Result<(impl Subscriber + Send + Sync + 'static, LogLevel), LevelError>
    where
        W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
    {
        let (filter, handle) = reload::Layer::new(filter(&self.level)?);
        let layer = tracing_subscriber::fmt::layer()
            .with_ansi(false)
            .with_writer(Escaped(writer));
        let layer = match self.format {
            LogFormat::Json => layer.json().flatten_event(true).boxed(),
            LogFormat::Text => layer.boxed(),
        };
        let level = LogLevel {
            handle,
            text: Arc::new(Mutex::new(self.level.clone())),
        };
        Ok((Registry::default().with(filter).with(layer), level))
    }
}

/// Why a level cannot be set.
#[derive(Debug, thiserror::Error)]
pub enum LevelError {
    /// It cannot be read.
    #[error("`{0}` is no level: write error, warn, info, debug or trace, or target=level")]
    Unreadable(String, #[source] Option<ParseError>),
    /// The log is gone.
    #[error("the log cannot be changed")]
    Gone(#[from] reload::Error),
}

/// Changes what is logged.
#[derive(Clone)]
pub struct LogLevel {
    handle: reload::Handle<EnvFilter, Registry>,
    text: Arc<Mutex<String>>,
}

impl LogLevel {
    /// What is logged.
    #[must_use]
    pub fn current(&self) -> String {
        self.text
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Logs this from now on.
    ///
    /// # Errors
    /// Where the level cannot be read.
    pub fn set(&self, level: &str) -> Result<(), LevelError> {
        let mut text = self.text.lock().unwrap_or_else(PoisonError::into_inner);
        self.handle.reload(filter(level)?)?;
        level.clone_into(&mut text);
        Ok(())
    }
}

impl fmt::Debug for LogLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("LogLevel").field(&self.current()).finish()
    }
}

fn filter(level: &str) -> Result<EnvFilter, LevelError> {
    let names_a_level = |part: &str| {
        let level = part.rsplit_once('=').map_or(part, |(_, level)| level);
        !level.is_empty() && level.parse::<LevelFilter>().is_ok()
    };
    if !level.split(',').map(str::trim).all(names_a_level) {
        return Err(LevelError::Unreadable(level.to_owned(), None));
    }
    let directives = if level.contains(EXPLAIN_TARGET) {
        level.to_owned()
    } else {
        format!("{level},{EXPLAIN_TARGET}=off")
    };
    EnvFilter::builder()
        .parse(directives)
        .map_err(|error| LevelError::Unreadable(level.to_owned(), Some(error)))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[derive(Debug, Clone, Default)]
    struct Captured(Arc<Mutex<Vec<u8>>>);

    impl Captured {
        fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
        }
    }

    impl Write for Captured {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(format: LogFormat, level: &str, events: impl FnOnce(&LogLevel)) -> String {
        let captured = Captured::default();
        let writer = captured.clone();
        let config = LogConfig {
            format,
            level: level.to_owned(),
        };
        let (subscriber, level) = config.build(move || writer.clone()).unwrap();
        tracing::subscriber::with_default(subscriber, || events(&level));
        captured.text()
    }

    #[test]
    fn events_are_one_json_object_a_line() {
        let text = logged(LogFormat::Json, "info", |_| {
            tracing::info!(api.id = "default/a", "loaded\nforged \u{1b}[31m \u{9b}31m");
        });
        assert_eq!(text.lines().count(), 1, "{text}");
        let event: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(event["api.id"], "default/a");
        assert_eq!(event["level"], "INFO");
        assert!(event["message"].as_str().unwrap().starts_with("loaded\n"));
        assert!(!text.trim_end().contains(char::is_control));
    }

    #[test]
    fn control_characters_do_not_reach_the_text() {
        let text = logged(LogFormat::Text, "info", |_| {
            tracing::info!(host = %"a\r\nINFO forged\u{1b}[2J\u{9b}", "seen");
        });
        assert_eq!(text.lines().count(), 1, "{text}");
        assert!(!text.trim_end().contains(char::is_control), "{text}");
        assert!(
            text.contains("seen") && text.contains("\\u000d\\u000aINFO"),
            "{text}"
        );
    }

    #[test]
    fn the_level_changes_while_it_runs() {
        let text = logged(LogFormat::Text, "info", |level| {
            tracing::debug!("one");
            level.set("debug").unwrap();
            tracing::debug!("two");
            assert!(level.set("loud").is_err() && level.set("info,").is_err());
            assert_eq!(level.current(), "debug");
        });
        assert!(!text.contains("one") && text.contains("two"), "{text}");
    }

    #[test]
    fn what_explain_hears_is_logged_only_when_asked_for_by_name() {
        let event = |_: &LogLevel| tracing::trace!(target: "portcullis::explain", "seen");
        assert_eq!(logged(LogFormat::Text, "trace", event), "");
        let asked = logged(LogFormat::Text, "info,portcullis::explain=trace", event);
        assert!(asked.contains("seen"));
    }

    #[test]
    fn a_level_that_cannot_be_read_is_found() {
        let mut findings = Findings::new();
        let config: super::super::TelemetryConfig =
            serde_json::from_str(r#"{"log":{"level":"loud"}}"#).unwrap();
        config.check(&mut findings);
        assert_eq!(findings.found()[0].path, "log.level");
        assert!(serde_json::from_str::<LogConfig>(r#"{"colour":true}"#).is_err());
    }
}
