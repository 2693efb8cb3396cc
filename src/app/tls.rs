//! The TLS of the listeners: read at the start, and kept in step with files and SVIDs.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::watch;

use crate::app::revocation::Around;
use crate::clock::Clock;
use crate::config::Config;
use crate::config::findings::Findings;
use crate::config::load::Loaded;
use crate::listener::ListenerConfig;
use crate::problem::Problems;
use crate::spiffe::TrustDomain;
use crate::tls::ServerTls;
use crate::tls::files::{FilesFor, TlsFiles};
use crate::tls::material::{Material, Protocol};
use crate::tls::svid::SvidTls;
use crate::workload_api::WorkloadApi;

/// The files of a listener, a digest of what they hold, and what handshakes are made with by it.
pub(crate) type FirstRead = (TlsFiles, [u8; 32], Material);

/// Reads the files of all listeners with TLS.
///
/// # Errors
/// Everything that is wrong in them.
pub(crate) fn read(loaded: &Loaded, clock: &Clock) -> Result<Vec<FirstRead>, Problems> {
    let mut findings = Findings::new();
    let mut first = Vec::new();
    for (name, listener) in &loaded.config.listeners {
        let Some(config) = listener.tls() else {
            continue;
        };
        let place = FilesFor {
            listener: name.as_str().into(),
            protocol: protocol(listener),
            base: loaded.base(),
            domains: own_domains(&loaded.config),
            clock: clock.clone(),
        };
        let Some(files) = TlsFiles::new(config, place) else {
            continue;
        };
        match files.load() {
            Ok((digest, material)) => first.push((files, digest, material)),
            Err(error) => {
                let path = format!("listeners.{name}.tls.{}", error.path);
                findings.wrong(&path, error.message);
            }
        }
    }
    loaded.document.problems(&findings).into_result(first)
}

/// What each listener makes its handshakes with, kept in step with its files or with `workload_api`.
///
/// # Errors
/// What is wrong in the files, or that nobody says where the Workload API answers.
pub(super) fn start(
    loaded: &Loaded,
    workload_api: Option<&WorkloadApi>,
    around: Around<'_>,
) -> Result<BTreeMap<Arc<str>, ServerTls>, Problems> {
    let mut started = BTreeMap::new();
    let tls = |name: &Arc<str>, current| {
        ServerTls::new(name, current, around.clock.clone(), around.metrics)
    };
    for (files, digest, material) in read(loaded, around.clock)? {
        let name = Arc::clone(files.listener());
        let (publish, current) = watch::channel(Arc::new(material));
        files.watch(digest, publish, around.tasks).keep();
        started.insert(Arc::clone(&name), tls(&name, current));
    }
    let mut findings = Findings::new();
    let mesh = Arc::new(loaded.config.spiffe.mesh());
    for (name, listener) in &loaded.config.listeners {
        if listener.tls().is_none_or(|tls| tls.spiffe.is_none()) {
            continue;
        }
        let Some(workload_api) = workload_api else {
            let path = format!("listeners.{name}.tls.spiffe");
            let why = "needs `spiffe.endpoint`, or SPIFFE_ENDPOINT_SOCKET in the environment";
            findings.wrong(&path, why);
            continue;
        };
        let name: Arc<str> = name.as_str().into();
        let svid = SvidTls {
            listener: Arc::clone(&name),
            protocol: protocol(listener),
            asks_clients: asks_clients(listener),
            mesh: Arc::clone(&mesh),
        };
        if matches!(listener, ListenerConfig::Check(_)) {
            workload_api.insist_on_svid();
        }
        let (publish, current) = watch::channel(Arc::new(Material::none()));
        let following = svid.follow(workload_api.x509(), publish);
        let task = format!("tls/{name}");
        around.tasks.streaming(&task, following).keep();
        started.insert(Arc::clone(&name), tls(&name, current));
    }
    loaded.document.problems(&findings).into_result(started)
}

/// Whether who connects must show an SVID: strangers, who have none, read keys and end sessions.
fn asks_clients(listener: &ListenerConfig) -> bool {
    match listener {
        ListenerConfig::Check(_) | ListenerConfig::Admin(_) => true,
        ListenerConfig::Observe(_) | ListenerConfig::Jwks(_) | ListenerConfig::Logout(_) => false,
    }
}

fn protocol(listener: &ListenerConfig) -> Protocol {
    match listener {
        ListenerConfig::Check(_) => Protocol::Http2,
        ListenerConfig::Admin(_)
        | ListenerConfig::Observe(_)
        | ListenerConfig::Jwks(_)
        | ListenerConfig::Logout(_) => Protocol::Http1,
    }
}

/// The mesh's own trust domain with its other names, where the configuration says it: authorities in
/// a file are believed about its workloads alone.
fn own_domains(config: &Config) -> Option<Vec<TrustDomain>> {
    let mesh = config.spiffe.mesh();
    mesh.trust_domain.as_ref()?;
    Some(mesh.aliases.names().cloned().collect())
}
