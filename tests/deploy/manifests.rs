//! Every file under `deploy/` that a user applies: it parses, it is what its kind may be, and a guide
//! names it.

use crate::objects::{
    KUSTOMIZATIONS, at, document, documents, files, is_no_object, kustomized, plain, read,
};
use crate::tools::{kubeconform, output};

#[test]
fn s33_every_manifest_is_what_the_schema_of_its_kind_allows() {
    for folder in crate::objects::PLAIN {
        for file in files(folder) {
            if file.ends_with(".yaml") && !is_no_object(&file) {
                kubeconform(&read(&file)).unwrap_or_else(|why| panic!("{file}: {why}"));
            }
        }
    }
    kubeconform(&read("deploy/openshift/istio.yaml")).unwrap_or_else(|why| panic!("{why}"));
    for folder in KUSTOMIZATIONS {
        let own = read(&format!("{folder}/kustomization.yaml"));
        kubeconform(&own).unwrap_or_else(|why| panic!("{folder}: {why}"));
        let built = output(
            "kustomize",
            ["build".to_owned(), at(folder).display().to_string()],
        );
        kubeconform(&built).unwrap_or_else(|why| panic!("{folder}: {why}"));
    }
}

#[test]
fn a_mistake_in_a_manifest_is_found() {
    let good = read("deploy/istio/gateway.yaml");
    for (from, to) in [
        ("provider:", "providers:"),
        ("action: CUSTOM", "action: CUSTM"),
        ("notPaths: [", "notPaths: /healthz # ["),
    ] {
        assert!(good.contains(from), "{from}");
        assert!(
            kubeconform(&good.replace(from, to)).is_err(),
            "{to} is taken"
        );
    }
    let deployment = read("deploy/kustomize/base/deployment.yaml");
    for (from, to) in [("replicas: 2", "replicas: two"), ("image:", "imge:")] {
        assert!(deployment.contains(from), "{from}");
        assert!(
            kubeconform(&deployment.replace(from, to)).is_err(),
            "{to} is taken"
        );
    }
}

#[test]
fn every_file_of_deploy_parses_says_what_it_is_for_and_is_named_by_a_guide() {
    let guides: String = files("docs")
        .iter()
        .filter(|file| file.ends_with(".md"))
        .map(|file| read(file))
        .collect();
    for folder in [
        "alerts",
        "envoy-gateway",
        "grafana",
        "istio",
        "kustomize",
        "openshift",
    ] {
        for file in files(&format!("deploy/{folder}")) {
            let text = read(&file);
            if file.ends_with(".yaml") {
                let all = documents(&text, &file);
                assert!(!all.is_empty(), "{file} holds nothing");
                assert!(text.starts_with("# "), "{file} does not say what it is for");
            }
            // a folder that is applied as a whole is named as a whole
            let (own, _) = file.rsplit_once('/').unwrap_or_default();
            let whole = own.starts_with("deploy/kustomize") || own == "deploy/openshift";
            let named = guides.contains(&file) || whole && guides.contains(own);
            assert!(named, "no guide names {file}");
        }
    }
}

#[test]
fn the_same_object_is_the_same_text_everywhere() {
    for (name, folders) in [
        ("peer-authentication.yaml", &["sidecar", "ambient"][..]),
        ("protect-check-port.yaml", &["sidecar", "ambient"]),
        ("sidecar-scope.yaml", &["sidecar"]),
        ("destination-rule.yaml", &["spiffe"]),
        ("network-policy.yaml", &["base"]),
    ] {
        let first = read(&format!("deploy/istio/{name}"));
        for folder in folders {
            assert_eq!(
                read(&format!("deploy/kustomize/{folder}/{name}")),
                first,
                "{folder}/{name}"
            );
        }
    }
    let mesh = document("deploy/istio/mesh-config.yaml");
    assert_eq!(
        document("deploy/istio/istiod-values.yaml")["meshConfig"],
        mesh
    );
    let openshift = document("deploy/openshift/istio.yaml");
    assert_eq!(openshift["spec"]["values"]["meshConfig"], mesh);
    for (name, copy) in [
        ("deploy/alerts/portcullis.yaml", "alerts.yaml"),
        ("deploy/grafana/portcullis.json", "dashboard.json"),
    ] {
        assert_eq!(
            read(name),
            read(&format!("deploy/helm/portcullis/files/{copy}")),
            "{name}"
        );
    }
}

#[test]
fn no_pod_of_ours_has_more_rights_than_it_needs() {
    let rendered = KUSTOMIZATIONS.into_iter().flat_map(kustomized);
    let rendered = rendered.chain(crate::helm::rendered_all());
    let mut seen = 0;
    for object in rendered.filter(|object| object.kind() == "Deployment") {
        seen += 1;
        let pod = &object.value["spec"]["template"]["spec"];
        let container = &pod["containers"][0]["securityContext"];
        assert_eq!(pod["securityContext"]["runAsNonRoot"], true, "{object}");
        assert_eq!(
            pod["securityContext"]["seccompProfile"]["type"], "RuntimeDefault",
            "{object}"
        );
        assert_eq!(pod["automountServiceAccountToken"], false, "{object}");
        assert_eq!(container["readOnlyRootFilesystem"], true, "{object}");
        assert_eq!(container["allowPrivilegeEscalation"], false, "{object}");
        assert_eq!(container["capabilities"]["drop"][0], "ALL", "{object}");
        let text = object.value.to_string();
        assert!(
            !text.contains("runAsUser"),
            "{object}: OpenShift gives the user id"
        );
        assert!(
            !text.contains("subPath"),
            "{object}: such a file would never change"
        );
    }
    assert!(seen >= 8, "{seen} Deployments were looked at");
}

#[test]
fn what_is_stopped_has_time_to_end() {
    let rendered = KUSTOMIZATIONS.into_iter().flat_map(kustomized);
    let rendered = rendered.chain(crate::helm::rendered_all()).chain(plain());
    let is_ours = |object: &crate::objects::Object| {
        let workload = matches!(object.kind(), "Deployment" | "DaemonSet");
        workload && object.name() == "portcullis"
    };
    for object in rendered.filter(is_ours) {
        let grace = object
            .value
            .pointer("/spec/template/spec/terminationGracePeriodSeconds");
        // the defaults of checks.drainDelay and checks.drainGrace
        assert!(
            grace.and_then(serde_json::Value::as_u64) > Some(5 + 10),
            "{object}"
        );
    }
}
