//! One application of its document; its credentials are nobody else's.

use std::sync::Arc;

use crate::authentication::api_key::KeyDigest;
use crate::catalog::build::origin;
use crate::catalog::build::report::{Report, Site, Spot, Unique};
use crate::catalog::model::{ApiKey, Application, ApplicationId, ApplicationState, Client};
use crate::catalog::source::choice::ApplicationStateDocument;
use crate::catalog::source::document::{ApplicationDocument, ApplicationSpec};
use crate::config::findings::Findings;
use crate::spiffe::SpiffeId;
use crate::spiffe::config::Mesh;

/// The credentials of every application.
#[derive(Debug, Default)]
pub(super) struct Credentials<'a> {
    api_keys: Unique<'a, KeyDigest>,
    app_ids: Unique<'a, Arc<str>>,
    clients: Unique<'a, Client>,
    workloads: Unique<'a, SpiffeId>,
}

/// The application of `document`, without its subscriptions; reports what is wrong with it.
pub(super) fn build<'a>(
    site: Site<'a>,
    document: &ApplicationDocument,
    (credentials, mesh): (&mut Credentials<'a>, &Mesh),
    report: &mut Report,
) -> Option<Application> {
    let mut findings = Findings::new();
    let application = findings.within("spec", |findings| read(site, document, mesh, findings));
    report.add(site, &findings);
    credentials.claim(site, &application, report);
    (findings.count() == 0).then_some(application)
}

fn read(
    site: Site<'_>,
    document: &ApplicationDocument,
    mesh: &Mesh,
    findings: &mut Findings,
) -> Application {
    let spec = &document.spec;
    if spec.app_id.is_none() && !spec.app_keys.is_empty() {
        findings.wrong("appKeys", "app keys go with an `appId`");
    }
    if spec.app_id.as_deref() == Some("") {
        findings.wrong("appId", "it must not be empty");
    }
    Application {
        id: ApplicationId::new(&document.metadata.namespace, &document.metadata.name),
        owner: spec.owner.as_deref().map(Into::into),
        state: match spec.state {
            ApplicationStateDocument::Active => ApplicationState::Active,
            ApplicationStateDocument::Suspended => ApplicationState::Suspended,
        },
        clients: clients(spec, findings),
        api_keys: api_keys(spec, findings),
        app_id: spec.app_id.as_deref().map(Into::into),
        app_keys: app_keys(spec, findings),
        workloads: workloads(spec, mesh, findings),
        plan: None,
        subscriptions: std::collections::BTreeMap::new(),
        origin: origin(site),
    }
}

fn clients(spec: &ApplicationSpec, findings: &mut Findings) -> Vec<Client> {
    for (at, client) in spec.clients.iter().enumerate() {
        for (field, text) in [("issuer", &client.issuer), ("clientId", &client.client_id)] {
            if text.is_empty() {
                findings.wrong(&format!("clients[{at}].{field}"), "it must not be empty");
            }
        }
    }
    let clients = spec.clients.iter().map(|client| Client {
        issuer: client.issuer.as_str().into(),
        client_id: client.client_id.as_str().into(),
    });
    clients.collect()
}

/// Each under the first name of its trust domain, by which it is looked up.
fn workloads(spec: &ApplicationSpec, mesh: &Mesh, findings: &mut Findings) -> Vec<SpiffeId> {
    let mut workloads = Vec::with_capacity(spec.workloads.len());
    for (at, text) in spec.workloads.iter().enumerate() {
        let path = format!("workloads[{at}]");
        match SpiffeId::parse(text) {
            Ok(id) if id.path().is_empty() => {
                findings.wrong(
                    &path,
                    format!("`{text}` is a trust domain, and no workload"),
                );
            }
            Ok(id) => workloads.push(mesh.canonical(id)),
            Err(error) => findings.wrong(&path, format!("`{text}`: {error}")),
        }
    }
    workloads
}

fn api_keys(spec: &ApplicationSpec, findings: &mut Findings) -> Vec<ApiKey> {
    let keys = spec.api_keys.iter().enumerate().filter_map(|(at, key)| {
        Some(ApiKey {
            name: key.name.as_deref().map(Into::into),
            digest: digest(&format!("apiKeys[{at}].digest"), &key.digest, findings)?,
            expires: key.expires,
        })
    });
    keys.collect()
}

fn app_keys(spec: &ApplicationSpec, findings: &mut Findings) -> Vec<KeyDigest> {
    let mut digests = Vec::with_capacity(spec.app_keys.len());
    for (at, key) in spec.app_keys.iter().enumerate() {
        let path = format!("appKeys[{at}].digest");
        if let Some(digest) = digest(&path, &key.digest, findings) {
            if digests.contains(&digest) {
                findings.wrong(&path, "this key stands twice");
            }
            digests.push(digest);
        }
    }
    digests
}

/// Reads a digest. What stands there is not told: it may be the key.
fn digest(path: &str, text: &str, findings: &mut Findings) -> Option<KeyDigest> {
    let parsed = KeyDigest::parse(text);
    parsed
        .map_err(|error| findings.wrong(path, error.to_string()))
        .ok()
}

impl<'a> Credentials<'a> {
    fn claim(&mut self, site: Site<'a>, application: &Application, report: &mut Report) {
        let spot = |list, at, leaf| Spot {
            site,
            list,
            at,
            leaf,
        };
        for (at, key) in application.api_keys.iter().enumerate() {
            let spot = spot("spec.apiKeys", Some(at), ".digest");
            self.api_keys
                .claim(key.digest, spot, "this api key", report);
        }
        if let Some(app_id) = &application.app_id {
            let spot = spot("spec.appId", None, "");
            self.app_ids
                .claim(Arc::clone(app_id), spot, "this app id", report);
        }
        for (at, client) in application.clients.iter().enumerate() {
            let spot = spot("spec.clients", Some(at), "");
            self.clients
                .claim(client.clone(), spot, "this client of this issuer", report);
        }
        for (at, workload) in application.workloads.iter().enumerate() {
            let spot = spot("spec.workloads", Some(at), "");
            self.workloads
                .claim(workload.clone(), spot, "this workload", report);
        }
    }
}
