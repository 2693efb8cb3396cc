use std::os::unix::fs::symlink;
use std::path::Path;

use tempfile::TempDir;

use super::*;
use crate::authentication::Authenticator;
use crate::config::quick::Quick;
use crate::config::value::SecretSource;

/// A folder with a configuration of two sources, and what was loaded from it.
struct Scene {
    folder: TempDir,
    sync: CatalogSync,
    snapshots: SnapshotReader,
}

const CONFIG: &str = "\
authenticators:
  keys: { type: apiKey, credentials: [{ header: x-api-key }] }
catalog:
  sources:
    - { name: first, type: file, path: first }
    - { name: second, type: file, path: second }
";

fn api(name: &str, host: &str) -> String {
    format!(
        "---\nkind: Api\nmetadata: {{ name: {name} }}\nspec:\n  title: {name}\n  version: 1.0.0\n  hosts: [{host}]\n  authenticators: [keys]\n  operations: [{{ path: / }}]\n"
    )
}

fn application(spec: &str) -> String {
    format!("---\nkind: Application\nmetadata: {{ name: shop }}\nspec: {spec}\n")
}

/// Stands for each configured authenticator; reads the file `secret`.
fn builder() -> BuildConfigured {
    Box::new(|config, reader, findings| {
        if let Err(error) = SecretSource::File("secret".into()).load(reader) {
            findings.wrong("authenticators.keys", error.to_string());
        }
        let names = config.authenticators.keys().map(String::as_str);
        let built = names
            .chain(["anonymous"])
            .map(|name| (name.into(), Arc::new(Authenticator::Anonymous)));
        Some(Configured {
            authenticators: built.collect(),
            ..Configured::default()
        })
    })
}

impl Scene {
    fn files() -> TempDir {
        let folder = tempfile::tempdir().unwrap();
        let write =
            |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        std::fs::create_dir(folder.path().join("first")).unwrap();
        std::fs::create_dir(folder.path().join("second")).unwrap();
        write("portcullis.yaml", CONFIG);
        write("secret", "s3cret\n");
        write("first/a.yaml", &api("a", "a.example"));
        write("second/b.yaml", &api("b", "b.example"));
        folder
    }

    fn load(folder: &TempDir) -> Result<(CatalogSync, Snapshot), Problems> {
        let loaded = Config::load(&folder.path().join("portcullis.yaml"), Vec::new())?;
        CatalogSync::load_first(loaded, builder(), None)
    }

    fn new() -> Self {
        let folder = Self::files();
        let (sync, snapshot) = Self::load(&folder).unwrap();
        Self {
            folder,
            sync,
            snapshots: SnapshotReader::new(snapshot),
        }
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).unwrap();
    }

    fn reload(&self) -> ReloadOutcome {
        let look = self.sync.look();
        self.sync.reload_if_settled(&look, &self.snapshots).unwrap()
    }

    fn apis(&self) -> Vec<String> {
        let snapshot = self.snapshots.current();
        let apis = snapshot.catalog().apis().iter();
        apis.map(|api| format!("{} {}", api.id.name(), api.hosts[0]))
            .collect()
    }

    /// Reloads and asserts that nothing changed, because of a problem that says `expected`.
    #[track_caller]
    fn assert_refused(&self, expected: &str) {
        let (apis, revision) = (self.apis(), self.revision());
        let outcome = self.reload();
        let problems = outcome.problems.to_string();
        assert!(
            !outcome.published && problems.contains(expected),
            "{problems}"
        );
        assert_eq!((self.apis(), self.revision()), (apis, revision));
    }

    fn revision(&self) -> String {
        self.snapshots.current().revision().as_str().to_owned()
    }
}

#[test]
fn nothing_new_publishes_nothing() {
    let scene = Scene::new();
    let outcome = scene.reload();
    assert!(!outcome.published && outcome.problems.is_empty());
    let status = scene.sync.status();
    assert_eq!(status.revision, scene.revision());
    assert_eq!((status.apis, status.applications), (2, 0));
    let json = serde_json::to_value(&status).unwrap();
    assert_eq!(json["sources"][0]["name"], "first");
    assert_eq!(json["restartNeeded"], serde_json::json!([]));
}

#[test]
fn a_changed_document_is_a_new_revision() {
    let scene = Scene::new();
    let before = scene.revision();
    scene.write("first/a.yaml", &api("a", "other.example"));
    let outcome = scene.reload();
    assert!(outcome.published && outcome.problems.is_empty());
    assert_eq!(scene.apis(), ["a other.example", "b b.example"]);
    assert_ne!(scene.revision(), before);
    // the same documents are the same revision
    scene.write("first/a.yaml", &api("a", "a.example"));
    scene.reload();
    assert_eq!(scene.revision(), before);
}

#[test]
fn what_is_wrong_keeps_the_old_and_names_the_place() {
    for (text, expected) in [
        (
            api("a", "a.example").replace("operations", "operation"),
            "a.yaml:9: spec.operation: unknown field `operation`",
        ),
        (
            api("a", "a.example").replace("version: 1.0.0", "title: twice"),
            "duplicate mapping key",
        ),
        (api("a", "a.example")[..90].to_owned(), "a.yaml:"),
        (
            api("a", "a.example").replace("[keys]", "[nobody]"),
            "a.yaml:8: spec.authenticators[0]: there is no authenticator `nobody`",
        ),
        (String::new(), "there is no catalog document in it"),
        (
            "# nothing\n---\n".to_owned(),
            "there is no catalog document in it",
        ),
        ("a: [".to_owned(), "a.yaml:"),
        (
            "kind: Gateway\n".to_owned(),
            "a.yaml:1: kind: unknown kind `Gateway`",
        ),
        (
            "apiVersion: v1\nkind: Plan\nmetadata: { name: x }\nspec: {}\n".to_owned(),
            "a.yaml:1: apiVersion: ",
        ),
    ] {
        let scene = Scene::new();
        scene.write("first/a.yaml", &text);
        scene.assert_refused(expected);
        let status = scene.sync.status();
        assert!(status.sources[0].refused && !status.sources[1].refused);
        // the next look finds the repaired file
        scene.write("first/a.yaml", &api("a", "new.example"));
        assert!(scene.reload().published);
        assert!(!scene.sync.status().sources[0].refused);
        assert!(scene.sync.status().sources[0].last_failure.is_some());
    }
}

#[test]
fn a_file_without_a_document_is_refused_although_others_have_some() {
    for text in ["", "\n\n", "# nothing left\n", "---\n---\n"] {
        let scene = Scene::new();
        scene.write("first/c.yaml", &api("c", "c.example"));
        assert!(scene.reload().published);
        scene.write("first/c.yaml", text);
        scene.assert_refused("c.yaml: there is no catalog document in it; delete the file");
        std::fs::remove_file(scene.path("first/c.yaml")).unwrap();
        assert!(scene.reload().published);
        // nor does a start take it
        scene.write("first/c.yaml", text);
        assert!(Scene::load(&scene.folder).is_err());
    }
}

#[test]
fn what_changes_between_two_looks_is_not_published() {
    let application = |state: &str| application(&format!("{{ owner: acme{state} }}"));
    for (name, halves) in [
        (
            "first/a.yaml",
            [api("x", "x.example"), api("a", "a.example")],
        ),
        (
            "first/new.yaml",
            [application(""), application(", state: suspended")],
        ),
        ("secret", ["half".to_owned(), "whole".to_owned()]),
        (
            "portcullis.yaml",
            [
                CONFIG.replace("x-api-key", "x-a"),
                CONFIG.replace("x-api-key", "x-b"),
            ],
        ),
    ] {
        let scene = Scene::new();
        let [half, whole] = halves;
        let before = scene.revision();
        scene.write(name, &half);
        let look = scene.sync.look();
        scene.write(name, &whole);
        assert!(
            scene
                .sync
                .reload_if_settled(&look, &scene.snapshots)
                .is_none(),
            "{name}"
        );
        assert_eq!(scene.revision(), before, "{name}");
        assert!(scene.reload().problems.is_empty(), "{name}");
    }
}

#[test]
fn a_warning_of_the_catalog_is_known_until_it_is_gone() {
    let scene = Scene::new();
    assert!(scene.sync.warnings().is_empty());
    scene.write(
        "first/nobody.yaml",
        "kind: Api\nmetadata: { name: nobody }\nspec: { title: nobody, version: '1', hosts: [nobody.example], authenticators: [anonymous], unmatchedOperation: allow }\n",
    );
    scene.reload();
    assert!(
        scene
            .sync
            .warnings()
            .to_string()
            .contains("every request will be denied")
    );
    scene.reload();
    assert_eq!(scene.sync.warnings().iter().count(), 1);
    std::fs::remove_file(scene.path("first/nobody.yaml")).unwrap();
    scene.reload();
    assert!(scene.sync.warnings().is_empty());
}

#[test]
fn a_missing_or_empty_folder_is_refused() {
    let scene = Scene::new();
    std::fs::remove_file(scene.path("first/a.yaml")).unwrap();
    scene.assert_refused("there is no catalog document in it");
    std::fs::remove_dir(scene.path("first")).unwrap();
    scene.assert_refused("there is no such file or folder");
    let folder = Scene::files();
    std::fs::remove_dir_all(folder.path().join("second")).unwrap();
    let problems = Scene::load(&folder).unwrap_err().to_string();
    assert!(
        problems.contains("second: there is no such file or folder"),
        "{problems}"
    );
}

#[test]
fn one_bad_source_does_not_stop_another() {
    let scene = Scene::new();
    scene.write("first/a.yaml", "kind: Api\n");
    scene.write("second/b.yaml", &api("b", "new.example"));
    let outcome = scene.reload();
    assert!(outcome.published && !outcome.problems.is_empty());
    assert_eq!(scene.apis(), ["a a.example", "b new.example"]);
}

#[test]
fn of_two_sources_that_contradict_the_later_one_is_refused() {
    let scene = Scene::new();
    scene.write(
        "first/a.yaml",
        &(api("a", "a.example") + &api("c", "c.example")),
    );
    scene.write(
        "second/b.yaml",
        &(api("b", "new.example") + &api("c", "d.example")),
    );
    let outcome = scene.reload();
    assert!(outcome.published);
    assert!(
        outcome
            .problems
            .to_string()
            .contains("api `default/c` is declared already at")
    );
    assert_eq!(scene.apis(), ["a a.example", "c c.example", "b b.example"]);
    assert!(scene.sync.status().sources[1].refused);
    // when the first gives way, the second is taken
    scene.write("first/a.yaml", &api("a", "a.example"));
    assert!(scene.reload().published);
    assert_eq!(
        scene.apis(),
        ["a a.example", "b new.example", "c d.example"]
    );
}

#[test]
fn a_document_that_another_source_needs_cannot_go() {
    let scene = Scene::new();
    scene.write(
        "second/b.yaml",
        &(api("b", "b.example") + &application("{ subscriptions: [{ api: a }] }")),
    );
    assert!(scene.reload().published);
    scene.write("first/a.yaml", &api("z", "z.example"));
    scene.assert_refused("there is no api `default/a`");
    assert!(scene.sync.status().sources[0].refused);
}

#[test]
fn a_changed_secret_is_a_new_revision_and_a_missing_one_is_refused() {
    let scene = Scene::new();
    let before = scene.revision();
    scene.write("secret", "another\n");
    assert!(scene.reload().published);
    assert_ne!(scene.revision(), before);
    std::fs::remove_file(scene.path("secret")).unwrap();
    scene.assert_refused("authenticators.keys: cannot read");
    assert!(scene.sync.status().configuration.refused);
}

#[test]
fn authenticators_reload_and_other_sections_need_a_restart() {
    let scene = Scene::new();
    let more = CONFIG.replace(
        "catalog:",
        "  more: { type: apiKey, credentials: [{ query: k }] }\nchecks: { deadline: 1s }\ncatalog:",
    );
    scene.write("portcullis.yaml", &more);
    scene.write(
        "first/a.yaml",
        &api("a", "a.example").replace("[keys]", "[more]"),
    );
    let outcome = scene.reload();
    assert!(
        outcome.published && outcome.problems.is_empty(),
        "{}",
        outcome.problems
    );
    assert_eq!(outcome.restart_needed, ["checks"]);
    // an authenticator that is named cannot go, but the rest of the change is taken
    scene.write("portcullis.yaml", CONFIG);
    scene.write("second/b.yaml", &api("b", "new.example"));
    let outcome = scene.reload();
    assert!(
        outcome
            .problems
            .to_string()
            .contains("there is no authenticator `more`")
    );
    assert!(outcome.published && outcome.restart_needed.is_empty());
    assert_eq!(scene.apis(), ["a a.example", "b new.example"]);
    scene.write("portcullis.yaml", "checks: [");
    scene.assert_refused("portcullis.yaml:1");
}

#[test]
fn a_swapped_config_map_is_read_through_its_links() {
    let scene = Scene::new();
    let first = scene.path("first");
    let version = |name: &str, host: &str| {
        std::fs::create_dir(first.join(name)).unwrap();
        std::fs::write(first.join(name).join("a.yaml"), api("a", host)).unwrap();
    };
    version("..v1", "one.example");
    version("..v2", "two.example");
    std::fs::remove_file(first.join("a.yaml")).unwrap();
    symlink("..v1", first.join("..data")).unwrap();
    symlink("..data/a.yaml", first.join("a.yaml")).unwrap();
    assert!(scene.reload().published);
    symlink("..v2", first.join("..new")).unwrap();
    std::fs::rename(first.join("..new"), first.join("..data")).unwrap();
    assert!(scene.reload().published);
    assert_eq!(scene.apis(), ["a two.example", "b b.example"]);
    std::fs::remove_file(first.join("..v2/a.yaml")).unwrap();
    scene.assert_refused("cannot read");
}

#[test]
fn a_start_tells_everything_that_is_wrong() {
    let folder = Scene::files();
    std::fs::write(folder.path().join("first/a.yaml"), "kind: Api\n").unwrap();
    std::fs::write(
        folder.path().join("second/b.yaml"),
        "kind: Plan\n---\nkind: X\n",
    )
    .unwrap();
    std::fs::remove_file(folder.path().join("secret")).unwrap();
    let problems = Scene::load(&folder).unwrap_err().to_string();
    for expected in [
        "a.yaml:1",
        "b.yaml:1",
        "b.yaml:3",
        "portcullis.yaml:2: authenticators.keys",
    ] {
        assert!(problems.contains(expected), "{expected}: {problems}");
    }
    // what cannot be read hides nothing else, but references that may lead to it
    let wrong = api("b", "b.example").replace("title: b", "title: \" \"")
        + &application("{ subscriptions: [{ api: a }] }");
    std::fs::write(folder.path().join("second/b.yaml"), &wrong).unwrap();
    let problems = Scene::load(&folder).unwrap_err().to_string();
    assert!(problems.contains("b.yaml:5: spec.title"), "{problems}");
    assert!(!problems.contains("there is no api"), "{problems}");
    // nor does the configuration
    std::fs::write(folder.path().join("first/a.yaml"), api("c", "a")).unwrap();
    let problems = Scene::load(&folder).unwrap_err().to_string();
    for expected in [
        "authenticators.keys",
        "spec.title",
        "there is no api `default/a`",
    ] {
        assert!(problems.contains(expected), "{expected}: {problems}");
    }
    std::fs::write(folder.path().join("secret"), "x").unwrap();
    std::fs::write(folder.path().join("first/a.yaml"), api("b", "a")).unwrap();
    std::fs::write(folder.path().join("second/b.yaml"), api("b", "b")).unwrap();
    let problems = Scene::load(&folder).unwrap_err().to_string();
    assert!(problems.contains("declared already"), "{problems}");
}

#[test]
fn the_short_form_has_a_catalog() {
    let headers = ["x-user={principal.subject}".to_owned()];
    let loaded = quick_of(headers.to_vec()).unwrap();
    let build: BuildConfigured = Box::new(|_, _, _| Some(Configured::default()));
    let (sync, snapshot) = CatalogSync::load_first(loaded, build, None).unwrap();
    assert_eq!(snapshot.catalog().apis()[0].hosts[0].to_string(), "*");
    let outcome = sync
        .reload_if_settled(&sync.look(), &SnapshotReader::new(snapshot))
        .unwrap();
    assert!(!outcome.published && outcome.problems.is_empty());
    let wrong = ["x-user={nobody}".to_owned()];
    let loaded = quick_of(wrong.to_vec()).unwrap();
    let build: BuildConfigured = Box::new(|_, _, _| Some(Configured::default()));
    let problems = CatalogSync::load_first(loaded, build, None)
        .unwrap_err()
        .to_string();
    assert!(problems.contains("unknown name `nobody`"), "{problems}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_is_seen_without_being_asked_for() {
    let scene = Scene::new();
    let Scene {
        folder,
        sync,
        snapshots,
    } = scene;
    let sync = Arc::new(sync);
    let mut statuses = sync.subscribe();
    let tasks = Tasks::new();
    let _guard = Arc::clone(&sync).watch(snapshots.clone(), &tasks);
    // the first look, after which everything is watched
    statuses.changed().await.unwrap();
    let before = sync.status().revision;
    write_by_rename(
        &folder.path().join("first/a.yaml"),
        &api("a", "new.example"),
    );
    let changed = async {
        while statuses.borrow_and_update().revision == before {
            statuses.changed().await.unwrap();
        }
    };
    tokio::time::timeout(Duration::from_secs(20), changed)
        .await
        .unwrap();
    assert_eq!(
        snapshots.current().catalog().apis()[0].hosts[0].to_string(),
        "new.example"
    );
    tasks.stop(Duration::from_secs(5)).await;
}

fn write_by_rename(path: &Path, text: &str) {
    let beside = path.with_extension("tmp");
    std::fs::write(&beside, text).unwrap();
    std::fs::rename(beside, path).unwrap();
}

fn quick_of(headers: Vec<String>) -> Result<Loaded, Problems> {
    let quick = Quick {
        issuer: "https://idp.example".to_owned(),
        audiences: vec!["orders".to_owned()],
        headers,
        allow_http_issuer: false,
        listen: None,
    };
    quick.into_loaded()
}
