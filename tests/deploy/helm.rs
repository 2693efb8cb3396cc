//! The chart: it renders in every mode, and refuses what would not work or would let somebody in.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::process::Output;
use std::sync::LazyLock;

use serde_json::Value;
use tempfile::TempDir;

use crate::objects::{Object, at, document, documents, files, read};
use crate::tools::{kubeconform, output, run, text};

const CHART: &str = "deploy/helm/portcullis";

/// The values that the chart is rendered with: every mode, and whatever can be switched on.
pub(crate) const VALUES: [&str; 6] = [
    "sidecar",
    "spiffe",
    "ambient",
    "plain",
    "everything",
    "store",
];

fn arguments(verb: &[&str], values: &str, set: &[&str]) -> Vec<String> {
    let file = at(&format!("{CHART}/ci/{values}-values.yaml"));
    let verb = verb.iter().map(|&word| word.to_owned());
    let rest = [
        at(CHART).display().to_string(),
        "--values".to_owned(),
        file.display().to_string(),
    ];
    let set = set
        .iter()
        .flat_map(|&one| ["--set".to_owned(), one.to_owned()]);
    verb.chain(rest).chain(set).collect()
}

/// Renders one of [`VALUES`] with further settings.
pub(crate) fn template(values: &str, set: &[&str]) -> Output {
    run(
        "helm",
        arguments(&["template", "-n", "portcullis", "portcullis"], values, set),
    )
}

/// What the chart makes of each of [`VALUES`], rendered once.
static RENDERED: LazyLock<BTreeMap<&str, Vec<Object>>> = LazyLock::new(|| {
    let render = |values: &'static str| {
        let output = template(values, &[]);
        let (told, wrong) = (text(&output.stdout), text(&output.stderr));
        assert!(output.status.success(), "{values}: {wrong}");
        (values, documents(&told, &format!("chart, {values}")))
    };
    VALUES.into_iter().map(render).collect()
});

/// What the chart makes of one of [`VALUES`].
pub(crate) fn rendered(values: &str) -> Vec<Object> {
    RENDERED[values].clone()
}

/// What the chart makes of all of them.
pub(crate) fn rendered_all() -> impl Iterator<Item = Object> {
    VALUES.into_iter().flat_map(rendered)
}

fn kinds(objects: &[Object]) -> BTreeSet<&str> {
    objects.iter().map(Object::kind).collect()
}

#[test]
fn s33_the_chart_renders_in_each_mode_and_with_everything_switched_on() {
    let given: Vec<_> = files(&format!("{CHART}/ci"));
    assert_eq!(given.len(), VALUES.len(), "{given:?}");
    for values in VALUES {
        output("helm", arguments(&["lint", "--strict"], values, &[]));
        let output = template(values, &[]);
        assert!(
            output.status.success(),
            "{values}: {}",
            text(&output.stderr)
        );
        kubeconform(&text(&output.stdout)).unwrap_or_else(|why| panic!("{values}: {why}"));
    }
}

#[test]
fn s33_each_mode_has_the_objects_that_protect_its_ports() {
    for (values, has, has_not) in [
        (
            "sidecar",
            &[
                "PeerAuthentication",
                "AuthorizationPolicy",
                "Sidecar",
                "EnvoyFilter",
            ][..],
            &["DestinationRule"][..],
        ),
        (
            "spiffe",
            &["DestinationRule"],
            &["PeerAuthentication", "Sidecar"],
        ),
        (
            "ambient",
            &["PeerAuthentication", "AuthorizationPolicy"],
            &["DestinationRule", "Sidecar"],
        ),
        (
            "plain",
            &["NetworkPolicy"],
            &[
                "PeerAuthentication",
                "AuthorizationPolicy",
                "DestinationRule",
                "Sidecar",
            ],
        ),
        (
            "store",
            &["PersistentVolumeClaim"],
            &["HorizontalPodAutoscaler"],
        ),
        (
            "everything",
            &[
                "ClusterSPIFFEID",
                "HorizontalPodAutoscaler",
                "PodDisruptionBudget",
                "PrometheusRule",
                "ServiceMonitor",
            ],
            &[],
        ),
    ] {
        let objects = rendered(values);
        let kinds = kinds(&objects);
        for kind in has {
            assert!(kinds.contains(kind), "{values} has no {kind}");
        }
        for kind in has_not {
            assert!(!kinds.contains(kind), "{values} has a {kind}");
        }
    }
}

#[test]
fn every_value_has_a_comment() {
    let values = read(&format!("{CHART}/values.yaml"));
    let lines: Vec<_> = values.lines().collect();
    let pairs = lines.windows(2);
    let missing = pairs.filter(|pair| {
        pair[1].starts_with(|char: char| char.is_ascii_lowercase()) && !pair[0].starts_with('#')
    });
    let missing: Vec<_> = missing.map(|pair| pair[1]).collect();
    assert_eq!(missing, [""; 0]);
}

/// The notes that `helm install` prints: rendered as an object, because helm renders notes only where
/// there is a cluster.
fn notes(values: &str) -> String {
    let copy = TempDir::new().expect("a temporary folder");
    for file in files(CHART) {
        let name = file.strip_prefix(CHART).expect("a file of the chart");
        let to = copy.path().join(
            name.trim_start_matches('/')
                .replace("templates/NOTES.txt", "NOTES.txt"),
        );
        fs::create_dir_all(to.parent().expect("a folder")).expect("a folder");
        fs::copy(at(&file), to).expect("a file to copy");
    }
    let template = "kind: Notes\ntext: |\n{{ tpl (.Files.Get \"NOTES.txt\") . | indent 2 }}\n";
    fs::write(copy.path().join("templates/notes.yaml"), template).expect("a file to write");
    let file = at(&format!("{CHART}/ci/{values}-values.yaml"));
    let words = [
        "template",
        "-n",
        "portcullis",
        "portcullis",
        "--show-only",
        "templates/notes.yaml",
        "--values",
    ];
    let words = words.into_iter().map(str::to_owned);
    let rest = [
        file.display().to_string(),
        copy.path().display().to_string(),
    ];
    documents(&output("helm", words.chain(rest)), values)[0]
        .text("/text")
        .to_owned()
}

#[test]
fn the_notes_name_the_provider_as_the_mesh_configuration_has_it() {
    let mesh = document("deploy/istio/mesh-config.yaml");
    for (values, providers) in [("sidecar", 1), ("spiffe", 1), ("everything", 2)] {
        let notes = notes(values);
        let snippet = notes.split("meshConfig:").nth(1).expect("a snippet");
        let snippet = format!(
            "meshConfig:{}",
            snippet.split("\n\n").next().expect("a part")
        );
        let told = &documents(&snippet, values)[0].value["meshConfig"];
        assert_eq!(
            told["pathNormalization"], mesh["pathNormalization"],
            "{values}"
        );
        let told = told["extensionProviders"].as_array().expect("a list");
        let known = mesh["extensionProviders"].as_array().expect("a list");
        assert_eq!(told.len(), providers, "{values}");
        assert!(
            told.iter().all(|one| known.contains(one)),
            "{values}: {told:?}"
        );
    }
    assert!(notes("plain").contains("a NetworkPolicy does"));
}

#[test]
fn the_store_has_one_process_at_a_time() {
    let objects = rendered("store");
    let deployment = objects.iter().find(|object| object.kind() == "Deployment");
    let deployment = deployment.expect("a Deployment");
    assert_eq!(deployment.value["spec"]["replicas"], 1);
    assert_eq!(deployment.text("/spec/strategy/type"), "Recreate");
}

#[test]
fn with_an_autoscaler_the_chart_names_no_number_of_replicas() {
    let objects = rendered("everything");
    let deployment = objects.iter().find(|object| object.kind() == "Deployment");
    assert_eq!(
        deployment
            .expect("a Deployment")
            .value
            .pointer("/spec/replicas"),
        None::<&Value>
    );
}
