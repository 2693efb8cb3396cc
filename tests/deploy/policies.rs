//! What no validation of Istio's finds: providers that do not exist, ports that are no gRPC, a time-out
//! of ten minutes, policies that let pass, select Portcullis itself, or do nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::Value;

use crate::connections::{DEADLINE, seconds};
use crate::helm::rendered_all;
use crate::objects::{KUSTOMIZATIONS, Object, document, files, kustomized, plain, read};

/// The extension providers of a mesh configuration, by name.
fn providers(path: &str) -> BTreeMap<String, Value> {
    let mesh = document(path);
    let list = mesh["extensionProviders"]
        .as_array()
        .cloned()
        .expect("providers");
    let named = |one: Value| {
        (
            one["name"].as_str().expect("a name").to_owned(),
            one["envoyExtAuthzGrpc"].clone(),
        )
    };
    list.into_iter().map(named).collect()
}

fn all_providers() -> BTreeMap<String, Value> {
    let mut all = providers("deploy/istio/mesh-config.yaml");
    all.extend(providers("deploy/istio/node-local/mesh-config.yaml"));
    all
}

/// Every object that anything under `deploy/` makes.
pub(crate) fn everything() -> Vec<Object> {
    let built = KUSTOMIZATIONS.into_iter().flat_map(kustomized);
    plain()
        .into_iter()
        .chain(built)
        .chain(rendered_all())
        .collect()
}

fn custom(objects: &[Object]) -> impl Iterator<Item = &Object> {
    let is_custom = |object: &&Object| {
        object.kind() == "AuthorizationPolicy" && object.text("/spec/action") == "CUSTOM"
    };
    objects.iter().filter(is_custom)
}

#[test]
fn s33_every_policy_names_a_provider_that_the_mesh_configuration_has() {
    let (objects, providers) = (everything(), all_providers());
    let mut used = BTreeSet::new();
    for policy in custom(&objects) {
        let name = policy.text("/spec/provider/name");
        assert!(providers.contains_key(name), "{policy}: {name}");
        used.insert(name);
    }
    assert_eq!(
        used.len(),
        providers.len(),
        "each provider is used: {used:?}"
    );
}

#[test]
fn providers_fail_closed_soon_and_have_names_that_istio_takes() {
    for (name, provider) in all_providers() {
        let label = |char: char| char.is_ascii_lowercase() || char.is_ascii_digit() || char == '-';
        assert!(
            name.len() <= 63
                && name.chars().all(label)
                && !name.starts_with('-')
                && !name.ends_with('-'),
            "{name}"
        );
        let timeout = seconds(
            provider["timeout"]
                .as_str()
                .expect("a time-out; Istio's own is 600s"),
        );
        assert!(
            timeout > DEADLINE * 2 && timeout <= Duration::from_secs(2),
            "{name}: {timeout:?}"
        );
        assert_eq!(provider["failOpen"], false, "{name}");
        assert_eq!(provider["statusOnError"], "503", "{name}");
        assert_eq!(provider.get("includeRequestBodyInCheck"), None, "{name}");
    }
}

#[test]
fn s33_every_provider_is_a_port_of_ours_whose_name_says_grpc() {
    let objects = everything();
    for (name, provider) in all_providers() {
        let service = provider["service"].as_str().expect("a service");
        let host = service.rsplit('/').next().unwrap_or(service);
        let port = provider["port"].as_u64().expect("a port");
        let is_it = |object: &&Object| match object.kind() {
            "Service" => {
                format!("{}.{}.svc.cluster.local", object.name(), object.namespace()) == host
            }
            "ServiceEntry" => object.list("/spec/hosts").iter().any(|own| own == host),
            _ => false,
        };
        let found: Vec<_> = objects.iter().filter(is_it).collect();
        assert!(!found.is_empty(), "{name}: {host}");
        // a chart without the outbound port is asked there by nobody
        let ports = |object: &&Object| {
            let key = if object.kind() == "Service" {
                "port"
            } else {
                "number"
            };
            object.list("/spec/ports").iter().any(|one| {
                one[key] == port
                    && one["name"]
                        .as_str()
                        .is_some_and(|name| name.starts_with("grpc"))
            })
        };
        let has_not: Vec<_> = found.iter().filter(|object| !ports(object)).collect();
        assert!(
            has_not
                .iter()
                .all(|object| port == 9003 && object.from.starts_with("chart")),
            "{name}: {has_not:?}"
        );
    }
}

#[test]
fn s33_no_policy_lets_pass_by_a_pattern_or_by_what_custom_cannot_say() {
    let objects = everything();
    assert!(custom(&objects).count() > 8);
    for policy in custom(&objects) {
        let rules = policy.list("/spec/rules");
        assert!(
            !rules.is_empty(),
            "{policy}: without rules nothing is asked about"
        );
        for rule in rules {
            let keys: Vec<_> = rule.as_object().expect("a rule").keys().collect();
            assert!(keys.iter().all(|key| *key == "to"), "{policy}: {keys:?}");
            for operation in rule["to"].as_array().into_iter().flatten() {
                let operation = operation["operation"].as_object().expect("an operation");
                // `paths` and `methods` would say what is asked about: the rest would pass
                assert!(
                    operation.keys().all(|key| key == "notPaths"),
                    "{policy}: {operation:?}"
                );
                let paths = operation["notPaths"].as_array().expect("paths");
                assert!(
                    paths.iter().all(|path| path
                        .as_str()
                        .is_some_and(|path| path.starts_with('/') && !path.contains('*'))),
                    "{policy}: {paths:?}"
                );
            }
        }
    }
}

#[test]
fn s33_no_policy_selects_portcullis_itself_and_none_is_without_target() {
    let objects = everything();
    for policy in custom(&objects) {
        let selector = policy.labels("/spec/selector/matchLabels");
        let targets = policy.list("/spec/targetRefs");
        assert!(
            selector.is_some() == targets.is_empty(),
            "{policy}: names what asks, in one way"
        );
        assert_ne!(policy.namespace(), "portcullis", "{policy}");
        let own = selector.unwrap_or_default();
        assert!(!own.contains_key("app.kubernetes.io/name"), "{policy}");
        assert!(
            targets.iter().all(|target| target["name"] != "portcullis"),
            "{policy}"
        );
    }
}

#[test]
fn s33_of_two_policies_for_one_workload_both_name_one_provider() {
    let mut of: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    // that of the form on each node is another provider's: `apply` puts it in the other's place
    let objects = plain();
    let is_node_local = |policy: &&Object| policy.from.contains("node-local");
    let node_local = custom(&objects).find(is_node_local).expect("a policy");
    let mut replaced = document("deploy/istio/gateway.yaml");
    replaced["spec"]["provider"]["name"] = "node-portcullis".into();
    assert_eq!(node_local.value, replaced);
    for policy in custom(&objects).filter(|policy| !is_node_local(policy)) {
        let spec = &policy.value["spec"];
        let workload = format!(
            "{} {} {}",
            policy.namespace(),
            spec["selector"],
            spec["targetRefs"]
        );
        of.entry(workload)
            .or_default()
            .insert(policy.text("/spec/provider/name").to_owned());
    }
    assert!(of.len() >= 5, "{of:?}");
    assert!(of.values().all(|names| names.len() == 1), "{of:?}");
}

#[test]
fn nothing_is_a_trial() {
    for file in files("deploy") {
        assert!(
            !read(&file).contains("istio.io/dry-run"),
            "{file}: it is not for CUSTOM, and may deny"
        );
    }
}

#[test]
fn s33_who_may_connect_and_who_may_ask_are_the_same() {
    let policy = document("deploy/istio/protect-check-port.yaml");
    let of_port = |port: &str| -> BTreeSet<String> {
        let rules = policy["spec"]["rules"].as_array().expect("rules").iter();
        let rule = rules
            .into_iter()
            .find(|rule| rule["to"][0]["operation"]["ports"][0] == port);
        let principals = rule.expect("a rule")["from"][0]["source"]["principals"]
            .as_array()
            .cloned();
        principals
            .expect("principals")
            .iter()
            .map(|one| format!("spiffe://{}", one.as_str().expect("text")))
            .collect()
    };
    for form in ["sidecar", "spiffe"] {
        let configuration = document(&format!("deploy/kustomize/{form}/portcullis.yaml"));
        for (listener, port) in [("inbound", "9001"), ("outbound", "9003")] {
            let allow = configuration["listeners"][listener]["peers"]["allow"]
                .as_array()
                .cloned();
            let allow = allow.expect("a list").into_iter();
            let id = |one: Value| {
                one.as_str()
                    .or(one["id"].as_str())
                    .expect("an id")
                    .to_owned()
            };
            assert_eq!(
                allow.map(id).collect::<BTreeSet<_>>(),
                of_port(port),
                "{form}, {listener}"
            );
        }
    }
}
