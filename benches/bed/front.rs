//! Envoy in front of a server, or by itself, with an answer of its own in the place of an upstream.

use std::net::SocketAddr;

use serde_json::{Value, json};

use super::gate::AUDIENCE;
use super::support::envoy::Envoy;
use super::support::issuer::Issuer;

const EXTENSIONS: &str = "type.googleapis.com/envoy.extensions";

/// An Envoy of one worker that asks the server at `authz` about every request, and answers 200 to
/// what passes.
pub(crate) fn asking(authz: SocketAddr) -> Envoy {
    start(ext_authz(), vec![cluster(authz)])
}

/// The same, but it verifies tokens of `issuer` by itself and asks nobody. It knows nothing of
/// applications and subscriptions, and remembers tokens that it has verified.
pub(crate) fn verifying(issuer: &Issuer) -> Envoy {
    start(jwt_authn(issuer), Vec::new())
}

fn start(filter: Value, clusters: Vec<Value>) -> Envoy {
    let any = json!({ "socket_address": { "address": "127.0.0.1", "port_value": 0 } });
    let configuration = json!({
        "admin": { "address": any },
        "static_resources": {
            "listeners": [{
                "name": "downstream",
                "address": any,
                "filter_chains": [{ "filters": [{
                    "name": "envoy.filters.network.http_connection_manager",
                    "typed_config": connection_manager(filter),
                }] }],
            }],
            "clusters": clusters,
        },
    });
    Envoy::start_with(&configuration.to_string())
}

fn connection_manager(filter: Value) -> Value {
    json!({
        "@type": format!("{EXTENSIONS}.filters.network.http_connection_manager.v3.HttpConnectionManager"),
        "stat_prefix": "downstream",
        "normalize_path": true,
        "http_filters": [filter, {
            "name": "envoy.filters.http.router",
            "typed_config": { "@type": format!("{EXTENSIONS}.filters.http.router.v3.Router") },
        }],
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

fn ext_authz() -> Value {
    let refused = "^(:.*|content-length|transfer-encoding|connection|te)$";
    json!({ "name": "envoy.filters.http.ext_authz", "typed_config": {
        "@type": format!("{EXTENSIONS}.filters.http.ext_authz.v3.ExtAuthz"),
        "transport_api_version": "V3",
        "grpc_service": { "envoy_grpc": { "cluster_name": "authz" }, "timeout": "2s" },
        "encode_raw_headers": true,
        "validate_mutations": true,
        "decoder_header_mutation_rules": { "disallow_expression": { "regex": refused } },
    } })
}

fn jwt_authn(issuer: &Issuer) -> Value {
    let keys = json!({ "keys": issuer.keys().public_jwks() }).to_string();
    json!({ "name": "envoy.filters.http.jwt_authn", "typed_config": {
        "@type": format!("{EXTENSIONS}.filters.http.jwt_authn.v3.JwtAuthentication"),
        "providers": { "issuer": {
            "issuer": issuer.url(),
            "audiences": [AUDIENCE],
            "local_jwks": { "inline_string": keys },
            "jwt_cache_config": { "jwt_cache_size": 1000 },
            "claim_to_headers": [
                { "header_name": "x-user", "claim_name": "sub" },
                { "header_name": "x-client-id", "claim_name": "azp" },
            ],
        } },
        "rules": [{ "match": { "prefix": "/" }, "requires": { "provider_name": "issuer" } }],
    } })
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
