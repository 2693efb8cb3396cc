//! `portcullis import wso2`: the adapter's own sample becomes a configuration that decides as the adapter did.

use std::path::Path;
use std::process::{Command, Output};

use crate::import::{assert_golden, data, import, text};
use crate::support::signing::{Algorithm, SigningKeys};

const HTTPBIN: &[&str] = &[
    "wso2",
    "wso2-httpbin.yaml",
    "wso2-secret.yaml",
    "--host",
    "httpbin.example",
];

fn portcullis(arguments: &[&str], folder: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_portcullis"))
        .args(arguments)
        .current_dir(folder)
        .output()
        .unwrap()
}

#[test]
fn the_adapters_httpbin_sample_becomes_what_a_person_would_write() {
    assert_golden("wso2-httpbin", HTTPBIN);
}

#[test]
fn what_was_imported_of_the_adapter_decides_as_the_adapter_did() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let made = import(&[HTTPBIN, &["--write", path.to_str().unwrap()]].concat());
    assert_eq!(made.status.code(), Some(0), "{}", text(&made.stderr));
    let looked = portcullis(&["doctor", "istio"], path);
    assert_eq!(looked.status.code(), Some(0), "{}", text(&looked.stdout));
    // a key of our own in the place of WSO2's
    let keys = SigningKeys::generate(0);
    std::fs::write(path.join("server.pem"), keys.public_pem(Algorithm::Rs256)).unwrap();
    std::fs::write(path.join("private.pem"), keys.private_pem(Algorithm::Rs256)).unwrap();
    let checked = portcullis(&["check-config", "--config", "portcullis.yaml"], path);
    assert_eq!(checked.status.code(), Some(0), "{}", text(&checked.stderr));
    let token = |apis: &str, scope: &str| {
        let claim = format!("subscribedAPIs={apis}");
        let application =
            r#"application={"id":2,"name":"App1","tier":"Unlimited","owner":"admin"}"#;
        let output = portcullis(
            &[
                "token",
                "--key",
                "private.pem",
                "--issuer",
                "https://localhost:9443/oauth2/token",
                "--audience",
                "http://org.wso2.apimgt/gateway",
                "--subject",
                "admin",
                "--scope",
                scope,
                "--claim",
                "consumerKey=key-1",
                "--claim",
                application,
                "--claim",
                &claim,
            ],
            path,
        );
        text(&output.stdout).trim().to_owned()
    };
    let decided = |host: &str, target: &str, token: &str| {
        let header = format!("authorization: Bearer {token}");
        let output = portcullis(
            &[
                "explain",
                "--config",
                "portcullis.yaml",
                "--host",
                host,
                "--path",
                target,
                "--header",
                &header,
            ],
            path,
        );
        text(&output.stdout)
    };
    // names without regard to case, versions exactly
    let subscribed = token(
        r#"[{"name":"httpbinAPI","context":"/httpbin/1.0.0","version":"1.0.0","publisher":"admin","subscriptionTier":"Unlimited","subscriberTenantDomain":"carbon.super"}]"#,
        "default scope_headers",
    );
    let other = token(
        r#"[{"name":"httpbinAPI","version":"2.0.0"}]"#,
        "scope_headers",
    );
    for (host, target, token, told) in [
        ("httpbin.example", "/headers", &subscribed, "allow"),
        (
            "httpbin.default.svc.cluster.local",
            "/delay/1",
            &subscribed,
            "allow",
        ),
        ("httpbin.example", "/ip", &subscribed, "scope_insufficient"),
        (
            "httpbin.example",
            "/anything",
            &subscribed,
            "operation_not_found",
        ),
        ("httpbin.example", "/headers", &other, "application_unknown"),
    ] {
        let decision = decided(host, target, token);
        assert!(decision.contains(told), "{host}{target}: {decision}");
    }
}

#[test]
fn insecure_settings_of_the_adapter_are_told_and_a_typo_is_taken_for_secure() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("input.yaml");
    let sample = std::fs::read_to_string(data("wso2-httpbin.yaml")).unwrap();
    let with = |value: &str| {
        let changed = sample.replace(
            "validate_subscription: \"true\"",
            &format!("validate_subscription: \"{value}\""),
        );
        assert_ne!(changed, sample);
        std::fs::write(&file, changed).unwrap();
        let output = import(&["wso2", file.to_str().unwrap()]);
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        (text(&output.stdout), text(&output.stderr))
    };
    let (made, report) = with("false");
    assert!(
        made.contains("subscription: none") && !made.contains("subscriptions: token"),
        "{made}"
    );
    assert!(
        report.contains("validate_subscription: `false`: whoever has a token"),
        "{report}"
    );
    let (made, report) = with("ture");
    assert!(
        made.contains("subscription: required") && made.contains("subscriptions: token"),
        "{made}"
    );
    assert!(
        report.contains("`ture` is neither true nor false"),
        "{report}"
    );
    assert!(
        report.contains("disable_hostname_verification: `true` took every certificate"),
        "{report}"
    );
    assert!(report.contains("copy server.pem"), "{report}");
}

#[test]
fn what_is_none_of_the_adapters_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, content: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        path.display().to_string()
    };
    let sample = data("wso2-httpbin.yaml").display().to_string();
    let private = write("key.pem", "-----BEGIN PRIVATE KEY-----\n");
    let nothing = write("nothing.pem", "hello\n");
    let other = write("other.yaml", "kind: Service\nmetadata: { name: a }\n");
    let unbound = write(
        "unbound.yaml",
        "kind: HTTPAPISpec\nmetadata: { name: a }\nspec: { attributes: { attributes: { api.service: { stringValue: A }, api.version: { stringValue: '1' } } } }\n",
    );
    for (arguments, told) in [
        (
            [sample.as_str(), private.as_str()].as_slice(),
            "it holds a private key",
        ),
        (&[&sample, &nothing], "it holds no certificate"),
        (&[&other], "there is no HTTPAPISpec in the files"),
        (&[&unbound], "no HTTPAPISpecBinding binds it"),
    ] {
        let output = import(&[&["wso2"], arguments].concat());
        assert_eq!(output.status.code(), Some(78), "{arguments:?}");
        assert!(
            text(&output.stderr).contains(told),
            "{}",
            text(&output.stderr)
        );
        assert!(output.stdout.is_empty());
    }
    assert_eq!(import(&["wso2"]).status.code(), Some(64));
}

/// The answer to an import of one HTTPAPISpec with these patterns, and with these attributes beside its name.
fn of_patterns(patterns: &str, attributes: &str) -> Output {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("spec.yaml");
    let content = format!(
        "kind: HTTPAPISpec\nmetadata: {{ name: a }}\nspec:\n  attributes: {{ attributes: {{ api.service: {{ stringValue: A }}, \
         api.version: {{ stringValue: '1' }}, {attributes} }} }}\n  patterns: {patterns}\n"
    );
    std::fs::write(&file, content).unwrap();
    import(&["wso2", file.to_str().unwrap(), "--host", "a.example"])
}

#[test]
fn what_is_left_out_of_the_adapters_patterns_is_never_opened() {
    let scope = "attributes: { attributes: { resource.scope: { stringValue: admin } } }";
    let bare = "attributes: { attributes: { resource.scope: admin } }";
    let nothing = "none of its patterns can be carried over";
    let judged = "its requests would be judged as those of `/a/";
    for (patterns, reason) in [
        (
            format!("[{{ uriTemplate: /orders/*/items, httpMethod: GET, {scope} }}]"),
            nothing,
        ),
        (format!("[{{ regex: '/orders/.*', {scope} }}]"), nothing),
        (format!("[{{ {scope} }}]"), nothing),
        (
            format!("[{{ uriTemplate: '/a/*/admin', {scope} }}, {{ uriTemplate: '/a/*' }}]"),
            judged,
        ),
        (
            format!("[{{ regex: '/a/.*', {scope} }}, {{ uriTemplate: '/a/b' }}]"),
            judged,
        ),
        (
            format!(
                "[{{ uriTemplate: '/a/*/admin', httpMethod: get, {scope} }}, {{ uriTemplate: '/a/*', httpMethod: GET }}]"
            ),
            judged,
        ),
        ("{ a: 1 }".to_owned(), "spec.patterns: it is no list"),
        (
            format!("[{{ uriTemplate: /a/b, {bare} }}]"),
            "resource.scope must have a text",
        ),
        (
            format!(
                "[{{ uriTemplate: '/a/*/admin', httpMethod: PUT, {scope} }}, {{ uriTemplate: '/a/*', httpMethod: GET }}]"
            ),
            "",
        ),
        (
            format!("[{{ uriTemplate: '/a/*/admin', {scope} }}, {{ uriTemplate: '/b/*' }}]"),
            "",
        ),
    ] {
        let output = of_patterns(&patterns, "");
        let told = text(&output.stderr);
        let code = if reason.is_empty() { 0 } else { 78 };
        assert_eq!(output.status.code(), Some(code), "{patterns}: {told}");
        assert!(told.contains(reason), "{patterns}: {told}");
        assert!(!text(&output.stdout).contains("unmatchedOperation"));
    }
}

#[test]
fn a_spec_without_patterns_means_every_request_and_its_scope_is_everybodys() {
    let made = text(&of_patterns("[]", "").stdout);
    assert!(made.contains("unmatchedOperation: allow"), "{made}");
    let scope = "resource.scope: { stringValue: admin }";
    let made = text(&of_patterns("[{ uriTemplate: /a/b }]", scope).stdout);
    assert!(made.contains("anyOf:\n      - admin"), "{made}");
    let output = of_patterns("[]", scope);
    assert_eq!(output.status.code(), Some(78));
    let told = text(&output.stderr);
    assert!(told.contains("it has a scope and no patterns"), "{told}");
}

#[test]
fn a_spec_whose_host_another_has_is_never_judged_as_that_one() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("specs.yaml");
    let spec = |name: &str, patterns: &str| {
        format!(
            "---\nkind: HTTPAPISpec\nmetadata: {{ name: {name} }}\nspec:\n  attributes: {{ attributes: {{ api.service: {{ stringValue: {name} }}, \
             api.version: {{ stringValue: '1' }} }} }}\n  patterns: {patterns}\n"
        )
    };
    let narrow = spec("b", "[{ uriTemplate: /a/b }]");
    for (first, code) in [
        ("[]", 78),
        ("[{ uriTemplate: '/{x}/b' }]", 78),
        ("[{ uriTemplate: '/c/*' }]", 0),
    ] {
        std::fs::write(&file, spec("a", first) + &narrow).unwrap();
        let output = import(&["wso2", file.to_str().unwrap(), "--host", "a.example"]);
        let told = text(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{first}: {told}");
        assert_eq!(
            told.contains("would judge requests of this one"),
            code == 78,
            "{told}"
        );
    }
}
