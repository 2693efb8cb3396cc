//! `from` of an Api or operation: the workloads that it is for.

use crate::authorization::source::{NeededIdentity, SourceRule, Term, TextPattern, Values};
use crate::catalog::source::document::SourceDocument;
use crate::config::findings::Findings;
use crate::spiffe::config::Mesh;
use crate::spiffe::{SpiffeId, TrustDomain};

/// The trust domain by which Istio's policies mean the mesh's own, whatever it is called.
const OWN: &str = "cluster.local";

/// Reads the rule of a document of `namespace`; what is wrong is told below `from`.
pub(super) fn read(
    document: &SourceDocument,
    namespace: &str,
    mesh: &Mesh,
    findings: &mut Findings,
) -> SourceRule {
    findings.within("from", |findings| {
        let reader = Reader { namespace, mesh };
        let mut terms = Vec::new();
        for (field, excludes, kind, texts) in fields(document) {
            let Some(texts) = texts else { continue };
            if texts.is_empty() {
                findings.wrong(
                    field,
                    "it is there and empty: name one at least, or leave it out",
                );
            }
            let values = findings.within(field, |findings| reader.values(kind, texts, findings));
            terms.push(Term {
                field,
                excludes,
                values,
            });
        }
        let needed = needed(document, &terms, findings);
        SourceRule { terms, needed }
    })
}

/// What a field names.
#[derive(Clone, Copy)]
enum Kind {
    Principals,
    Namespaces,
    ServiceAccounts,
    TrustDomains,
}

type Field<'d> = (&'static str, bool, Kind, Option<&'d [String]>);

fn fields(document: &SourceDocument) -> [Field<'_>; 8] {
    let SourceDocument {
        principals,
        not_principals,
        namespaces,
        not_namespaces,
        service_accounts,
        not_service_accounts,
        trust_domains,
        not_trust_domains,
        require_mtls: _,
    } = document;
    [
        ("principals", false, Kind::Principals, principals.as_deref()),
        (
            "notPrincipals",
            true,
            Kind::Principals,
            not_principals.as_deref(),
        ),
        ("namespaces", false, Kind::Namespaces, namespaces.as_deref()),
        (
            "notNamespaces",
            true,
            Kind::Namespaces,
            not_namespaces.as_deref(),
        ),
        (
            "serviceAccounts",
            false,
            Kind::ServiceAccounts,
            service_accounts.as_deref(),
        ),
        (
            "notServiceAccounts",
            true,
            Kind::ServiceAccounts,
            not_service_accounts.as_deref(),
        ),
        (
            "trustDomains",
            false,
            Kind::TrustDomains,
            trust_domains.as_deref(),
        ),
        (
            "notTrustDomains",
            true,
            Kind::TrustDomains,
            not_trust_domains.as_deref(),
        ),
    ]
}

/// Who must be known for the rule to hold.
fn needed(document: &SourceDocument, terms: &[Term], findings: &mut Findings) -> NeededIdentity {
    match document.require_mtls {
        Some(true) => NeededIdentity::Connection,
        None if terms.is_empty() => {
            findings.wrong(
                "",
                "it names nobody; leave it out, or write `requireMtls: true`",
            );
            NeededIdentity::Verified
        }
        None => NeededIdentity::Verified,
        Some(false) if !terms.iter().any(|term| term.excludes) => {
            let why = "says nothing: whoever is named has to be known";
            findings.wrong("requireMtls", why);
            NeededIdentity::Verified
        }
        Some(false) if terms.iter().any(|term| !term.excludes) => NeededIdentity::Verified,
        Some(false) => {
            findings.warn(
                "requireMtls",
                "who shows no certificate is nobody that the rule excludes, and may call",
            );
            NeededIdentity::None
        }
    }
}

/// Reads the texts of a rule.
struct Reader<'r> {
    namespace: &'r str,
    mesh: &'r Mesh,
}

impl Reader<'_> {
    fn values(&self, kind: Kind, texts: &[String], findings: &mut Findings) -> Values {
        match kind {
            Kind::Principals => Values::Principals(self.all(texts, findings, Self::principal)),
            Kind::Namespaces => Values::Namespaces(self.all(texts, findings, Self::namespace)),
            Kind::ServiceAccounts => {
                Values::ServiceAccounts(self.all(texts, findings, Self::service_account))
            }
            Kind::TrustDomains => {
                Values::TrustDomains(self.all(texts, findings, Self::trust_domain))
            }
        }
    }

    fn all<T>(
        &self,
        texts: &[String],
        findings: &mut Findings,
        read: impl Fn(&Self, &str) -> Result<T, String>,
    ) -> Vec<T> {
        let mut all = Vec::with_capacity(texts.len());
        for (at, text) in texts.iter().enumerate() {
            match read(self, text) {
                Ok(one) => all.push(one),
                Err(why) => findings.wrong(&format!("[{at}]"), format!("`{text}`: {why}")),
            }
        }
        all
    }

    /// A SPIFFE ID, whole or with a `*`, with `spiffe://` before it or not.
    fn principal(&self, text: &str) -> Result<TextPattern, String> {
        let scheme = "spiffe://";
        let bare = match text.split_at_checked(scheme.len()) {
            Some((begin, rest)) if begin.eq_ignore_ascii_case(scheme) => rest,
            Some(_) | None => text,
        };
        let pattern = TextPattern::parse(bare)?;
        // what has no SPIFFE ID would be meant, too
        if bare.len() < text.len() && pattern == TextPattern::Any {
            let why = "write `*` for anybody with a certificate, or name `trustDomains`";
            return Err(why.to_owned());
        }
        Ok(match pattern {
            TextPattern::Exact(text) => {
                let id = SpiffeId::parse(&format!("{scheme}{text}"));
                let id = id.map_err(|error| error.to_string())?;
                if id.path().is_empty() {
                    return Err("it is a whole trust domain: write it to `trustDomains`".to_owned());
                }
                let domain = self.own(id.trust_domain().as_str());
                TextPattern::Exact(format!("{domain}{}", id.path()).into())
            }
            // what is a whole trust domain can be in any case, and be the mesh's own
            TextPattern::Prefix(text) => TextPattern::Prefix(match text.split_once('/') {
                Some((domain, path)) => {
                    let domain = TrustDomain::parse(domain).map_err(|error| error.to_string())?;
                    format!("{}/{path}", self.own(domain.as_str())).into()
                }
                None => text.to_ascii_lowercase().into(),
            }),
            TextPattern::Suffix(_) | TextPattern::Any => pattern,
        })
    }

    /// What Istio's policies call `cluster.local` is the mesh's own trust domain.
    fn own<'t>(&'t self, domain: &'t str) -> &'t str {
        match &self.mesh.trust_domain {
            Some(own) if domain == OWN && !self.is_federated_with_own() => own.as_str(),
            Some(_) | None => domain,
        }
    }

    fn is_federated_with_own(&self) -> bool {
        let mut federated = self.mesh.federated.iter();
        federated.any(|name| name.as_str() == OWN)
    }

    fn namespace(&self, text: &str) -> Result<TextPattern, String> {
        let pattern = TextPattern::parse(text)?;
        if text.contains('/') {
            return Err("a namespace has no slash".to_owned());
        }
        Ok(pattern)
    }

    /// `account` of the document's namespace, or `namespace/account`.
    fn service_account(&self, text: &str) -> Result<(Box<str>, Box<str>), String> {
        let (namespace, account) = text.split_once('/').unwrap_or((self.namespace, text));
        if namespace.is_empty() || account.is_empty() || account.contains('/') {
            return Err("it is `account` or `namespace/account`".to_owned());
        }
        if text.contains('*') {
            return Err("a service account has no `*`; write `principals`".to_owned());
        }
        Ok((namespace.into(), account.into()))
    }

    fn trust_domain(&self, text: &str) -> Result<TextPattern, String> {
        let pattern = TextPattern::parse(&text.to_ascii_lowercase())?;
        if let TextPattern::Exact(name) = &pattern {
            TrustDomain::parse(name).map_err(|error| error.to_string())?;
        }
        if text.contains('/') {
            return Err("a trust domain has no slash".to_owned());
        }
        Ok(pattern)
    }
}
