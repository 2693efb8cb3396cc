//! Collects what the stages of a check tell about themselves, for `portcullis explain`.
//!
//! Stages emit trace events with the target [`TARGET`]; nobody listens when serving, so they cost
//! one comparison. Events hold no credential and no claim value.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use serde::Serialize;
use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::{Context, SubscriberExt as _};

/// The target of the events that stages emit.
pub const TARGET: &str = "portcullis::explain";

/// What one stage told.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Told {
    /// The stage.
    pub stage: String,
    /// What it found, compared and concluded.
    #[serde(flatten)]
    pub fields: Map<String, Value>,
}

#[derive(Debug, Clone, Default)]
struct Collector(Arc<Mutex<Vec<Told>>>);

/// Runs `check` on this thread and gives its result with what the stages told meanwhile.
pub fn listen<T>(check: impl FnOnce() -> T) -> (T, Vec<Told>) {
    let collector = Collector::default();
    let subscriber = tracing_subscriber::registry().with(collector.clone());
    let result = tracing::subscriber::with_default(subscriber, check);
    let told = std::mem::take(&mut *collector.0.lock().unwrap_or_else(PoisonError::into_inner));
    (result, told)
}

impl<S: Subscriber> Layer<S> for Collector {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        if event.metadata().target() != TARGET {
            return;
        }
        let mut fields = Fields::default();
        event.record(&mut fields);
        let stage = match fields.0.remove("stage") {
            Some(Value::String(stage)) => stage,
            _ => String::new(),
        };
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(Told {
                stage,
                fields: fields.0,
            });
    }
}

#[derive(Debug, Default)]
struct Fields(Map<String, Value>);

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0
            .insert(field.name().to_owned(), format!("{value:?}").into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name().to_owned(), value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.0.insert(field.name().to_owned(), value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.0.insert(field.name().to_owned(), value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.0.insert(field.name().to_owned(), value.into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_stages_tell_is_collected() {
        let (result, told) = listen(|| {
            tracing::trace!(target: TARGET, stage = "route", found = "an api", depth = 2_u64);
            tracing::error!("something else");
            7
        });
        assert_eq!(result, 7);
        assert_eq!(
            serde_json::to_value(told).unwrap(),
            serde_json::json!([{"stage": "route", "found": "an api", "depth": 2}])
        );
    }
}
