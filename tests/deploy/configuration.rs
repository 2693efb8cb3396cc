//! What `deploy/` holds of Portcullis' own configuration is loaded by Portcullis.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;

use crate::helm::{VALUES, rendered};
use crate::objects::{KUSTOMIZATIONS, Object, documents, kustomized, read};
use crate::tools::text;

/// A certificate, its key and an authority, for files that a Secret would hold.
fn certificate() -> (String, String) {
    let signed = rcgen::generate_simple_self_signed(["portcullis".to_owned()]);
    let signed = signed.expect("a certificate");
    (signed.cert.pem(), signed.signing_key.serialize_pem())
}

/// The data of the ConfigMap of this name.
fn data(objects: &[Object], name: &str) -> BTreeMap<String, String> {
    let is_it = |object: &&Object| object.kind() == "ConfigMap" && object.name() == name;
    let found = objects.iter().find(is_it);
    let found = found.unwrap_or_else(|| panic!("no ConfigMap {name}"));
    found.labels("/data").expect("data")
}

/// Loads the configuration and the catalog of these objects, where the pod would find them.
fn check(objects: &[Object], whose: &str) {
    let folder = TempDir::new().expect("a temporary folder");
    let within = |name: &str| folder.path().join(name).display().to_string();
    let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).expect("a file");
    for name in ["catalog", "tls", "state"] {
        fs::create_dir(folder.path().join(name)).expect("a folder");
    }
    for (name, text) in data(objects, "portcullis-catalog") {
        write(&format!("catalog/{name}"), &text);
    }
    let (certificate, key) = certificate();
    write("tls/tls.crt", &certificate);
    write("tls/ca.crt", &certificate);
    write("tls/tls.key", &key);
    let configuration = data(objects, "portcullis");
    let configuration = configuration.get("portcullis.yaml");
    let configuration = configuration.expect("a configuration");
    let configuration = configuration
        .replace("/etc/portcullis-catalog", &within("catalog"))
        .replace("/etc/portcullis-tls", &within("tls"))
        .replace("/var/lib/portcullis", &within("state"));
    write("portcullis.yaml", &configuration);
    let output = Command::new(env!("CARGO_BIN_EXE_portcullis"))
        .args(["check-config", "--config", &within("portcullis.yaml")])
        .env("PARTNER_SECRET", "a secret")
        .env("REDIS_PASSWORD", "a password")
        .env("STORE_KEY", "a key that is thirty-two bytes long")
        .output()
        .expect("portcullis runs");
    let told = format!("{}{}", text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{whose}: {told}\n{configuration}");
    assert!(told.contains("good: "), "{whose}: {told}");
    // proxies of Istio set that header themselves: this is said where it is configured
    let warned = told
        .lines()
        .find(|line| line.starts_with("warning: ") && !line.contains(".requestXfcc: "));
    assert_eq!(warned, None, "{whose}");
}

#[test]
fn s33_every_configuration_under_deploy_is_good_and_warns_of_nothing() {
    for folder in KUSTOMIZATIONS {
        // the base has no configuration of its own
        if !folder.ends_with("/base") {
            check(&kustomized(folder), folder);
        }
    }
    for values in VALUES {
        check(&rendered(values), values);
    }
    let file = "deploy/istio/node-local/daemonset.yaml";
    check(&documents(&read(file), file), file);
}

/// The check listeners of a configuration of ours.
fn listeners(objects: &[Object]) -> Vec<Value> {
    let configuration = data(objects, "portcullis");
    let read = documents(&configuration["portcullis.yaml"], "portcullis.yaml");
    let listeners = read[0].value["listeners"].as_object().cloned();
    let is_check = |listener: &Value| listener["type"] == "check";
    listeners
        .expect("listeners")
        .into_values()
        .filter(is_check)
        .collect()
}

#[test]
fn s33_what_is_told_of_the_peer_is_believed_only_where_our_own_sidecar_alone_connects() {
    let forms = KUSTOMIZATIONS
        .into_iter()
        .filter(|folder| !folder.ends_with("/base"));
    let forms = forms
        .map(kustomized)
        .chain(VALUES.into_iter().map(rendered));
    for objects in forms {
        for listener in listeners(&objects) {
            let address = listener["address"].as_str().unwrap_or_default();
            let trusts = listener["trustXfcc"] == true;
            let from = &objects[0].from;
            assert_eq!(
                trusts,
                address.starts_with("127.0.0.1:"),
                "{from}: {listener}"
            );
            let peers = &listener["peers"];
            let has_tls = listener.get("tls").is_some();
            let some = peers["allow"]
                .as_array()
                .is_some_and(|allow| !allow.is_empty());
            let says_why = peers["any"].as_str().is_some_and(|why| why.len() > 20);
            assert!(
                says_why || some && (trusts || has_tls),
                "{from}: {listener}"
            );
            let scoped = objects.iter().any(|object| object.kind() == "Sidecar");
            assert_eq!(
                trusts, scoped,
                "{from}: loopback is our sidecar's by a Sidecar resource"
            );
        }
    }
}
