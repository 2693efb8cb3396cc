//! Whom a certificate names, and whether it may name them.
//
// INVARIANT: a certificate that says `spiffe:` anywhere is an X.509-SVID or is refused; it never
// counts by another of its names.

use std::sync::Arc;

use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer as _;

use crate::spiffe::SpiffeId;

/// Whom a certificate names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Named {
    /// A workload.
    Spiffe(SpiffeId),
    /// Hosts, in lower case.
    Dns(Arc<[Box<str>]>),
    /// Nobody that we could tell from others.
    Nobody,
}

/// Why a certificate is no good, whoever signed it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadLeaf(&'static str);

/// Reads whom the certificate in `der` names. Whether it is to be believed is not asked here.
///
/// # Errors
/// Where it cannot be read, or is no X.509-SVID although it says so (X.509-SVID sections 2 to 5).
pub fn read(der: &[u8]) -> Result<Named, BadLeaf> {
    let unreadable = BadLeaf("the certificate cannot be read");
    let (rest, certificate) = X509Certificate::from_der(der).map_err(|_| unreadable)?;
    if !rest.is_empty() {
        return Err(unreadable);
    }
    let names = certificate
        .subject_alternative_name()
        .map_err(|_| unreadable)?;
    let names = names.map_or(&[][..], |names| &names.value.general_names);
    let uris: Vec<&str> = names.iter().filter_map(uri).collect();
    if uris.iter().any(|uri| is_spiffe(uri)) {
        return svid(&certificate, &uris).map(Named::Spiffe);
    }
    let hosts: Vec<Box<str>> = names.iter().filter_map(host).collect();
    Ok(if hosts.is_empty() {
        Named::Nobody
    } else {
        Named::Dns(hosts.into())
    })
}

/// The workload that an X.509-SVID with these URIs names.
fn svid(certificate: &X509Certificate<'_>, uris: &[&str]) -> Result<SpiffeId, BadLeaf> {
    let [uri] = uris else {
        return Err(BadLeaf("it names several URIs"));
    };
    let id = SpiffeId::parse(uri).map_err(|_| BadLeaf("what it names is no SPIFFE ID"))?;
    if id.path().is_empty() {
        return Err(BadLeaf("it names a trust domain and no workload"));
    }
    let constraints = certificate.basic_constraints();
    let constraints = constraints.map_err(|_| BadLeaf("its constraints cannot be read"))?;
    if constraints.is_some_and(|constraints| constraints.value.ca) {
        return Err(BadLeaf("it is an authority"));
    }
    let usage = certificate.key_usage();
    let usage = usage.map_err(|_| BadLeaf("its key usage cannot be read"))?;
    if usage.is_some_and(|usage| usage.value.key_cert_sign() || usage.value.crl_sign()) {
        return Err(BadLeaf("its key may sign certificates"));
    }
    Ok(id)
}

fn is_spiffe(uri: &str) -> bool {
    let scheme = uri.as_bytes().get(..7);
    scheme.is_some_and(|scheme| scheme.eq_ignore_ascii_case(b"spiffe:"))
}

fn uri<'a>(name: &GeneralName<'a>) -> Option<&'a str> {
    if let GeneralName::URI(uri) = name {
        Some(*uri)
    } else {
        None
    }
}

fn host(name: &GeneralName<'_>) -> Option<Box<str>> {
    if let GeneralName::DNSName(host) = name {
        Some(host.to_ascii_lowercase().into())
    } else {
        None
    }
}
