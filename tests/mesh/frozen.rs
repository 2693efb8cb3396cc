//! What istiod makes of `deploy/istio`, frozen into files that need no istiod: `tests/envoy` starts
//! Envoys with them in `make test`.
//!
//! `make freeze-istio` writes them and the digests of all that they were made of; without it these
//! tests fail where istiod makes something else.

use std::fs;

use serde_json::{Map, Value, json};

use crate::bed::{Mesh, Objects, free_port, repository};
use crate::certificates::Sds;
use crate::ingress::{APPLIED, ENVOY, applied};
use crate::proxy::{CHECKOUT, EGRESS, INGRESS, Node, ORDERS};
use crate::support::authority::Authority;
use crate::support::eventually;
use crate::support::frozen::{FOLDER, INPUTS, PORTS, digests};

/// Everything but `deploy/` that the files are made of.
const OF_THE_BED: [&str; 8] = [
    "deploy/istio/mesh-config.yaml",
    "tests/beds/mesh/cmd/meshd/main.go",
    "tests/beds/mesh/go.mod",
    "tests/beds/mesh/go.sum",
    "tests/mesh/objects/checkout.yaml",
    "tests/mesh/objects/mesh.yaml",
    "tests/mesh/objects/pods.yaml",
    "tests/mesh/objects/sidecar.yaml",
];

/// A proxy, and what is applied for it.
struct Form {
    name: &'static str,
    node: Node,
    applied: &'static [&'static str],
    /// How many listeners it has.
    listeners: usize,
}

const FORMS: [Form; 4] = [
    Form {
        name: "gateway",
        node: INGRESS,
        applied: &APPLIED,
        listeners: 2,
    },
    Form {
        name: "sidecar",
        node: ORDERS,
        applied: &[
            "deploy/kustomize/base/service.yaml",
            "deploy/istio/orders.yaml",
            "deploy/istio/sidecar.yaml",
            "deploy/istio/hardening-sidecar.yaml",
        ],
        listeners: 2,
    },
    Form {
        name: "egress-gateway",
        node: EGRESS,
        applied: &[
            "deploy/kustomize/base/service.yaml",
            "deploy/istio/egress-gateway.yaml",
        ],
        listeners: 1,
    },
    Form {
        name: "egress-sidecar",
        node: CHECKOUT,
        applied: &[
            "deploy/kustomize/base/service.yaml",
            "deploy/istio/egress-sidecar.yaml",
        ],
        listeners: 2,
    },
];

#[test]
fn the_frozen_configuration_is_what_istiod_makes_now() {
    let mut inputs = OF_THE_BED.map(ToOwned::to_owned).to_vec();
    let mut frozen = Vec::new();
    for form in FORMS {
        inputs.extend(form.applied.iter().map(ToString::to_string));
        frozen.push((
            format!("{}.json", form.name),
            format!("{:#}\n", freeze(&form)),
        ));
    }
    inputs.extend(["portcullis", "tcp"].map(|name| format!("tests/mesh/objects/{name}.yaml")));
    inputs.sort();
    inputs.dedup();
    frozen.push((INPUTS.to_owned(), digests(&inputs)));
    for (file, content) in frozen {
        let path = repository(FOLDER).join(&file);
        #[expect(clippy::disallowed_methods, reason = "a test reads its own switch")]
        if std::env::var("FREEZE_ISTIO").is_ok() {
            fs::create_dir_all(repository(FOLDER)).expect("a folder");
            fs::write(&path, &content).expect("a file");
        }
        let there = fs::read_to_string(&path).unwrap_or_default();
        assert!(
            there == content,
            "{file} is stale; this writes it: make freeze-istio"
        );
    }
}

/// The configuration of the proxy, without what changes from run to run.
fn freeze(form: &Form) -> Value {
    let actual = PORTS.map(|(name, frozen)| (name, free_port(), frozen));
    let at = |wanted: &str| {
        let found = actual.iter().find(|(name, _, _)| *name == wanted);
        found.expect("a port of the frozen files").1
    };
    let mesh = Mesh::start(objects(form, at));
    // what it gives is not frozen, but without it no listener would be there
    let authority = Authority::new();
    let own = authority.svid(&form.node.spiffe_id());
    let agent = Sds::start(&own, &authority.pem(), &authority.pem());
    let envoy = form.node.start(ENVOY, mesh.xds(), Some(&agent.socket()));
    let dump = eventually("envoy to have its listeners", || {
        let dump = envoy.admin("/config_dump?include_eds").json();
        let listeners = resources(&dump, "ListenersConfigDump", "dynamic_listeners");
        // one that waits for its routes is not active
        let active = listeners
            .iter()
            .filter(|one| one["active_state"].is_object());
        (active.count() == form.listeners).then_some(dump)
    });
    let text = static_configuration(&dump).to_string();
    let text = actual.iter().fold(text, |text, (_, actual, frozen)| {
        text.replace(&actual.to_string(), &frozen.to_string())
    });
    // keys in order
    serde_json::from_str(&text).expect("JSON")
}

fn objects(form: &Form, at: impl Fn(&str) -> u16) -> Objects {
    let objects = Objects::new().bed(
        "pods",
        &[
            ("ingress", &at("listener")),
            ("tcp", &at("tcp")),
            ("egress", &at("listener")),
            ("upstream", &at("upstream")),
        ],
    );
    let objects = objects.bed(
        "portcullis",
        &[("check", &at("check")), ("outbound", &at("outbound"))],
    );
    match form.name {
        "gateway" => applied(objects).bed("tcp", &[]),
        "sidecar" => form
            .applied
            .iter()
            .fold(objects, |objects, path| objects.file(path))
            .bed(
                "sidecar",
                &[
                    ("address", &"127.0.9.2"),
                    ("sidecar", &at("listener")),
                    ("upstream", &at("upstream")),
                ],
            ),
        _ => form
            .applied
            .iter()
            .fold(objects, |objects, path| {
                objects.text(path, &crate::egress::at_partner(path, at("upstream")))
            })
            .bed("checkout", &[("address", &"127.0.9.1")]),
    }
}

/// The entries of a list of one part of the dump.
fn resources<'a>(dump: &'a Value, part: &str, list: &str) -> Vec<&'a Value> {
    let configs = dump["configs"].as_array().into_iter().flatten();
    let mut parts = configs.filter(|config| {
        config["@type"]
            .as_str()
            .is_some_and(|kind| kind.ends_with(&format!(".{part}")))
    });
    let found = parts.next().and_then(|config| config[list].as_array());
    found.into_iter().flatten().collect()
}

/// A resource as a static one.
fn plain(resource: &Value) -> Value {
    let mut resource = resource.clone();
    if let Some(object) = resource.as_object_mut() {
        object.remove("@type");
    }
    resource
}

fn static_configuration(dump: &Value) -> Value {
    let mut listeners: Vec<Value> = resources(dump, "ListenersConfigDump", "dynamic_listeners")
        .into_iter()
        .map(|listener| with_routes(plain(&listener["active_state"]["listener"]), dump))
        .collect();
    let mut clusters: Vec<Value> = resources(dump, "ClustersConfigDump", "dynamic_active_clusters")
        .into_iter()
        .map(|cluster| with_endpoints(plain(&cluster["cluster"]), dump))
        .collect();
    for all in [&mut listeners, &mut clusters] {
        all.sort_by_key(|resource| resource["name"].as_str().map(ToOwned::to_owned));
    }
    let mut whole = json!({
        "admin": { "address": { "socket_address": { "address": "127.0.0.1", "port_value": 0 } } },
        "layered_runtime": { "layers": [{ "name": "static", "static_layer": {
            "envoy.reloadable_features.http_reject_path_with_fragment": false,
            "re2.max_program_size.error_level": 32768,
        } }] },
        "static_resources": { "listeners": listeners, "clusters": clusters },
    });
    without_tls(&mut whole);
    whole
}

/// Puts the routes, which Envoy asks for apart, into the listener.
fn with_routes(mut listener: Value, dump: &Value) -> Value {
    let routes = resources(dump, "RoutesConfigDump", "dynamic_route_configs");
    each_object(&mut listener, &mut |object| {
        if let Some(rds) = object.remove("rds") {
            let wanted = &rds["route_config_name"];
            let mut found = routes.iter().map(|route| plain(&route["route_config"]));
            let route = found.find(|route| route["name"] == *wanted);
            object.insert(
                "route_config".to_owned(),
                route.unwrap_or_else(|| panic!("no route {wanted}")),
            );
        }
    });
    listener
}

/// Puts the endpoints, which Envoy asks for apart, into the cluster.
fn with_endpoints(mut cluster: Value, dump: &Value) -> Value {
    if cluster["type"] == "EDS" {
        let all = resources(dump, "EndpointsConfigDump", "dynamic_endpoint_configs");
        let mut found = all
            .into_iter()
            .map(|endpoints| plain(&endpoints["endpoint_config"]));
        let name = cluster["name"].clone();
        let endpoints = found.find(|endpoints| endpoints["cluster_name"] == name);
        let object = cluster.as_object_mut().expect("a cluster");
        object.remove("eds_cluster_config");
        object.insert("type".to_owned(), "STATIC".into());
        let none = json!({ "cluster_name": name });
        object.insert("load_assignment".to_owned(), endpoints.unwrap_or(none));
    }
    cluster
}

/// Certificates are given to a proxy by another, who is not frozen: no side speaks TLS.
fn without_tls(whole: &mut Value) {
    each_object(whole, &mut |object| {
        object.remove("transport_socket");
        object.remove("filter_chain_match");
    });
}

fn each_object(value: &mut Value, change: &mut impl FnMut(&mut Map<String, Value>)) {
    match value {
        Value::Object(object) => {
            change(object);
            object
                .values_mut()
                .for_each(|value| each_object(value, change));
        }
        Value::Array(values) => values
            .iter_mut()
            .for_each(|value| each_object(value, change)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
