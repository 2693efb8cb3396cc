//! The store of a configuration: opened by the process that serves, only read by other commands.

use crate::admin::fiware;
use crate::catalog::source::store::StoreSource;
use crate::config::load::Loaded;
use crate::config::reader::Reader;
use crate::problem::Problems;
use crate::store::error::StoreError;
use crate::store::{Store, StoreConfig};

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
        rule: fiware::config::of(&loaded.config)?.rule(),
    })
}
