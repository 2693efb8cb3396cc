//! Configurations of Portcullis among the files.

use std::time::Duration;

use crate::cli::doctor::kind::Kind;
use crate::cli::doctor::located::Located;
use crate::cli::doctor::manifests::Manifests;
use crate::cli::doctor::report::Findings;
use crate::config::checks::ChecksConfig;
use crate::config::value::HumanDuration;

/// The longest deadline of a check, and whether a configuration says it.
pub(super) fn deadline(manifests: &Manifests<'_>) -> (Duration, bool) {
    let said = manifests
        .own
        .iter()
        .filter_map(|own| HumanDuration::parse(own.text_at("checks.deadline")?))
        .max();
    match said {
        Some(HumanDuration(deadline)) => (deadline, true),
        None => (ChecksConfig::default().deadline.0, false),
    }
}

/// Looks at every configuration.
pub(super) fn examine(manifests: &Manifests<'_>, findings: &mut Findings) {
    for own in &manifests.own {
        let listeners = own.get("listeners").map(|all| all.entries());
        for (name, listener) in listeners.unwrap_or_default() {
            if listener.text_at("type") == Some("check") && is_open(&listener) {
                let what = format!("the listener `{name}` answers everybody who reaches it");
                findings.add(Kind::ListenerOpen, &listener, what);
            }
        }
    }
}

fn is_open(listener: &Located<'_>) -> bool {
    let address = listener.text_at("address").unwrap_or("127.0.0.1");
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    let host = host.trim_matches(['[', ']']);
    let is_loopback = host == "localhost"
        || host
            .parse::<std::net::IpAddr>()
            .is_ok_and(|ip| ip.is_loopback());
    let is_near = address.starts_with("unix:") || is_loopback;
    // `peers` may be there without a rule, with `requestXfcc` alone; TLS may ask for no certificate
    let rules = ["peers.allow", "peers.any", "tls.spiffe", "tls.clientCa"];
    let has_rule = rules.into_iter().any(|path| {
        let said = listener.at(path);
        said.is_some_and(|said| !said.value.is_null())
    });
    !is_near && !has_rule
}
