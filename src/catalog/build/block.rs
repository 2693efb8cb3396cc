//! One block of its document.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::catalog::build::report::{Report, Site};
use crate::catalog::build::{Ids, id_of, origin};
use crate::catalog::model::limit::Block;
use crate::catalog::model::{ApiIndex, ApplicationIndex};
use crate::catalog::source::document::BlockDocument;
use crate::config::findings::Findings;

/// The block of `document`; reports what is wrong with it.
pub(super) fn build(
    site: Site<'_>,
    document: &BlockDocument,
    (apis, applications): (&Ids, &Ids),
    report: &mut Report,
) -> Option<Block> {
    let spec = &document.spec;
    let namespace = &document.metadata.namespace;
    let mut find = |field: &str, kind: &str, name: Option<&String>, ids: &Ids| {
        let id = id_of(namespace, name?);
        let found = ids.get(&id).and_then(|at| u32::try_from(*at).ok());
        if found.is_none() {
            let message = format!("there is no {kind} `{id}`");
            report.dangling(site, &format!("spec.{field}"), message);
        }
        found
    };
    let application = find(
        "application",
        "application",
        spec.application.as_ref(),
        applications,
    );
    let api = find("api", "api", spec.api.as_ref(), apis);
    let mut findings = Findings::new();
    let (addresses, not_addresses) = findings.within("spec", |findings| {
        let is_everybody = spec.application.is_none()
            && spec.subject.is_none()
            && spec.api.is_none()
            && spec.addresses.is_empty()
            && spec.not_addresses.is_empty();
        if is_everybody {
            findings.wrong("", "name an `application`, a `subject`, `addresses`, `notAddresses` or an `api`: a block of everything is an api without operations");
        }
        (
            ranges("addresses", &spec.addresses, findings),
            ranges("notAddresses", &spec.not_addresses, findings),
        )
    });
    report.add(site, &findings);
    (findings.count() == 0).then(|| Block {
        id: format!("{namespace}/{}", document.metadata.name).into(),
        application: application.map(ApplicationIndex),
        subject: spec.subject.as_deref().map(Into::into),
        addresses,
        not_addresses,
        api: api.map(ApiIndex),
        until: spec.until,
        note: spec.note.as_deref().map(Into::into),
        origin: origin(site),
    })
}

fn ranges(field: &str, texts: &[String], findings: &mut Findings) -> Vec<IpNet> {
    let ranges = texts.iter().enumerate().filter_map(|(at, text)| {
        let range = text
            .parse::<IpNet>()
            .ok()
            .or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from));
        if range.is_none() {
            let message = format!("`{text}` is no address and no range such as 10.0.0.0/8");
            findings.wrong(&format!("{field}[{at}]"), message);
        }
        range.map(|range| canonical(range.trunc()))
    });
    ranges.collect()
}

/// A range of IPv4 addresses that is written as one of IPv6 (`::ffff:10.0.0.0/104`) is the former,
/// as addresses of clients are.
fn canonical(range: IpNet) -> IpNet {
    let IpNet::V6(v6) = range else { return range };
    let v4 = v6.addr().to_ipv4_mapped();
    let length = v6.prefix_len().checked_sub(96);
    v4.zip(length)
        .and_then(|(address, length)| IpNet::new(address.into(), length).ok())
        .unwrap_or(range)
}
