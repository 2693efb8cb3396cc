//! Wrong configurations and catalogs: refused at start, with every problem, its file and line.

use serde_json::json;

use crate::gate::{APIS, applications};
use crate::support::portcullis::PortcullisBuilder;

fn builder() -> PortcullisBuilder {
    PortcullisBuilder::new()
        .authenticator("partners", json!({ "type": "jwt", "issuer": "https://idp.example", "keys": "discovery", "audiences": ["orders"] }))
        .authenticator("keys", json!({ "type": "apiKey", "credentials": [{ "header": "x-api-key" }] }))
        .authenticator("apps", json!({ "type": "appId", "id": [{ "header": "app-id" }], "key": [{ "header": "app-key" }] }))
        .catalog("apis.yaml", APIS)
        .catalog("applications.yaml", &applications("https://idp.example"))
}

/// Starts it, and gives what it says when it refuses with exit code 78.
#[track_caller]
fn refusal(builder: PortcullisBuilder) -> String {
    let (status, text) = builder.start_refused();
    assert_eq!(status.code(), Some(78), "{text}");
    text
}

#[test]
fn every_problem_of_meaning_is_told_at_once() {
    let text = refusal(
        builder()
            .set(
                &["authenticators", "partners", "issuer"],
                json!("http://idp.example"),
            )
            .set(&["authenticators", "partners", "leeway"], json!("1h"))
            .set(&["authenticators", "keys", "credentials"], json!([]))
            .set(&["listeners", "inbound", "unmatched"], json!("allow")),
    );
    for path in [
        "authenticators.partners.issuer",
        "authenticators.partners.leeway",
        "authenticators.keys.credentials",
        "listeners.inbound.unmatched",
    ] {
        assert!(
            text.lines()
                .any(|line| line.contains("portcullis.yaml:") && line.contains(path)),
            "{path} is not in\n{text}"
        );
    }
}

#[test]
fn unknown_fields_are_refused_with_their_line() {
    for (path, value) in [
        (&["listenrs"][..], json!({})),
        (&["checks", "dedline"], json!("1s")),
        (&["authenticators", "partners", "isuer"], json!("x")),
        (&["listeners", "inbound", "adress"], json!("x")),
    ] {
        let text = refusal(builder().set(path, value));
        assert!(
            text.contains(path.last().unwrap()) && text.contains("portcullis.yaml:"),
            "{text}"
        );
    }
}

#[test]
fn inline_secrets_are_refused_and_not_repeated() {
    let text = refusal(builder().set(&["authenticators", "keys", "peppers"], json!(["hunter2"])));
    assert!(
        text.contains("file") && text.contains("env"),
        "it says what to do: {text}"
    );
    assert!(!text.contains("hunter2"), "{text}");
}

#[test]
fn overrides_reach_existing_scalars_only() {
    let text =
        refusal(builder().environment("PORTCULLIS__LISTENERS__NOWHERE__ADDRESS", "127.0.0.1:0"));
    assert!(
        text.contains("PORTCULLIS__LISTENERS__NOWHERE__ADDRESS"),
        "{text}"
    );
    let server = builder()
        .set(&["checks"], json!({ "deadline": "nonsense" }))
        .environment("PORTCULLIS__CHECKS__DEADLINE", "300ms");
    drop(server.without_waiting().start());
}

#[test]
fn problems_of_the_catalog_name_file_and_line() {
    let cases = [
        (
            "an unknown api",
            "kind: Application\nmetadata: { name: x }\nspec: { subscriptions: [{ api: nowhere }] }",
            "nowhere",
        ),
        (
            "an unknown plan",
            "kind: Application\nmetadata: { name: x }\nspec: { subscriptions: [{ api: orders, plan: platinum }] }",
            "platinum",
        ),
        (
            "a duplicate",
            "kind: Application\nmetadata: { name: shop }\nspec: {}",
            "shop",
        ),
        (
            "an unknown kind",
            "kind: Apis\nmetadata: { name: x }\nspec: {}",
            "Apis",
        ),
        (
            "an unknown field",
            "kind: Plan\nmetadata: { name: x }\nspec: { limit: 7 }",
            "limit",
        ),
        (
            "a broken document",
            "kind: Plan\nmetadata: { name: [ }",
            ":3",
        ),
    ];
    for (what, document, told) in cases {
        let text = refusal(builder().catalog(
            "more.yaml",
            &format!("apiVersion: portcullis.dev/v1alpha1\n{document}\n"),
        ));
        assert!(
            text.contains("more.yaml:") && text.contains(told),
            "{what}: {text}"
        );
    }
}

#[test]
fn apis_that_cannot_be_told_apart_or_never_match_are_refused() {
    let api = |spec: &str| {
        format!(
            "apiVersion: portcullis.dev/v1alpha1\nkind: Api\nmetadata: {{ name: x }}\nspec:\n  title: x\n  version: 1.0.0\n  authenticators: [keys]\n{spec}\n"
        )
    };
    for (spec, told) in [
        (
            "  hosts: [api.example]\n  basePath: /orders\n  unmatchedOperation: allow",
            "precedence",
        ),
        ("  hosts: [x.example]\n  basePath: /", "unmatchedOperation"),
        (
            "  hosts: []\n  basePath: /\n  unmatchedOperation: allow",
            "hosts",
        ),
        (
            "  hosts: ['x.example:80']\n  basePath: /\n  unmatchedOperation: allow",
            "hosts",
        ),
        (
            "  hosts: [x.example]\n  basePath: /\n  operations: [{ path: /a }, { path: /a }]",
            "operations",
        ),
        (
            "  hosts: [x.example]\n  basePath: /\n  operations: [{ path: '/{a}/b' }, { path: '/{c}/b' }]",
            "operations",
        ),
        (
            "  hosts: [x.example]\n  basePath: /\n  operations: [{ path: '/a%2fb' }]",
            "operations",
        ),
        (
            "  hosts: [x.example]\n  basePath: /\n  operations: [{ path: /a/../b }]",
            "operations",
        ),
        (
            "  hosts: [x.example]\n  basePath: /\n  operations: [{ path: '/a?b' }]",
            "operations",
        ),
        (
            "  hosts: [x.example]\n  basePath: /\n  operations: [{ path: /a, methods: [get] }]",
            "methods",
        ),
        (
            "  hosts: [x.example]\n  basePath: /\n  unmatchedOperation: allow\n  upstream: { headers: { x-a: '{principal.name}' } }",
            "principal.name",
        ),
        (
            "  hosts: [x.example]\n  basePath: /\n  unmatchedOperation: allow\n  upstream: { headers: { host: x } }",
            "host",
        ),
        (
            "  hosts: [x.example]\n  basePath: /\n  unmatchedOperation: allow\n  from: { principals: [x] }",
            "from",
        ),
    ] {
        let text = refusal(builder().catalog("x.yaml", &api(spec)));
        assert!(
            text.contains("x.yaml:") && text.contains(told),
            "{spec}: {text}"
        );
    }
    let nobody = api("  hosts: [x.example]\n  basePath: /\n  unmatchedOperation: allow")
        .replace("[keys]", "[]");
    assert!(refusal(builder().catalog("x.yaml", &nobody)).contains("authenticators"));
    let unknown = api("  hosts: [x.example]\n  basePath: /\n  unmatchedOperation: allow")
        .replace("[keys]", "[nowhere]");
    assert!(refusal(builder().catalog("x.yaml", &unknown)).contains("nowhere"));
}

#[test]
fn an_empty_or_missing_catalog_is_refused() {
    let empty = PortcullisBuilder::new();
    assert!(refusal(empty).contains("catalog"));
    let missing = PortcullisBuilder::new().set(
        &["catalog", "sources"],
        json!([{ "name": "main", "type": "file", "path": "nowhere" }]),
    );
    assert!(refusal(missing).contains("nowhere"));
    let comment = PortcullisBuilder::new().catalog("apis.yaml", "# nothing yet\n");
    assert!(refusal(comment).contains("catalog"));
}

#[test]
fn an_authenticator_that_would_never_be_asked_is_refused() {
    let more = builder()
        .authenticator("more", json!({ "type": "apiKey", "credentials": [{ "query": "k" }, { "header": "X-Api-Key" }] }))
        .catalog("x.yaml", "apiVersion: portcullis.dev/v1alpha1\nkind: Api\nmetadata: { name: x }\nspec:\n  title: x\n  version: 1.0.0\n  hosts: [x.example]\n  basePath: /\n  authenticators: [keys, more]\n  unmatchedOperation: allow\n");
    let text = refusal(more);
    assert!(
        text.contains("authenticators[1]: `keys` looks in header x-api-key too"),
        "{text}"
    );
}
