//! One immutable published state: the catalog and everything prepared from it and from the
//! reloadable part of the configuration. A request reads one snapshot from start to end.
//!
//! Nothing here decides: it only puts what the stages need side by side.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::{ArcSwap, Guard};

use crate::authentication::Authenticator;
use crate::authentication::credential::CredentialPlace;
use crate::catalog::Catalog;
use crate::catalog::model::{Api, ApiIndex, OperationIndex};
use crate::check::response::ApiAnswers;
use crate::secret::hexadecimal;
use crate::spiffe::config::Mesh;
use crate::upstream::mutations::{OwnedHeaders, PreparedMutations};
use crate::upstream::provide::PreparedCredential;
use crate::upstream::provider::Providers;
use crate::usage::PermitCounter;

/// The authenticators of the configuration, by name; `anonymous` is always among them.
pub type Authenticators = HashMap<Arc<str>, Arc<Authenticator>>;

/// One published state.
#[derive(Debug)]
pub struct Snapshot {
    revision: Revision,
    catalog: Catalog,
    apis: Vec<PreparedApi>,
    owned: OwnedHeaders,
    authenticators: Authenticators,
    providers: Providers,
    mesh: Arc<Mesh>,
}

/// What the configuration builds beside the catalog.
#[derive(Debug, Clone, Default)]
pub struct Configured {
    /// The authenticators.
    pub authenticators: Authenticators,
    /// The providers.
    pub providers: Providers,
    /// Whose identities count.
    pub mesh: Arc<Mesh>,
}

/// Which state it is: a digest of every document and of the reloadable configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revision(Arc<str>);

/// What the stages need of one Api, prepared when it was published.
#[derive(Debug)]
pub struct PreparedApi {
    admission: Admission,
    /// For the operations that have authenticators of their own.
    operations: Vec<Option<Admission>>,
    mutations: PreparedMutations,
    credentials: Vec<PreparedCredential>,
    places: Vec<CredentialPlace>,
    permits: PermitCounter,
}

/// Who is asked about callers, and what callers are told about that.
#[derive(Debug)]
pub struct Admission {
    /// The authenticators, in order.
    pub authenticators: Vec<Arc<Authenticator>>,
    /// What the answers have in common.
    pub answers: ApiAnswers,
}

impl Snapshot {
    /// Prepares `catalog` for the stages. Every authenticator and provider that an Api names is in
    /// `configured` ([`crate::catalog::build`] has checked that).
    #[must_use]
    pub fn new(revision: Revision, catalog: Catalog, configured: &Configured) -> Self {
        let Configured {
            authenticators,
            providers,
            mesh,
        } = configured;
        let named = |names: &[Arc<str>]| -> Vec<Arc<Authenticator>> {
            names
                .iter()
                .filter_map(|name| authenticators.get(name))
                .map(Arc::clone)
                .collect()
        };
        let apis = catalog.apis().iter().map(|api| {
            let admission = |names: &[Arc<str>]| Admission::new(api, named(names));
            let operations = api.operations.iter();
            PreparedApi::new(
                api,
                admission(&api.authenticators),
                operations
                    .map(|operation| operation.authenticators.as_deref().map(admission))
                    .collect(),
                providers,
            )
        });
        let apis = apis.collect();
        Self {
            revision,
            owned: OwnedHeaders::of(&catalog),
            apis,
            catalog,
            authenticators: authenticators.clone(),
            providers: providers.clone(),
            mesh: Arc::clone(mesh),
        }
    }

    /// Which state it is.
    #[must_use]
    pub fn revision(&self) -> &Revision {
        &self.revision
    }

    /// The catalog.
    #[must_use]
    pub fn catalog(&self) -> &Catalog {
        &self.catalog
    }

    /// The authenticator called `name`, whether or not an Api names it.
    #[must_use]
    pub fn authenticator(&self, name: &str) -> Option<&Arc<Authenticator>> {
        self.authenticators.get(name)
    }

    /// The providers.
    #[must_use]
    pub fn providers(&self) -> &Providers {
        &self.providers
    }

    /// Whose identities count.
    #[must_use]
    pub fn mesh(&self) -> &Mesh {
        &self.mesh
    }

    /// The credentials of every Api's upstream.
    pub fn credentials(&self) -> impl Iterator<Item = (&Api, &PreparedCredential)> {
        let apis = self.catalog.apis().iter().zip(&self.apis);
        apis.flat_map(|(api, prepared)| {
            let credentials = prepared.credentials.iter();
            credentials.map(move |credential| (api, credential))
        })
    }

    /// The headers that are ours.
    #[must_use]
    pub fn owned_headers(&self) -> &OwnedHeaders {
        &self.owned
    }

    /// What the stages need of the Api at `index`.
    #[must_use]
    pub fn prepared(&self, index: ApiIndex) -> Option<&PreparedApi> {
        self.apis.get(usize::try_from(index.0).ok()?)
    }
}

impl PreparedApi {
    fn new(
        api: &Api,
        admission: Admission,
        operations: Vec<Option<Admission>>,
        providers: &Providers,
    ) -> Self {
        let mut places: Vec<CredentialPlace> = Vec::new();
        for admission in std::iter::once(&admission).chain(operations.iter().flatten()) {
            let asked = admission.authenticators.iter();
            for place in asked.flat_map(|authenticator| authenticator.places()) {
                if !places.contains(place) {
                    places.push(place.clone());
                }
            }
        }
        Self {
            admission,
            operations,
            mutations: PreparedMutations::of(api),
            credentials: api
                .upstream
                .credentials
                .iter()
                .filter_map(|rule| PreparedCredential::of(rule, &api.hosts, providers))
                .collect(),
            places,
            permits: PermitCounter::default(),
        }
    }

    /// Counts its permitted checks.
    #[must_use]
    pub fn permits(&self) -> &PermitCounter {
        &self.permits
    }

    /// The credentials that its upstream sees.
    #[must_use]
    pub fn credentials(&self) -> &[PreparedCredential] {
        &self.credentials
    }

    /// Every place where an authenticator of the Api or of one of its operations looks.
    #[must_use]
    pub fn places(&self) -> &[CredentialPlace] {
        &self.places
    }

    /// Who is asked about callers of `operation`: its own authenticators, else the Api's.
    #[must_use]
    pub fn admission(&self, operation: Option<OperationIndex>) -> &Admission {
        let own = operation.and_then(|operation| {
            let operation = usize::try_from(operation.0).ok()?;
            self.operations.get(operation)?.as_ref()
        });
        own.unwrap_or(&self.admission)
    }

    /// The removals that every allowed request gets.
    #[must_use]
    pub fn mutations(&self) -> &PreparedMutations {
        &self.mutations
    }
}

impl Admission {
    fn new(api: &Api, authenticators: Vec<Arc<Authenticator>>) -> Self {
        let answers = ApiAnswers::of(api, authenticators.iter().map(AsRef::as_ref));
        Self {
            authenticators,
            answers,
        }
    }
}

impl Revision {
    /// The revision with this digest, in hexadecimal.
    #[must_use]
    pub fn new(digest: &[u8]) -> Self {
        Self(hexadecimal(digest).into())
    }

    /// The digest, in hexadecimal.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Hands out the current snapshot; publishing swaps it once.
#[derive(Debug, Clone)]
pub struct SnapshotReader {
    current: Arc<ArcSwap<Snapshot>>,
    retired: Arc<Mutex<Vec<Arc<Snapshot>>>>,
}

impl SnapshotReader {
    /// Hands out `first` until another is published.
    #[must_use]
    pub fn new(first: Snapshot) -> Self {
        Self {
            current: Arc::new(ArcSwap::from_pointee(first)),
            retired: Arc::default(),
        }
    }

    /// The current snapshot, to keep.
    #[must_use]
    pub fn current(&self) -> Arc<Snapshot> {
        self.current.load_full()
    }

    /// The current snapshot, for as long as one check takes. Threads that borrow it do not write
    /// to a place that they share.
    #[must_use]
    pub fn borrow(&self) -> Guard<Arc<Snapshot>> {
        self.current.load()
    }

    /// Makes `next` the current snapshot. The one before is kept until [`SnapshotReader::sweep`].
    pub fn publish(&self, next: Snapshot) {
        let before = self.current.swap(Arc::new(next));
        self.retired().push(before);
    }

    /// Drops the snapshots that no check reads any more: a large one takes a while to take apart,
    /// which must not be a check's time.
    pub fn sweep(&self) {
        self.retired()
            .retain(|snapshot| Arc::strong_count(snapshot) > 1);
    }

    fn retired(&self) -> MutexGuard<'_, Vec<Arc<Snapshot>>> {
        self.retired.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::Contents;

    #[test]
    fn a_snapshot_stays_whole_until_its_last_check_is_done_and_it_is_swept() {
        let snapshot = |revision: u8| {
            let empty = Catalog::new(Contents::default());
            Snapshot::new(Revision::new(&[revision]), empty, &Configured::default())
        };
        let reader = SnapshotReader::new(snapshot(1));
        let under_way = reader.current();
        reader.publish(snapshot(2));
        reader.sweep();
        assert_eq!(
            (under_way.revision().as_str(), reader.retired().len()),
            ("01", 1)
        );
        assert_eq!(reader.current().revision().as_str(), "02");
        drop(under_way);
        reader.sweep();
        assert!(reader.retired().is_empty());
    }
}
