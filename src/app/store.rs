//! The store of a configuration: opened by the process that serves, only read by other commands;
//! and who is told when it changes.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::admin::fiware::{Change, FiwareState, ProviderRules};
use crate::catalog::source::store::StoreSource;
use crate::catalog::sync::CatalogSync;
use crate::clock::Clock;
use crate::config::load::Loaded;
use crate::config::reader::Reader;
use crate::listener::fiware::{self, FiwareConfig};
use crate::problem::Problems;
use crate::snapshot::SnapshotReader;
use crate::store::error::StoreError;
use crate::store::{Store, StoreConfig};
use crate::task::Tasks;
use crate::upstream::provider::ishare::{Parties, Party};
use crate::upstream::token_cache::TokenCache;

/// How a store is had: [`Store::open`] or [`Store::read`].
pub(super) type Open = fn(&StoreConfig, &mut Reader) -> Result<Store, StoreError>;

/// The store of `loaded`, where it has one.
pub(super) fn open(loaded: &Loaded, open: Open) -> Result<Option<Store>, Problems> {
    let Some(config) = &loaded.config.store else {
        return Ok(None);
    };
    let store = open(config, &mut Reader::new(loaded.base()));
    store.map(Some).map_err(|error| {
        let message = format!("`{}`: {error}", config.path.display());
        Problems::from(loaded.document.problem("store.path", message))
    })
}

/// What a catalog source of type store reads.
pub(super) fn source(loaded: &Loaded, store: Option<&Store>) -> Option<StoreSource> {
    Some(StoreSource {
        store: store?.clone(),
        rule: fiware::rule(&loaded.config)?,
    })
}

/// The store of the process that serves, and those who use what is in it.
#[derive(Debug, Clone)]
pub(super) struct Stored {
    store: Store,
    parties: Parties,
    tokens: TokenCache,
    clock: Clock,
    /// The generation of each credential that is in use. Held while parties are read and replaced,
    /// so that the last to replace read last.
    generations: Arc<Mutex<BTreeMap<Box<str>, u64>>>,
}

impl Stored {
    /// Lets providers sign with the credentials of `store` from now on; what one that is gone, or
    /// is another now, was given for leaves `tokens`.
    pub(super) fn new(store: Store, parties: Parties, tokens: TokenCache, clock: Clock) -> Self {
        let stored = Self {
            store,
            parties,
            tokens,
            clock,
            generations: Arc::default(),
        };
        stored.refresh_parties();
        stored
    }

    fn refresh_parties(&self) {
        let before = self.generations.lock();
        let mut before = before.unwrap_or_else(PoisonError::into_inner);
        let mut generations = BTreeMap::new();
        let now = self.clock.unix_seconds();
        let mut parties = BTreeMap::new();
        for client_id in self.store.client_ids() {
            let Some(credential) = self.store.credential(&client_id) else {
                continue;
            };
            match Party::new(credential.key.expose(), &credential.certificates, None, now) {
                Ok(party) => {
                    let client_id = client_id.into_boxed_str();
                    generations.insert(client_id.clone(), credential.generation);
                    parties.insert(client_id, Arc::new(party));
                }
                Err(error) => tracing::warn!(
                    client.id = client_id,
                    error,
                    "a stored credential cannot be used"
                ),
            }
        }
        self.parties.replace(parties);
        let before = std::mem::replace(&mut *before, generations.clone());
        let changed = |party: &str| before.get(party) != generations.get(party);
        let evicted = self.tokens.evict(|held| {
            let party = held.want().target.party.as_deref();
            party.is_some_and(changed)
        });
        if evicted > 0 {
            tracing::info!(evicted, "tokens of credentials that changed are forgotten");
        }
    }

    /// What FIWARE's management API needs.
    pub(super) fn fiware_state(
        &self,
        fiware: &FiwareConfig,
        sync: &Arc<CatalogSync>,
        snapshots: &SnapshotReader,
        tasks: &Tasks,
    ) -> FiwareState {
        let (rules, provider) = (Arc::clone(sync), fiware.provider.clone());
        let (hurried, stored) = (Arc::clone(sync), self.clone());
        let judging = Arc::clone(sync);
        FiwareState {
            store: self.store.clone(),
            source: fiware.source.as_str().into(),
            snapshots: snapshots.clone(),
            provider: Arc::new(move |url| {
                let config = rules.config();
                let ishare = fiware::ishare(&config, &provider);
                ProviderRules {
                    allows_token_url: ishare.is_some_and(|ishare| ishare.allows(url)),
                    party: ishare.and_then(|ishare| ishare.party.clone()),
                }
            }),
            admit: Arc::new(move |stored, new| judging.admit(stored, new)),
            changed: Arc::new(move |change| match change {
                Change::Endpoints => hurried.hurry(),
                Change::Credentials => stored.refresh_parties(),
            }),
            clock: self.clock.clone(),
            tasks: tasks.clone(),
        }
    }
}
