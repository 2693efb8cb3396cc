//! `source.certificate`: the client's certificate itself, where Envoy was told to send it. It names
//! nobody alone: it must not say otherwise than what Envoy says that it read.

use x509_parser::extensions::GeneralName;
use x509_parser::pem::Pem;
use x509_parser::prelude::X509Certificate;

use super::{NameKind, is_subject};
use crate::authentication::credential::percent_decode;

/// By which kind of name the certificate in `encoded`, a PEM text that is percent-encoded, is one that
/// Envoy would call `principal`; nothing where it was not sent.
///
/// # Errors
/// Where Envoy would call it otherwise.
pub(super) fn agree(encoded: &str, principal: &str) -> Result<Option<NameKind>, &'static str> {
    if encoded.is_empty() {
        return Ok(None);
    }
    let wrong = "source.certificate is no certificate that can be read";
    let text = percent_decode(encoded).ok_or(wrong)?;
    let block = match Pem::iter_from_buffer(text.as_bytes()).next() {
        Some(Ok(block)) if block.label == "CERTIFICATE" => block,
        Some(_) | None => return Err(wrong),
    };
    let certificate = block.parse_x509().map_err(|_| wrong)?;
    let names = Names::of(&certificate).ok_or(wrong)?;
    let (kind, is_one) = match (&names.uris[..], &names.dns[..]) {
        ([uri], _) => (NameKind::Uri, *uri == principal),
        // X.509-SVID section 2: more than one is none
        ([_, _, ..], _) => (NameKind::Uri, false),
        ([], [first, ..]) => (NameKind::Dns, *first == principal),
        // its subject is written in more than one way
        ([], []) => (
            NameKind::Subject,
            principal.is_empty() || is_subject(principal),
        ),
    };
    is_one
        .then_some(Some(kind))
        .ok_or("source.certificate and source.principal name two callers")
}

/// The alternative names of a certificate.
struct Names<'c> {
    uris: Vec<&'c str>,
    dns: Vec<&'c str>,
}

impl<'c> Names<'c> {
    fn of(certificate: &'c X509Certificate<'_>) -> Option<Self> {
        let (mut uris, mut dns) = (Vec::new(), Vec::new());
        let alternative = certificate.subject_alternative_name().ok()?;
        let names = alternative
            .iter()
            .flat_map(|names| &names.value.general_names);
        for name in names {
            if let GeneralName::URI(uri) = name {
                uris.push(*uri);
            } else if let GeneralName::DNSName(name) = name {
                dns.push(*name);
            }
        }
        Some(Self { uris, dns })
    }
}
