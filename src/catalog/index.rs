//! Lookups by id, key digest, app id and OAuth client; each costs the same however many there are.

use std::collections::HashMap;
use std::sync::Arc;

use jiff::Timestamp;

use crate::authentication::api_key::KeyDigest;
use crate::catalog::model::limit::Plan;
use crate::catalog::model::{Api, ApiIndex, Application, ApplicationIndex, PlanIndex};
use crate::secret::KeyedDigest;

/// What finds applications, Apis and plans.
#[derive(Debug)]
pub struct Index {
    apis: HashMap<Arc<str>, ApiIndex>,
    applications: HashMap<Arc<str>, ApplicationIndex>,
    plans: HashMap<Arc<str>, PlanIndex>,
    api_keys: HashMap<KeyedDigest, KeyOwner>,
    app_ids: HashMap<Arc<str>, ApplicationIndex>,
    clients: HashMap<Arc<str>, HashMap<Arc<str>, ApplicationIndex>>,
    workloads: HashMap<Arc<str>, ApplicationIndex>,
}

/// Whose API key it is, and until when.
#[derive(Debug, Clone, Copy)]
pub struct KeyOwner {
    /// The application.
    pub application: ApplicationIndex,
    /// When the key ends.
    pub expires: Option<Timestamp>,
}

impl Index {
    /// The index of these; ids, keys, app ids and clients are unique ([`crate::catalog::build`]).
    #[must_use]
    pub(super) fn new(apis: &[Api], applications: &[Application], plans: &[Plan]) -> Self {
        let apis = (0..)
            .zip(apis)
            .map(|(at, api)| (Arc::clone(api.id.as_arc()), ApiIndex(at)))
            .collect();
        let mut index = Self {
            apis,
            applications: HashMap::with_capacity(applications.len()),
            plans: (0..)
                .zip(plans)
                .map(|(at, plan)| (Arc::clone(plan.id.as_arc()), PlanIndex(at)))
                .collect(),
            api_keys: HashMap::new(),
            app_ids: HashMap::new(),
            clients: HashMap::new(),
            workloads: HashMap::new(),
        };
        for (at, application) in (0..).zip(applications) {
            index.add(ApplicationIndex(at), application);
        }
        index
    }

    fn add(&mut self, at: ApplicationIndex, application: &Application) {
        self.applications
            .insert(Arc::clone(application.id.as_arc()), at);
        for key in &application.api_keys {
            self.api_keys.insert(
                key.digest.keyed(),
                KeyOwner {
                    application: at,
                    expires: key.expires,
                },
            );
        }
        if let Some(app_id) = &application.app_id {
            self.app_ids.insert(Arc::clone(app_id), at);
        }
        for client in &application.clients {
            let clients = self.clients.entry(Arc::clone(&client.issuer)).or_default();
            clients.insert(Arc::clone(&client.client_id), at);
        }
        for workload in &application.workloads {
            self.workloads.insert(Arc::clone(workload.as_arc()), at);
        }
    }

    /// The Api called `namespace/name`.
    #[must_use]
    pub fn api(&self, id: &str) -> Option<ApiIndex> {
        self.apis.get(id).copied()
    }

    /// The plan called `id`.
    #[must_use]
    pub fn plan(&self, id: &str) -> Option<PlanIndex> {
        self.plans.get(id).copied()
    }

    /// The application called `namespace/name`.
    #[must_use]
    pub fn application(&self, id: &str) -> Option<ApplicationIndex> {
        self.applications.get(id).copied()
    }

    /// Whose API key has this digest.
    #[must_use]
    pub fn api_key(&self, digest: &KeyDigest) -> Option<KeyOwner> {
        self.api_keys.get(&digest.keyed()).copied()
    }

    /// The application with this app id.
    #[must_use]
    pub fn app_id(&self, app_id: &str) -> Option<ApplicationIndex> {
        self.app_ids.get(app_id).copied()
    }

    /// The application of the workload with this SPIFFE ID, under the first name of its trust domain.
    #[must_use]
    pub fn workload(&self, id: &str) -> Option<ApplicationIndex> {
        self.workloads.get(id).copied()
    }

    /// The application of this client of this issuer.
    #[must_use]
    pub fn client(&self, issuer: &str, client_id: &str) -> Option<ApplicationIndex> {
        self.clients.get(issuer)?.get(client_id).copied()
    }
}
