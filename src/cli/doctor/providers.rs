//! What extension providers say: service, port, timeout, and what becomes of failures.

use std::time::Duration;

use crate::cli::doctor::kind::Kind;
use crate::cli::doctor::located::Located;
use crate::cli::doctor::manifests::{Manifests, Object};
use crate::cli::doctor::mesh::Provider;
use crate::cli::doctor::own;
use crate::cli::doctor::report::Findings;

/// Above this, a timeout is long.
const LONG: Duration = Duration::from_secs(10);

/// The statuses that Envoy knows.
const STATUSES: &[u16] = &[
    100, 200, 201, 202, 203, 204, 205, 206, 207, 208, 226, 300, 301, 302, 303, 304, 305, 307, 308,
    400, 401, 402, 403, 404, 405, 406, 407, 408, 409, 410, 411, 412, 413, 414, 415, 416, 417, 421,
    422, 423, 424, 426, 428, 429, 431, 500, 501, 502, 503, 504, 505, 506, 507, 508, 510, 511,
];

/// Looks at every provider.
pub(super) fn examine(manifests: &Manifests<'_>, findings: &mut Findings) {
    for provider in manifests.mesh.iter().flat_map(|mesh| &mesh.providers) {
        examine_service(provider, manifests, findings);
        examine_timeout(provider, manifests, findings);
        examine_failures(provider, findings);
        let is_ours = provider.host().split('.').next() == Some("portcullis");
        if !provider.grpc && is_ours {
            let what = format!("`{}` asks Portcullis by HTTP", provider.name);
            findings.add(Kind::ProviderHttp, &provider.node, what);
        }
    }
}

fn examine_service(provider: &Provider<'_>, manifests: &Manifests<'_>, findings: &mut Findings) {
    let node = provider.node.at_or_self("service");
    let host = provider.host();
    let services = || manifests.of_kind("", "Service");
    let entries = || manifests.of_kind("networking.istio.io", "ServiceEntry");
    if !is_full(host) {
        let what = match host {
            "" => "the provider names no service".to_owned(),
            host => format!("`{host}` is no full name of a service"),
        };
        findings.add(Kind::ProviderService, &node, what);
        return;
    }
    let service = services().find(|one| provider.service() == Some((one.name, one.namespace)));
    if let Some(service) = service {
        examine_port(provider, service, findings);
        return;
    }
    let entry = entries().find(|entry| {
        let hosts = entry.node.items_at("spec.hosts");
        hosts.iter().any(|one| one.value.as_str() == Some(host))
    });
    let is_elsewhere = match provider.service() {
        Some((_, namespace)) => !services().any(|one| one.namespace == namespace),
        None => entries().next().is_none(),
    };
    match entry {
        Some(entry) => examine_port(provider, entry, findings),
        None if is_elsewhere => {
            let what = format!("`{host}` is not among the files");
            findings.add(Kind::ProviderServiceUnseen, &node, what);
        }
        None => {
            let what = format!("none of the Services and ServiceEntries is `{host}`");
            findings.add(Kind::ProviderService, &node, what);
        }
    }
}

fn examine_port(provider: &Provider<'_>, service: &Object<'_>, findings: &mut Findings) {
    let node = provider.node.at_or_self("port");
    let number = number_of(&node);
    let ports = service.node.items_at("spec.ports");
    let of_number = |port: &&Located<'_>| {
        let found = port.get("port").or_else(|| port.get("number"));
        found.is_some_and(|found| number.is_some() && number_of(&found) == number)
    };
    let Some(port) = ports.iter().find(of_number) else {
        let (kind, name) = (service.kind, service.name);
        let what = format!("the {kind} `{name}` has no such port");
        findings.add(Kind::ProviderPort, &node, what);
        return;
    };
    if provider.grpc && !is_http2(port) {
        let what = format!(
            "the port of provider `{}` is not declared as gRPC",
            provider.name
        );
        findings.add(Kind::ProviderProtocol, port, what);
    }
}

/// Whether `host` may be the whole name of a service: no address, and more than `name.namespace.svc`.
fn is_full(host: &str) -> bool {
    let is_address = host.parse::<std::net::IpAddr>().is_ok();
    !is_address && host.contains('.') && !host.ends_with(".svc")
}

/// Whether a port of a Service or ServiceEntry is gRPC or HTTP/2; `appProtocol` counts before the name.
fn is_http2(port: &Located<'_>) -> bool {
    let declared = port
        .text_at("appProtocol")
        .or_else(|| port.text_at("protocol"));
    let declared = declared.map(str::to_ascii_lowercase);
    match declared.as_deref() {
        Some("grpc" | "grpc-web" | "http2" | "kubernetes.io/h2c") => return true,
        None | Some("tcp") => {}
        Some(_) => return false,
    }
    let name = port.text_at("name").unwrap_or_default();
    ["grpc", "grpc-web", "http2"].iter().any(|protocol| {
        name.strip_prefix(protocol)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
    })
}

fn number_of(node: &Located<'_>) -> Option<u64> {
    match node.value.as_str() {
        Some(text) => text.parse().ok(),
        None => node.value.as_u64(),
    }
}

fn examine_timeout(provider: &Provider<'_>, manifests: &Manifests<'_>, findings: &mut Findings) {
    let name = provider.name;
    let Some(node) = provider.node.get("timeout") else {
        let what = format!("the provider `{name}` has no timeout");
        findings.add(Kind::TimeoutMissing, &provider.node, what);
        return;
    };
    let text = node.value.as_str().unwrap_or_default();
    let Some(timeout) = duration(text).filter(|timeout| !timeout.is_zero()) else {
        let what = format!("`{}` is no duration such as 1s", node.value);
        findings.add(Kind::TimeoutMissing, &node, what);
        return;
    };
    if timeout > LONG {
        findings.add(Kind::TimeoutLong, &node, format!("a check may take {text}"));
    }
    let (deadline, said) = own::deadline(manifests);
    if provider.grpc && timeout <= deadline {
        let from = if said {
            "its configuration says"
        } else {
            "is its own"
        };
        let what = format!(
            "a check may take {text}, and Portcullis answers within {}ms, which {from}",
            deadline.as_millis()
        );
        findings.add(Kind::TimeoutShort, &node, what);
    }
}

fn examine_failures(provider: &Provider<'_>, findings: &mut Findings) {
    let name = provider.name;
    if let Some(node) = provider.node.get("failOpen")
        && node.value.as_bool() != Some(false)
    {
        let what = format!("the provider `{name}` lets pass what cannot be checked");
        findings.add(Kind::FailOpen, &node, what);
    }
    match provider.node.get("statusOnError") {
        None => {
            let what = format!("the provider `{name}` has no statusOnError");
            findings.add(Kind::StatusMissing, &provider.node, what);
        }
        Some(node) => {
            let status = node.value.as_str().and_then(|text| text.parse().ok());
            if !status.is_some_and(|status| STATUSES.contains(&status)) {
                let what = format!("`{}` is no status in quotes that Envoy knows", node.value);
                findings.add(Kind::StatusUnknown, &node, what);
            }
        }
    }
}

/// A duration of Go's: `1s`, `0.5s`, `500ms`, `1m30s`.
pub(super) fn duration(text: &str) -> Option<Duration> {
    let (mut rest, mut seconds) = (text, 0.0);
    while !rest.is_empty() {
        let digits = rest.find(|char: char| !char.is_ascii_digit() && char != '.')?;
        let (number, after) = rest.split_at_checked(digits)?;
        let letters = after
            .find(|char: char| char.is_ascii_digit() || char == '.')
            .unwrap_or(after.len());
        let (unit, after) = after.split_at_checked(letters)?;
        let factor = match unit {
            "h" => 3600.0,
            "m" => 60.0,
            "s" => 1.0,
            "ms" => 1e-3,
            "us" | "µs" => 1e-6,
            "ns" => 1e-9,
            _ => return None,
        };
        seconds += number.parse::<f64>().ok()? * factor;
        rest = after;
    }
    (!text.is_empty()).then(|| Duration::try_from_secs_f64(seconds).ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_istio_reads_them() {
        for (text, millis) in [
            ("1s", 1000),
            ("0.5s", 500),
            ("250ms", 250),
            ("1m30s", 90_000),
        ] {
            assert_eq!(
                duration(text),
                Some(Duration::from_millis(millis)),
                "{text}"
            );
        }
        for text in ["", "1", "s", "1y", "1s2", "-1s", "1.2.3s"] {
            assert_eq!(duration(text), None, "{text}");
        }
    }
}
