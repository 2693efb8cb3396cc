//! Workloads by the certificate of their connection, as Envoy verified it: the SPIFFE ID, or, from
//! outside of any trust domain, a DNS name or the subject.
//!
//! Nothing is verified here but whether the name counts; who says it is what [`super::workload`] knows.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::authentication::config::BuildContext;
use crate::authentication::principal::{
    ClientIdentity, Identity, Method, Principal, SubscriptionSource,
};
use crate::authentication::workload::{self, Workload};
use crate::authentication::{Challenge, Outcome};
use crate::catalog::Catalog;
use crate::catalog::model::HostPattern;
use crate::check::decision::{Denial, Reason};
use crate::check::request::{DownstreamRequest, Host};
use crate::config::findings::Findings;
use crate::spiffe::config::{Mesh, SpiffeConfig};
use crate::spiffe::{SpiffeId, TrustDomain};

/// Takes workloads by the certificate of their connection. It says who calls; whom an Api is for is
/// its `from`, or a subscription of the application that has the workload.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct MtlsConfig {
    /// The trust domains whose SPIFFE IDs count; left out, the mesh's own, its other names, and those
    /// that it is federated with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trust_domains: Option<Vec<String>>,
    /// Of certificates without a SPIFFE ID: DNS names that count, `partner.example` or
    /// `*.partner.example`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub dns_names: Vec<String>,
    /// Of certificates without a SPIFFE ID and DNS name: subjects that count, as Envoy writes them
    /// (RFC 2253), such as `CN=pump,O=Partner`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub subjects: Vec<String>,
}

impl MtlsConfig {
    /// Finds what is wrong, without reading anything else.
    pub fn check(&self, findings: &mut Findings) {
        for (at, name) in self.trust_domains.iter().flatten().enumerate() {
            if let Err(error) = TrustDomain::parse(name) {
                findings.wrong(&format!("trustDomains[{at}]"), format!("`{name}`: {error}"));
            }
        }
        for (at, name) in self.dns_names.iter().enumerate() {
            let path = format!("dnsNames[{at}]");
            match HostPattern::parse(name) {
                Ok(HostPattern::Any) => findings.wrong(&path, "`*` would be everybody"),
                Ok(HostPattern::Exact(_) | HostPattern::Suffix(_)) => {}
                Err(why) => findings.wrong(&path, why),
            }
        }
        for (at, subject) in self.subjects.iter().enumerate() {
            if !subject.contains('=') {
                let why = "is no subject, such as `CN=pump,O=Partner`";
                findings.wrong(&format!("subjects[{at}]"), why);
            }
        }
        let none = self.trust_domains.as_ref().is_some_and(Vec::is_empty);
        if none && self.dns_names.is_empty() && self.subjects.is_empty() {
            findings.wrong("trustDomains", "name one at least: nobody would be taken");
        }
    }

    /// Finds what is wrong between it and the `spiffe` section.
    pub fn check_mesh(&self, spiffe: &SpiffeConfig, findings: &mut Findings) {
        let names_any = !(self.dns_names.is_empty() && self.subjects.is_empty());
        if self.trust_domains.is_none()
            && !names_any
            && spiffe.trust_domain.is_none()
            && spiffe.federated.is_empty()
        {
            let why = "name the trust domains that count, here or as `spiffe.trustDomain`";
            findings.wrong("trustDomains", why);
        }
    }
}

/// Takes workloads by the certificate of their connection.
#[derive(Debug)]
pub struct MtlsAuthenticator {
    name: Arc<str>,
    trust_domains: Option<Vec<TrustDomain>>,
    dns_names: Vec<HostPattern>,
    subjects: Vec<String>,
}

impl MtlsAuthenticator {
    pub(super) fn build(config: &MtlsConfig, name: &str, _: &mut BuildContext<'_>) -> Option<Self> {
        let domains = config.trust_domains.as_ref().map(|names| {
            let names = names.iter().map(|name| TrustDomain::parse(name).ok());
            names.collect::<Option<Vec<_>>>()
        });
        let dns_names = config.dns_names.iter();
        Some(Self {
            name: name.into(),
            trust_domains: match domains {
                None => None,
                Some(names) => Some(names?),
            },
            dns_names: dns_names
                .map(|name| HostPattern::parse(name).ok())
                .collect::<Option<_>>()?,
            subjects: config.subjects.clone(),
        })
    }

    /// Its name in the configuration.
    #[must_use]
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// Its challenge.
    #[must_use]
    pub fn challenge(&self) -> Challenge {
        Challenge::ClientCertificate
    }

    /// Takes the workload that calls, where its certificate says one that counts. One that does not
    /// may still show a credential of another kind.
    #[must_use]
    pub fn authenticate(
        &self,
        request: &DownstreamRequest,
        catalog: &Catalog,
        mesh: &Mesh,
    ) -> Outcome<'_> {
        let not_mine = |why| Outcome::NotMine(Denial::new(Reason::CertificateUntrusted, why));
        match workload::caller(request, mesh) {
            Err(denial) => Outcome::Stopped(denial.into()),
            Ok(None) => Outcome::Absent,
            Ok(Some(Workload::Spiffe(id))) => {
                if !self.takes(&id, mesh) {
                    return not_mine("a workload of a trust domain that is not taken");
                }
                let client = client_of(&id, catalog);
                let identity = identity_of(&Workload::Spiffe(id));
                Outcome::Verified(Principal {
                    authenticator: &self.name,
                    method: Method::Mtls,
                    client,
                    identity: Some(Arc::new(identity)),
                    subscriptions: SubscriptionSource::Catalog,
                })
            }
            Ok(Some(other)) => {
                if !self.takes_name(&other) {
                    return not_mine("a certificate without a SPIFFE ID, whose name is not taken");
                }
                let identity = identity_of(&other);
                Outcome::Verified(Principal {
                    authenticator: &self.name,
                    method: Method::Mtls,
                    client: ClientIdentity::None,
                    identity: Some(Arc::new(identity)),
                    subscriptions: SubscriptionSource::Catalog,
                })
            }
        }
    }

    fn takes(&self, id: &SpiffeId, mesh: &Mesh) -> bool {
        match &self.trust_domains {
            None => mesh.takes(id.trust_domain()),
            Some(names) => names
                .iter()
                .any(|name| mesh.aliases.are_same(name, id.trust_domain())),
        }
    }

    fn takes_name(&self, workload: &Workload<'_>) -> bool {
        match workload {
            // a name with a wildcard is that of many
            Workload::Dns(name) => Host::parse(name).is_ok_and(|host| {
                let host = host.as_str();
                !host.contains('*') && self.dns_names.iter().any(|one| one.matches(host))
            }),
            Workload::Subject(subject) => self.subjects.iter().any(|one| one == subject),
            Workload::Spiffe(_) | Workload::Uri(_) => false,
        }
    }
}

/// What a name that was verified says about its workload. The issuer of a SPIFFE ID is its trust domain.
pub(super) fn identity_of(workload: &Workload<'_>) -> Identity {
    let id = workload.spiffe_id();
    Identity {
        issuer: id.map(|id| format!("spiffe://{}", id.trust_domain()).into()),
        subject: Some(workload.to_arc()),
        workload: id.cloned(),
        ..Identity::default()
    }
}

/// The application that has the workload.
pub(super) fn client_of(id: &SpiffeId, catalog: &Catalog) -> ClientIdentity {
    let at = catalog.index().workload(id.as_str());
    at.map_or(ClientIdentity::None, ClientIdentity::Application)
}

#[cfg(test)]
mod tests;
