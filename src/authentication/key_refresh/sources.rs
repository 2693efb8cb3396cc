//! Every [`KeySource`] of the process, shared by the authenticators of all revisions.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use super::fetch::run_once;
use super::{KeyPlace, KeySource, KeySourceConfig, KeySourceStatus, Shared};
use crate::http_client::{HttpClient, HttpError};
use crate::readiness::Readiness;
use crate::task::{Schedule, Tasks};

/// A fetch takes at most two requests, each of which has its own time-out.
const FETCH_TIMEOUT: Duration = Duration::from_secs(10);
/// The wait after the first failed fetch.
const RETRY: Duration = Duration::from_secs(1);

/// The key sources in use. A reload that needs one again keeps it, with its keys; one that nobody
/// uses any more stops.
#[derive(Debug, Clone)]
pub struct KeySources(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    network: Option<Network>,
    sources: Mutex<HashMap<KeySourceConfig, Weak<KeySource>>>,
}

#[derive(Debug)]
struct Network {
    tasks: Tasks,
    readiness: Readiness,
}

impl KeySources {
    /// Sources that are fetched by `tasks`. Until the process is ready for the first time, each
    /// holds `readiness` back until it was tried once; a reload does not.
    #[must_use]
    pub fn online(tasks: Tasks, readiness: Readiness) -> Self {
        Self::new(Some(Network { tasks, readiness }))
    }

    /// Sources that are never fetched, for commands that judge without a network.
    #[must_use]
    pub fn offline() -> Self {
        Self::new(None)
    }

    /// Whether nothing is ever fetched.
    #[must_use]
    pub fn are_offline(&self) -> bool {
        self.0.network.is_none()
    }

    fn new(network: Option<Network>) -> Self {
        Self(Arc::new(Inner {
            network,
            sources: Mutex::default(),
        }))
    }

    /// The source with this configuration; its task is started where there is none yet.
    ///
    /// # Errors
    /// Where no HTTP client can be made.
    pub fn get_or_start(&self, config: KeySourceConfig) -> Result<Arc<KeySource>, HttpError> {
        let mut sources = self
            .0
            .sources
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        sources.retain(|_, source| source.strong_count() > 0);
        if let Some(source) = sources.get(&config).and_then(Weak::upgrade) {
            return Ok(source);
        }
        let taken: Vec<Arc<KeySource>> = sources.values().filter_map(Weak::upgrade).collect();
        let name = free_name(&config.place, &taken);
        let source = Arc::new(match &self.0.network {
            Some(network) => network.start(name, config.clone())?,
            None => KeySource {
                shared: Arc::new(Shared::new(name, config.clone(), None)),
                task: None,
            },
        });
        sources.insert(config, Arc::downgrade(&source));
        Ok(source)
    }

    /// What the admin API tells of each source, by name.
    #[must_use]
    pub fn statuses(&self) -> Vec<KeySourceStatus> {
        let sources = self
            .0
            .sources
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let sources: Vec<Arc<KeySource>> = sources.values().filter_map(Weak::upgrade).collect();
        let mut statuses: Vec<_> = sources.iter().map(|source| source.status()).collect();
        statuses.sort_by(|a, b| a.name.cmp(&b.name));
        statuses
    }
}

impl Network {
    fn start(&self, name: Arc<str>, config: KeySourceConfig) -> Result<KeySource, HttpError> {
        let client = HttpClient::new(config.schemes)?;
        let starting = !*self.readiness.watch().borrow();
        let latch = starting.then(|| self.readiness.hold(Arc::clone(&name)));
        let schedule = Schedule {
            interval: config.refresh_interval,
            timeout: FETCH_TIMEOUT + config.unknown_key_cooldown,
            retry: RETRY,
        };
        let shared = Arc::new(Shared::new(name, config, latch));
        let task = {
            let shared = Arc::clone(&shared);
            let name = format!("key_refresh: {}", shared.name);
            let nudge = Arc::clone(&shared.nudge);
            self.tasks.periodic(&name, schedule, nudge, move || {
                let (shared, client) = (Arc::clone(&shared), client.clone());
                async move { run_once(&shared, &client).await }
            })
        };
        Ok(KeySource {
            shared,
            task: Some(task),
        })
    }
}

/// `keys of …`, with a number where an older revision still uses the name.
fn free_name(place: &KeyPlace, taken: &[Arc<KeySource>]) -> Arc<str> {
    let plain = match place {
        KeyPlace::Discovery { issuer } => format!("keys of {issuer}"),
        KeyPlace::Jwks(address) => {
            let mut address = address.clone();
            // a query may hold a secret
            address.set_query(None);
            format!("keys of {address}")
        }
    };
    let is_free = |name: &str| taken.iter().all(|other| *other.shared.name != *name);
    if is_free(&plain) {
        return plain.into();
    }
    let numbered = (2_u32..).map(|number| format!("{plain} ({number})"));
    let free = numbered.into_iter().find(|name| is_free(name));
    free.unwrap_or(plain).into()
}
