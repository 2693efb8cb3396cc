//! The commands other than `serve`.

use std::io::Write as _;
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};

use crate::gate::{APIS, SHOP_KEY, applications};
use crate::support::providers::Providers;
use crate::support::signing::{Algorithm, SigningKeys, key_digest};

fn run(arguments: &[&str], input: &str) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_portcullis"))
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(input.as_bytes())
        .unwrap();
    child.wait_with_output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// A folder with a configuration and the standard catalog, whose tokens are signed by `keys`.
fn folder(keys: &SigningKeys) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let config = json!({
        "authenticators": {
            "partners": { "type": "jwt", "issuer": "https://idp.example", "keys": { "pemFile": "key.pem" }, "audiences": ["orders"] },
            "keys": { "type": "apiKey", "credentials": [{ "header": "x-api-key" }] },
            "apps": { "type": "appId", "id": [{ "header": "app-id" }], "key": [{ "header": "app-key" }] },
        },
        "catalog": { "sources": [{ "name": "main", "type": "file", "path": "catalog" }] },
    });
    std::fs::write(folder.path().join("portcullis.yaml"), config.to_string()).unwrap();
    std::fs::write(
        folder.path().join("key.pem"),
        keys.public_pem(Algorithm::Es256),
    )
    .unwrap();
    std::fs::write(
        folder.path().join("private.pem"),
        keys.private_pem(Algorithm::Es256),
    )
    .unwrap();
    std::fs::create_dir(folder.path().join("catalog")).unwrap();
    std::fs::write(
        folder.path().join("catalog/all.yaml"),
        format!("{APIS}{}", applications("https://idp.example")),
    )
    .unwrap();
    folder
}

#[test]
fn a_wrong_flag_ends_with_64_and_a_wrong_configuration_with_78() {
    assert_eq!(run(&["serve", "--colour"], "").status.code(), Some(64));
    assert_eq!(run(&["colour"], "").status.code(), Some(64));
    assert_eq!(
        run(
            &["check-config", "--config", "/nowhere/portcullis.yaml"],
            ""
        )
        .status
        .code(),
        Some(78)
    );
    assert!(text(&run(&["version"], "").stdout).contains(env!("CARGO_PKG_VERSION")));
}

#[test]
fn key_hash_gives_the_digest_that_the_catalog_takes() {
    let output = run(&["key", "hash"], &format!("{SHOP_KEY}\n"));
    assert_eq!(text(&output.stdout).trim(), key_digest(SHOP_KEY));
    let generated = text(&run(&["key", "hash", "--generate"], "").stdout);
    let (key, digest) = generated.trim().split_once('\n').unwrap();
    let key = key.trim_start_matches("key:").trim();
    assert!(key.len() >= 22, "128 bits or more: {generated}");
    assert_eq!(digest.trim_start_matches("digest:").trim(), key_digest(key));
    assert_eq!(run(&["key", "hash"], "").status.code(), Some(64));
    assert_eq!(run(&["key", "hash"], "a,b").status.code(), Some(64));
}

#[test]
fn check_config_accepts_the_good_and_tells_all_of_the_bad() {
    let folder = folder(&SigningKeys::generate(0));
    let config = folder.path().join("portcullis.yaml");
    let config = config.to_str().unwrap();
    let good = run(&["check-config", "--config", config], "");
    assert_eq!(good.status.code(), Some(0), "{}", text(&good.stderr));
    assert!(
        text(&good.stdout).contains("4 apis"),
        "{}",
        text(&good.stdout)
    );
    std::fs::write(
        folder.path().join("catalog/bad.yaml"),
        "kind: Plan\n---\nkind: Nothing\n",
    )
    .unwrap();
    let bad = run(&["check-config", "--config", config], "");
    assert_eq!(bad.status.code(), Some(78));
    let told = text(&bad.stderr);
    assert!(
        told.contains("bad.yaml:1") && told.contains("bad.yaml:3"),
        "the first problem of each document: {told}"
    );
}

#[test]
fn explain_tells_every_stage_and_decides_as_the_server_does() {
    let keys = SigningKeys::generate(0);
    let folder = folder(&keys);
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let minted = run(
        &[
            "token",
            "--key",
            &path("private.pem"),
            "--issuer",
            "https://idp.example",
            "--audience",
            "orders",
            "--subject",
            "alice",
            "--client-id",
            "shop",
            "--scope",
            "orders.read",
        ],
        "",
    );
    assert_eq!(minted.status.code(), Some(0), "{}", text(&minted.stderr));
    let token = text(&minted.stdout).trim().to_owned();
    let explain = |arguments: &[&str]| -> Value {
        let config = path("portcullis.yaml");
        let output = run(
            &[&["explain", "--json", "--config", &config][..], arguments].concat(),
            "",
        );
        assert!(
            !text(&output.stdout).contains(&token),
            "explain does not repeat credentials"
        );
        serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|_| panic!("{}{}", text(&output.stdout), text(&output.stderr)))
    };
    let bearer = format!("authorization: Bearer {token}");
    let allow = explain(&[
        "--host",
        "api.example",
        "--path",
        "/orders/7",
        "--header",
        &bearer,
    ]);
    let stages: Vec<&str> = allow["stages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|stage| stage["stage"].as_str().unwrap())
        .collect();
    for stage in ["decode", "route", "authenticate", "authorize", "augment"] {
        assert!(stages.contains(&stage), "{stage} is not among {stages:?}");
    }
    assert_eq!(allow["decision"], "allow");
    let deny = explain(&[
        "--host",
        "api.example",
        "--path",
        "/orders",
        "--method",
        "POST",
        "--header",
        &bearer,
    ]);
    assert_eq!(
        (&deny["decision"], &deny["reason"]),
        (&json!("deny"), &json!("scope_insufficient"))
    );
    assert!(
        deny["detail"].as_str().unwrap().contains("orders.write"),
        "{deny}"
    );
    let watched = explain(&["--host", "watched.example", "--path", "/"]);
    assert_eq!(
        (&watched["decision"], &watched["shadow"]),
        (&json!("deny"), &json!(true))
    );
    assert!(watched["answer"]["okResponse"].is_object(), "{watched}");
    let request = json!({ "attributes": { "request": { "http": { "method": "GET", "host": "api.example", "path": "/orders/7", "headers": { "x-api-key": SHOP_KEY } } } } });
    std::fs::write(folder.path().join("request.json"), request.to_string()).unwrap();
    assert_eq!(
        explain(&["--request", &path("request.json")])["decision"],
        "allow"
    );
    let human = run(
        &[
            "explain",
            "--config",
            &path("portcullis.yaml"),
            "--host",
            "api.example",
            "--path",
            "/orders/7",
        ],
        "",
    );
    assert!(
        text(&human.stdout).contains("credential_missing"),
        "{}",
        text(&human.stdout)
    );
}

#[test]
fn the_short_form_serves_without_any_file() {
    let issuer = crate::support::issuer::Issuer::start();
    let folder = tempfile::tempdir().unwrap();
    let ports = folder.path().join("ports.json");
    let mut child = Command::new(env!("CARGO_BIN_EXE_portcullis"))
        .args([
            "serve",
            "--issuer",
            issuer.url(),
            "--allow-http-issuer",
            "--audience",
            "orders",
            "--header",
            "x-user={principal.subject}",
        ])
        .args(["--listen", "127.0.0.1:0", "--ports-file"])
        .arg(&ports)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let addresses: Value = crate::support::eventually("the ports", || {
        serde_json::from_slice(&std::fs::read(&ports).ok()?).ok()
    });
    let address = addresses["inbound"].as_str().unwrap().parse().unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let client = crate::support::check::CheckClient::new(address);
        let get = || crate::support::check::CheckBuilder::new("GET", "any.example", "/any/path");
        let token = issuer.token().audience("orders").sign();
        let response = client.check(get().bearer(&token)).await;
        let ok = crate::gate::allowed(&response);
        assert_eq!(
            crate::support::check::headers(&ok.headers)["x-user"],
            "alice"
        );
        crate::gate::refused(&client.check(get()).await, "credential_missing");
    });
    child.kill().unwrap();
    child.wait().unwrap();
}

/// The exit code, and what was written to standard error.
fn refused(arguments: &[&str]) -> (Option<i32>, String) {
    let output = run(arguments, "");
    (output.status.code(), text(&output.stderr))
}

#[test]
fn flags_of_the_short_form_beside_a_configuration_are_refused() {
    for flags in [
        &["--audience", "orders"][..],
        &["--header", "x-user={principal.subject}"],
        &["--listen", "127.0.0.1:0"],
        &["--allow-http-issuer"],
        &["--issuer", "https://idp.example"],
    ] {
        let (code, told) = refused(&[&["serve", "--config", "nowhere.yaml"], flags].concat());
        assert_eq!(code, Some(64), "{told}");
        assert!(
            told.contains(flags[0]) && told.contains("without --config"),
            "{told}"
        );
    }
    let (code, told) = refused(&["serve"]);
    assert_eq!(code, Some(64));
    assert!(
        told.contains("--config FILE") && told.contains("--issuer URL --audience NAME"),
        "{told}"
    );
}

#[test]
fn problems_of_the_short_form_name_the_flag() {
    let good = [
        "serve",
        "--issuer",
        "https://idp.example",
        "--audience",
        "orders",
    ];
    for (flags, named) in [
        (
            &["serve", "--issuer", "idp", "--audience", "orders"][..],
            "--issuer:",
        ),
        (
            &[
                "serve",
                "--issuer",
                "http://idp.example",
                "--audience",
                "orders",
            ],
            "--allow-http-issuer",
        ),
        (&["serve", "--issuer", "https://idp.example"], "--audience"),
        (&[&good[..], &["--listen", "nowhere"]].concat(), "--listen:"),
        (&[&good[..], &["--header", "x-user"]].concat(), "--header:"),
        (
            &[&good[..], &["--header", "x-user={nobody.subject}"]].concat(),
            "--header:",
        ),
        (
            &[&good[..], &["--header", "connection=close"]].concat(),
            "--header:",
        ),
    ] {
        let (code, told) = refused(flags);
        assert_eq!(code, Some(64), "{flags:?}: {told}");
        assert!(
            told.contains(named) && !told.contains("authenticators"),
            "{flags:?}: {told}"
        );
    }
}

#[test]
fn keys_that_cannot_sign_are_refused_with_what_to_do() {
    let folder = folder(&SigningKeys::generate(0));
    let key = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let sec1 = "-----BEGIN EC PRIVATE KEY-----\nAAAA\n-----END EC PRIVATE KEY-----\n";
    std::fs::write(key("sec1.pem"), sec1).unwrap();
    let mint = |name: &str| {
        let key = key(name);
        refused(&[
            "token",
            "--key",
            &key,
            "--issuer",
            "https://idp.example",
            "--audience",
            "orders",
        ])
    };
    let (code, told) = mint("sec1.pem");
    assert!(
        code == Some(64) && told.contains("openssl pkcs8 -topk8 -nocrypt"),
        "{told}"
    );
    let (code, told) = mint("key.pem");
    assert!(code == Some(64) && told.contains("public key"), "{told}");
}

#[test]
fn a_token_may_be_minted_that_has_expired() {
    let folder = folder(&SigningKeys::generate(0));
    let key = folder.path().join("private.pem");
    let config = folder.path().join("portcullis.yaml");
    for expires in [&["--expires-in=-10m"][..], &["--expires-in", "-10m"]] {
        let arguments = [
            "token",
            "--key",
            key.to_str().unwrap(),
            "--issuer",
            "https://idp.example",
            "--audience",
            "orders",
        ];
        let minted = run(&[&arguments[..], expires].concat(), "");
        assert_eq!(minted.status.code(), Some(0), "{}", text(&minted.stderr));
        let bearer = format!("authorization: Bearer {}", text(&minted.stdout).trim());
        let explained = run(
            &[
                "explain",
                "--config",
                config.to_str().unwrap(),
                "--host",
                "api.example",
                "--path",
                "/orders/7",
                "--header",
                &bearer,
            ],
            "",
        );
        assert!(
            text(&explained.stdout).contains("token_expired"),
            "{}",
            text(&explained.stdout)
        );
    }
}

#[test]
fn a_short_key_without_a_pepper_is_warned_about() {
    let output = run(&["key", "hash"], "hunter2\n");
    assert_eq!(output.status.code(), Some(0));
    assert!(text(&output.stderr).contains("--pepper"));
    assert!(text(&output.stdout).starts_with("sha256:"));
    assert!(text(&run(&["key", "hash", "--generate"], "").stderr).is_empty());
}

#[test]
fn check_config_tells_what_the_catalog_warns_of() {
    let folder = tempfile::tempdir().unwrap();
    let sample = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/samples/httpbin");
    let config = folder.path().join("portcullis.yaml");
    std::fs::copy(
        format!("{sample}/issuer.pem"),
        folder.path().join("issuer.pem"),
    )
    .unwrap();
    std::fs::copy(format!("{sample}/portcullis.yaml"), &config).unwrap();
    std::fs::create_dir(folder.path().join("catalog")).unwrap();
    let nobody = "kind: Api\nmetadata: { name: a }\nspec: { title: a, version: '1', hosts: [a.example], authenticators: [anonymous], unmatchedOperation: allow }\n";
    std::fs::write(folder.path().join("catalog/api.yaml"), nobody).unwrap();
    let config = config.to_str().unwrap();
    let told = text(&run(&["check-config", "--config", config], "").stdout);
    assert!(
        told.contains("warning: ") && told.contains("every request will be denied"),
        "{told}"
    );
    assert!(told.contains("good: 1 api,"), "{told}");
}

#[test]
fn the_httpbin_sample_is_good_and_warns_of_nothing() {
    let config = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/deploy/samples/httpbin/portcullis.yaml"
    );
    let told = text(&run(&["check-config", "--config", config], "").stdout);
    assert!(
        told.starts_with("good: 1 api, 1 application, 1 plan;"),
        "{told}"
    );
}

#[test]
fn explain_asks_a_provider_where_it_may_and_never_tells_what_it_gave() {
    let fake = Providers::start();
    fake.answer_member("access_token", "canary-token");
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    std::fs::create_dir(folder.path().join("catalog")).unwrap();
    write("secret", "canary-secret");
    let config = json!({
        "listeners": { "out": { "type": "check", "address": "127.0.0.1:0", "direction": "outbound" } },
        "providers": {
            "partner": {
                "type": "clientCredentials", "tokenUrl": fake.token_url(), "http": { "allowHttp": true },
                "client": { "id": "gw", "secret": { "file": "secret" } },
            },
            "fixed": { "type": "static", "headers": { "x-key": { "file": "secret" } } },
        },
        "catalog": { "sources": [{ "name": "main", "type": "file", "path": "catalog" }] },
    });
    write("portcullis.yaml", &config.to_string());
    let api = json!({
        "kind": "Api", "metadata": { "name": "partner" },
        "spec": {
            "title": "partner", "version": "1", "direction": "outbound", "hosts": ["partner.example"],
            "authenticators": ["anonymous"], "subscription": "none", "unmatchedOperation": "allow",
            "upstream": { "credential": [{ "provider": "partner" }, { "provider": "fixed" }] },
        },
    });
    write("catalog/all.yaml", &api.to_string());
    let config = folder.path().join("portcullis.yaml").display().to_string();
    let explain = |extra: &[&str]| -> Value {
        let asked = [
            "explain",
            "--json",
            "--config",
            &config,
            "--host",
            "partner.example",
        ];
        let output = run(&[&asked[..], &["--path", "/"], extra].concat(), "");
        let told = text(&output.stdout);
        assert!(
            !told.contains("canary") && !text(&output.stderr).contains("canary"),
            "{told}"
        );
        serde_json::from_str(&told).unwrap()
    };
    assert_eq!(explain(&[])["reason"], "dependency_unavailable");
    assert_eq!(fake.count(), 0);
    let online = explain(&["--online"]);
    assert_eq!((&online["decision"], fake.count()), (&json!("allow"), 1));
    let headers = online["answer"]["okResponse"]["headers"]
        .as_array()
        .unwrap();
    let told: Vec<_> = headers
        .iter()
        .map(|one| (&one["header"]["key"], &one["header"]["value"]))
        .collect();
    let redacted = json!("redacted");
    assert_eq!(
        told,
        [
            (&json!("authorization"), &redacted),
            (&json!("x-key"), &redacted)
        ]
    );
}

#[test]
fn explain_tells_that_a_token_is_revoked() {
    let keys = SigningKeys::generate(1);
    let folder = folder(&keys);
    let path = |name: &str| folder.path().join(name).display().to_string();
    let config = std::fs::read_to_string(path("portcullis.yaml")).unwrap();
    let mut config: Value = serde_json::from_str(&config).unwrap();
    config["revocation"] = json!({ "sources": [{ "type": "file", "path": "revoked.yaml" }] });
    std::fs::write(path("portcullis.yaml"), config.to_string()).unwrap();
    std::fs::write(
        path("revoked.yaml"),
        "- { kind: application, value: shop, before: 2020-01-01T00:00:00Z }\n",
    )
    .unwrap();
    let config = path("portcullis.yaml");
    let key = format!("x-api-key: {SHOP_KEY}");
    let request = ["--host", "api.example", "--path", "/orders/7", "--header"];
    let explained = run(
        &[
            &["explain", "--json", "--config", &config][..],
            &request,
            &[&key],
        ]
        .concat(),
        "",
    );
    let explained: Value = serde_json::from_slice(&explained.stdout).unwrap();
    assert_eq!(explained["reason"], "token_revoked", "{explained}");
    std::fs::write(path("revoked.yaml"), "").unwrap();
    let explained = run(&["explain", "--config", &config], "");
    assert!(!explained.status.success() && text(&explained.stderr).contains("revoked.yaml"));
}
