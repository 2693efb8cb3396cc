//! Envoy in front of a server, with an answer of its own in the place of an upstream.

use std::net::SocketAddr;

use serde_json::{Value, json};

use super::support::envoy::Envoy;

const EXTENSIONS: &str = "type.googleapis.com/envoy.extensions";

/// An Envoy of one worker that asks the server at `authz` about every request, and answers 200 to
/// what passes.
pub(crate) fn envoy(authz: SocketAddr) -> Envoy {
    let any = json!({ "socket_address": { "address": "127.0.0.1", "port_value": 0 } });
    let configuration = json!({
        "admin": { "address": any },
        "static_resources": {
            "listeners": [{
                "name": "downstream",
                "address": any,
                "filter_chains": [{ "filters": [{
                    "name": "envoy.filters.network.http_connection_manager",
                    "typed_config": connection_manager(),
                }] }],
            }],
            "clusters": [cluster(authz)],
        },
    });
    Envoy::start_with(&configuration.to_string())
}

fn connection_manager() -> Value {
    json!({
        "@type": format!("{EXTENSIONS}.filters.network.http_connection_manager.v3.HttpConnectionManager"),
        "stat_prefix": "downstream",
        "normalize_path": true,
        "http_filters": [
            { "name": "envoy.filters.http.ext_authz", "typed_config": {
                "@type": format!("{EXTENSIONS}.filters.http.ext_authz.v3.ExtAuthz"),
                "transport_api_version": "V3",
                "grpc_service": { "envoy_grpc": { "cluster_name": "authz" }, "timeout": "2s" },
                "encode_raw_headers": true,
                "validate_mutations": true,
                "decoder_header_mutation_rules": { "disallow_expression": {
                    "regex": "^(:.*|content-length|transfer-encoding|connection|te)$",
                } },
            } },
            { "name": "envoy.filters.http.router", "typed_config": {
                "@type": format!("{EXTENSIONS}.filters.http.router.v3.Router"),
            } },
        ],
        "route_config": { "name": "all", "virtual_hosts": [{
            "name": "all",
            "domains": ["*"],
            "routes": [{
                "match": { "prefix": "/" },
                "direct_response": { "status": 200, "body": { "inline_string": "{}" } },
            }],
        }] },
    })
}

fn cluster(authz: SocketAddr) -> Value {
    let address = json!({
        "address": authz.ip().to_string(), "port_value": authz.port(),
    });
    json!({
        "name": "authz",
        "type": "STATIC",
        "connect_timeout": "1s",
        "typed_extension_protocol_options": { "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
            "@type": format!("{EXTENSIONS}.upstreams.http.v3.HttpProtocolOptions"),
            "explicit_http_config": { "http2_protocol_options": {} },
        } },
        "load_assignment": { "cluster_name": "authz", "endpoints": [{ "lb_endpoints": [
            { "endpoint": { "address": { "socket_address": address } } },
        ] }] },
    })
}
