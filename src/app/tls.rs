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

/// What one listener's handshakes are made with at the start.
#[derive(Debug)]
pub(crate) enum First {
    /// What its files hold, and a digest of it.
    Files(TlsFiles, [u8; 32], Material),
}

/// What each listener with TLS begins with.
pub(crate) type Firsts = BTreeMap<Arc<str>, First>;

/// Reads the files of all listeners with TLS.
///
/// # Errors
/// Everything that is wrong in them.
pub(crate) fn read(loaded: &Loaded, clock: &Clock) -> Result<Firsts, Problems> {
    let mut findings = Findings::new();
    let mut firsts = Firsts::new();
    for (name, listener) in &loaded.config.listeners {
        let Some(config) = listener.tls() else {
            continue;
        };
        let name: Arc<str> = name.as_str().into();
        let place = FilesFor {
            listener: Arc::clone(&name),
            protocol: protocol(listener),
            base: loaded.base(),
            domains: own_domains(&loaded.config),
            clock: clock.clone(),
        };
        let Some(files) = TlsFiles::new(config, place) else {
            continue;
        };
        match files.load() {
            Ok((digest, material)) => {
                firsts.insert(name, First::Files(files, digest, material));
            }
            Err(error) => {
                let path = format!("listeners.{name}.tls.{}", error.path);
                findings.wrong(&path, error.message);
            }
        }
    }
    loaded.document.problems(&findings).into_result(firsts)
}

/// What each listener makes its handshakes with, kept in step with its source.
pub(super) fn start(firsts: Firsts, around: Around<'_>) -> BTreeMap<Arc<str>, ServerTls> {
    let started = firsts.into_iter().map(|(name, first)| {
        let (publish, current) = watch::channel(Arc::new(Material::none()));
        match first {
            First::Files(files, digest, material) => {
                publish.send_replace(Arc::new(material));
                files.watch(digest, publish, around.tasks).keep();
            }
        }
        let tls = ServerTls::new(&name, current, around.clock.clone(), around.metrics);
        (name, tls)
    });
    started.collect()
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
