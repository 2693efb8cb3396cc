//! The catalog changes while checks go on: whole, or not at all.

use std::fs;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::gate::{APIS, Gate, SHOP_KEY, applications, get_order, metadata};
use crate::support::check::CheckBuilder;
use crate::support::{PATIENCE, eventually};

fn get() -> CheckBuilder {
    get_order().header("x-api-key", SHOP_KEY)
}

/// Asks until the answer has this reason.
async fn until(gate: &Gate, check: impl Fn() -> CheckBuilder, reason: &str) {
    let start = Instant::now();
    loop {
        let answer = gate.ask(check()).await;
        let found = metadata(&answer, "reason").unwrap();
        if found == reason {
            return;
        }
        assert!(
            start.elapsed() < PATIENCE,
            "still {found} and not {reason}\n{}",
            gate.server.stderr()
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn status(gate: &Gate) -> Value {
    gate.server.admin("/v1/catalog").json()
}

fn revision(gate: &Gate) -> String {
    status(gate)["revision"].as_str().unwrap().to_owned()
}

/// When the configuration was last found good: at each look.
fn last_look(gate: &Gate) -> Value {
    status(gate)["status"]["configuration"]["lastSuccess"].clone()
}

fn suspended(gate: &Gate) -> String {
    applications(gate.issuer.url()).replace("  owner: acme", "  owner: acme\n  state: suspended")
}

#[tokio::test]
async fn a_change_is_taken_and_its_revision_shown() {
    let gate = Gate::start();
    let before = revision(&gate);
    until(&gate, get, "permitted").await;
    gate.server
        .write_catalog("applications.yaml", &suspended(&gate));
    until(&gate, get, "application_suspended").await;
    assert_ne!(revision(&gate), before);
    gate.server
        .write_catalog("applications.yaml", &applications(gate.issuer.url()));
    until(&gate, get, "permitted").await;
    assert_eq!(
        revision(&gate),
        before,
        "the revision is a digest of what is served"
    );
}

#[tokio::test]
async fn a_broken_change_is_refused_whole_and_told() {
    let mut gate = Gate::start();
    let before = revision(&gate);
    let broken = format!(
        "{}---\napiVersion: portcullis.dev/v1alpha1\nkind: Application\nmetadata: {{ name: x }}\nspec: {{ colour: red }}\n",
        suspended(&gate)
    );
    gate.server.write_catalog("applications.yaml", &broken);
    let problems = eventually("the problem to be told", || {
        let problems = gate.server.admin("/v1/problems").text();
        problems.contains("colour").then_some(problems)
    });
    assert!(problems.contains("applications.yaml"), "{problems}");
    assert_eq!(revision(&gate), before);
    until(&gate, get, "permitted").await;
    // what is refused is looked at again, and counts once
    let looked = last_look(&gate);
    gate.server.hang_up();
    eventually("another look", || {
        (last_look(&gate) != looked).then_some(())
    });
    eventually("the refusal to be counted", || {
        let metrics = gate.server.metrics();
        let told = |line: &str| metrics.lines().any(|told| told == line);
        (told(r#"portcullis_catalog_reloads_total{source="main",result="refused"} 1"#)
            && told(
                r#"portcullis_catalog_reloads_total{source="configuration",result="refused"} 0"#,
            )
            && told(r#"portcullis_catalog_refused{source="main"} 1"#))
        .then_some(())
    });
    assert!(
        gate.server.stderr().contains("SIGHUP"),
        "the signal is logged"
    );
    assert!(
        gate.server.stderr().contains("colour"),
        "a log line says what is wrong"
    );
    gate.server
        .write_catalog("applications.yaml", &suspended(&gate));
    until(&gate, get, "application_suspended").await;
    assert!(!gate.server.admin("/v1/problems").text().contains("colour"));
}

#[tokio::test]
async fn a_missing_or_empty_folder_is_never_no_rules() {
    let gate = Gate::start();
    let folder = gate.server.folder().join("catalog");
    let (aside, before) = (gate.server.folder().join("aside"), revision(&gate));
    fs::rename(&folder, &aside).unwrap();
    eventually("the missing folder to be told", || {
        (gate.server.admin("/v1/problems").text() != "[]").then_some(())
    });
    until(&gate, get, "permitted").await;
    fs::create_dir(&folder).unwrap();
    std::thread::sleep(Duration::from_millis(600));
    until(&gate, get, "permitted").await;
    until(
        &gate,
        || CheckBuilder::new("GET", "nowhere.example", "/"),
        "api_not_found",
    )
    .await;
    assert_eq!(revision(&gate), before);
}

#[tokio::test]
async fn a_config_map_flip_is_seen() {
    let gate = Gate::with(|builder, issuer| {
        // as kubelet lays a ConfigMap out: files link to ..data, which links to a dated folder
        let mounted = builder.folder().join("mounted");
        for (version, state) in [("..v1", "active"), ("..v2", "suspended")] {
            fs::create_dir_all(mounted.join(version)).unwrap();
            let applications = applications(issuer.url())
                .replace("  owner: acme", &format!("  owner: acme\n  state: {state}"));
            fs::write(
                mounted.join(version).join("all.yaml"),
                format!("{APIS}{applications}"),
            )
            .unwrap();
        }
        std::os::unix::fs::symlink("..v1", mounted.join("..data")).unwrap();
        std::os::unix::fs::symlink("..data/all.yaml", mounted.join("all.yaml")).unwrap();
        builder.set(
            &["catalog", "sources"],
            json!([{ "name": "main", "type": "file", "path": mounted }]),
        )
    });
    until(&gate, get, "permitted").await;
    let mounted = gate.server.folder().join("mounted");
    std::os::unix::fs::symlink("..v2", mounted.join("..data_tmp")).unwrap();
    fs::rename(mounted.join("..data_tmp"), mounted.join("..data")).unwrap();
    until(&gate, get, "application_suspended").await;
}

#[tokio::test]
async fn a_half_written_file_changes_nothing_until_it_is_whole() {
    let gate = Gate::start();
    let whole = suspended(&gate);
    let path = gate.server.folder().join("catalog/applications.yaml");
    fs::write(&path, &whole[..whole.len() / 2]).unwrap();
    for _ in 0..20 {
        let answer = gate.ask(get()).await;
        assert_eq!(metadata(&answer, "reason").as_deref(), Some("permitted"));
        tokio::time::sleep(Duration::from_millis(30)).await;
    }
    fs::write(&path, &whole).unwrap();
    until(&gate, get, "application_suspended").await;
}

#[tokio::test]
async fn an_emptied_file_does_not_open_what_it_closed() {
    let gate = Gate::with(|builder, _| builder.catalog("wide.yaml", &more_api("'*'")));
    let without_key = get_order;
    until(&gate, without_key, "credential_missing").await;
    let path = gate.server.folder().join("catalog/narrow.yaml");
    let narrow = more_api("narrow.example")
        .replace("name: more", "name: narrow")
        .replace("title: more", "title: narrow")
        .replace("[anonymous]", "[keys]");
    fs::write(&path, &narrow).unwrap();
    let ask = || CheckBuilder::new("GET", "narrow.example", "/");
    until(&gate, ask, "credential_missing").await;
    fs::write(&path, "").unwrap();
    eventually("the empty file to be told", || {
        let problems = gate.server.admin("/v1/problems").text();
        problems.contains("narrow.yaml").then_some(())
    });
    until(&gate, ask, "credential_missing").await;
    fs::remove_file(&path).unwrap();
    until(&gate, ask, "permitted").await;
}

/// A gate with a second source, in the folder `blocks`, that has an Api at `first.example`.
fn with_two_sources() -> Gate {
    Gate::with(|builder, _| {
        let folder = builder.folder().join("blocks");
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("api.yaml"), more_api("first.example")).unwrap();
        let main = builder.folder().join("catalog");
        builder.set(
            &["catalog", "sources"],
            json!([{ "name": "main", "type": "file", "path": main }, { "name": "more", "type": "file", "path": folder }]),
        )
    })
}

#[tokio::test]
async fn one_broken_source_keeps_its_last_good_state_while_others_change() {
    let gate = with_two_sources();
    let first = || CheckBuilder::new("GET", "first.example", "/");
    until(&gate, first, "permitted").await;
    fs::write(gate.server.folder().join("blocks/api.yaml"), "kind: [").unwrap();
    gate.server
        .write_catalog("applications.yaml", &suspended(&gate));
    until(&gate, get, "application_suspended").await;
    until(&gate, first, "permitted").await;
    fs::write(
        gate.server.folder().join("blocks/api.yaml"),
        more_api("second.example"),
    )
    .unwrap();
    until(
        &gate,
        || CheckBuilder::new("GET", "second.example", "/"),
        "permitted",
    )
    .await;
    until(&gate, first, "api_not_found").await;
}

#[tokio::test]
async fn a_source_that_conflicts_with_another_is_refused() {
    let gate = with_two_sources();
    fs::write(
        gate.server.folder().join("blocks/api.yaml"),
        more_api("api.example").replace("basePath: /", "basePath: /orders"),
    )
    .unwrap();
    eventually("the conflict to be told", || {
        gate.server
            .admin("/v1/problems")
            .text()
            .contains("precedence")
            .then_some(())
    });
    until(&gate, get, "permitted").await;
    until(
        &gate,
        || CheckBuilder::new("GET", "first.example", "/"),
        "permitted",
    )
    .await;
}

#[tokio::test]
async fn authenticators_change_with_the_catalog_and_other_sections_say_that_they_need_a_restart() {
    let gate = Gate::start();
    until(&gate, get, "permitted").await;
    let path = gate.server.folder().join("portcullis.yaml");
    let mut config: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
    config["authenticators"]["keys"]["credentials"] = json!([{ "header": "x-other-key" }]);
    config["checks"] = json!({ "deadline": "1s" });
    fs::write(&path, config.to_string()).unwrap();
    until(&gate, get, "credential_missing").await;
    until(
        &gate,
        || get_order().header("x-other-key", SHOP_KEY),
        "permitted",
    )
    .await;
    assert!(
        status(&gate).to_string().contains("checks"),
        "{}",
        status(&gate)
    );
    assert!(
        gate.server.stderr().contains("restart"),
        "{}",
        gate.server.stderr()
    );
}

fn more_api(host: &str) -> String {
    format!(
        "apiVersion: portcullis.dev/v1alpha1\nkind: Api\nmetadata: {{ name: more }}\nspec:\n  title: more\n  version: 1.0.0\n  hosts: [{host}]\n  basePath: /\n  authenticators: [anonymous]\n  subscription: none\n  unmatchedOperation: allow\n"
    )
}
