//! Envoys of a mesh: what Istio's agent would start.

use std::net::SocketAddr;
use std::path::Path;

use serde_json::{Value, json};

use crate::support::envoy::Envoy;

/// Which proxy of the mesh one is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Node {
    /// `router`, `sidecar` or `waypoint`.
    pub(crate) kind: &'static str,
    pub(crate) ip: &'static str,
    pub(crate) name: &'static str,
    pub(crate) namespace: &'static str,
    /// A label, and its value.
    pub(crate) label: (&'static str, &'static str),
    pub(crate) service_account: &'static str,
}

/// The ingress gateway.
pub(crate) const INGRESS: Node = Node {
    kind: "router",
    ip: "10.99.0.1",
    name: "ingress",
    namespace: "istio-system",
    label: ("istio", "ingressgateway"),
    service_account: "istio-ingressgateway-service-account",
};

/// The sidecar of the workload `orders`.
pub(crate) const ORDERS: Node = Node {
    kind: "sidecar",
    ip: "10.99.0.2",
    name: "orders",
    namespace: "shop",
    label: ("app", "orders"),
    service_account: "orders",
};

/// The egress gateway.
pub(crate) const EGRESS: Node = Node {
    kind: "router",
    ip: "10.99.0.3",
    name: "egress",
    namespace: "istio-system",
    label: ("istio", "egressgateway"),
    service_account: "istio-egressgateway-service-account",
};

/// The sidecar of the workload `checkout`, which calls a partner.
pub(crate) const CHECKOUT: Node = Node {
    kind: "sidecar",
    ip: "10.99.0.4",
    name: "checkout",
    namespace: "shop",
    label: ("app", "checkout"),
    service_account: "checkout",
};

/// The gateway that the Gateway API calls `gw`.
pub(crate) const GATEWAY_API: Node = Node {
    kind: "router",
    ip: "10.99.0.5",
    name: "gw-1",
    namespace: "istio-system",
    label: ("gateway.networking.k8s.io/gateway-name", "gw"),
    service_account: "gw-istio",
};

impl Node {
    /// Starts it as this version of Envoy; `sds` is the socket that gives it its certificate.
    pub(crate) fn start(&self, version: &str, xds: SocketAddr, sds: Option<&Path>) -> Envoy {
        let bootstrap = self.bootstrap(xds, sds);
        Envoy::start_version(version, &format!("{bootstrap:#}"))
    }

    /// The SPIFFE ID that its certificate has.
    pub(crate) fn spiffe_id(&self) -> String {
        let (namespace, account) = (self.namespace, self.service_account);
        format!("spiffe://cluster.local/ns/{namespace}/sa/{account}")
    }

    fn bootstrap(&self, xds: SocketAddr, sds: Option<&Path>) -> Value {
        let (name, namespace) = (self.name, self.namespace);
        let mut clusters = vec![grpc_cluster(
            "xds-grpc",
            &json!({ "socket_address": { "address": xds.ip().to_string(), "port_value": xds.port() } }),
        )];
        if let Some(socket) = sds {
            clusters.push(grpc_cluster(
                "sds-grpc",
                &json!({ "pipe": { "path": socket } }),
            ));
        }
        json!({
            "node": {
                "id": format!("{}~{}~{name}.{namespace}~{namespace}.svc.cluster.local", self.kind, self.ip),
                "cluster": format!("{name}.{namespace}"),
                "metadata": {
                    "NAMESPACE": namespace, "NAME": name, "WORKLOAD_NAME": name,
                    "SERVICE_ACCOUNT": self.service_account, "CLUSTER_ID": "Kubernetes",
                    "MESH_ID": "cluster.local", "ISTIO_VERSION": "1.31.0", "INSTANCE_IPS": self.ip,
                    "INTERCEPTION_MODE": "NONE", "LABELS": { self.label.0: self.label.1 },
                },
            },
            "admin": { "address": { "socket_address": { "address": "127.0.0.1", "port_value": 0 } } },
            "bootstrap_extensions": [{
                "name": "envoy.bootstrap.internal_listener",
                "typed_config": { "@type": "type.googleapis.com/envoy.extensions.bootstrap.internal_listener.v3.InternalListener" },
            }],
            // as Istio's own bootstrap has it
            "layered_runtime": { "layers": [{ "name": "static", "static_layer": {
                "envoy.reloadable_features.http_reject_path_with_fragment": false,
                "re2.max_program_size.error_level": 32768,
            } }] },
            "dynamic_resources": {
                "lds_config": { "ads": {}, "initial_fetch_timeout": "0s", "resource_api_version": "V3" },
                "cds_config": { "ads": {}, "initial_fetch_timeout": "0s", "resource_api_version": "V3" },
                "ads_config": {
                    "api_type": "DELTA_GRPC", "transport_api_version": "V3", "set_node_on_first_message_only": true,
                    "grpc_services": [{ "envoy_grpc": { "cluster_name": "xds-grpc" } }],
                },
            },
            "static_resources": { "clusters": clusters },
        })
    }
}

fn grpc_cluster(name: &str, address: &Value) -> Value {
    json!({
        "name": name, "type": "STATIC", "connect_timeout": "1s",
        "typed_extension_protocol_options": { "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
            "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
            "explicit_http_config": { "http2_protocol_options": {} },
        } },
        "load_assignment": { "cluster_name": name, "endpoints": [{ "lb_endpoints": [{ "endpoint": { "address": address } }] }] },
    })
}
