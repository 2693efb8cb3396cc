#![expect(clippy::too_many_lines, reason = "tables of cases")]

use super::*;
use crate::catalog::model::Direction;
use crate::catalog::source::file::SourceFiles;
use crate::catalog::source::reference::{ApiReference, TitleReference};
use crate::catalog::source::{Document, Invalid};

fn known() -> Known {
    let header = |name| HeaderName::parse(name).unwrap();
    Known {
        authenticators: BTreeMap::from([
            ("anonymous".into(), Vec::new()),
            ("partners".into(), vec![header("authorization")]),
            ("portal".into(), vec![header("authorization")]),
        ]),
        token_subscriptions: BTreeSet::from(["portal".into()]),
        key_places: BTreeMap::new(),
        directions: Vec::new(),
        token_authenticators: BTreeSet::from(["partners".into(), "portal".into()]),
        providers: BTreeMap::new(),
        decision_header: Some(header("x-decision-id")),
        mesh: Mesh::default(),
    }
}

fn source(name: &str, text: &str) -> SourceDocuments {
    SourceFiles::of_text(&format!("{name}.yaml"), text)
        .parse(&name.into())
        .unwrap()
}

fn problems(sources: &[&str]) -> Vec<(usize, String)> {
    let names = ["a", "b", "c"];
    let sources: Vec<SourceDocuments> = names
        .iter()
        .zip(sources)
        .map(|(name, text)| source(name, text))
        .collect();
    match build(&sources.iter().collect::<Vec<_>>(), &known()) {
        Ok(_) => Vec::new(),
        Err(Refused(problems)) => problems
            .into_iter()
            .map(|(source, problem)| (source, problem.to_string()))
            .collect(),
    }
}

/// An Api on one line each, so that lines are known.
fn api(name: &str, spec: &str) -> String {
    format!(
        "---\nkind: Api\nmetadata: {{ name: {name} }}\nspec:\n  title: {name}\n  version: 1.0.0\n  {}\n",
        spec.replace('\n', "\n  ")
    )
}

fn spec(more: &str) -> String {
    format!("hosts: [a.example]\nauthenticators: [partners]\nunmatchedOperation: allow\n{more}")
}

#[track_caller]
fn assert_wrong(text: &str, expected: &str) {
    let found = problems(&[text]);
    assert!(
        found.iter().any(|(_, problem)| problem.contains(expected)),
        "expected {expected:?}\n in {found:#?}\nof {text}"
    );
}

#[test]
fn the_documents_of_the_vocabulary_are_a_catalog() {
    let text = r#"
apiVersion: portcullis.dev/v1alpha1
kind: Api
metadata: { name: httpbin-1.0.0, namespace: default }
spec:
  title: httpbinAPI
  version: 1.0.0
  context: /httpbin
  direction: inbound
  hosts: [HTTPBIN.example.com, "*.apps.example.com", "[::1]"]
  basePath: /
  precedence: 10
  enforcement: enforce
  authenticators: [partners, anonymous]
  subscription: required
  operations:
    - { methods: [GET], path: /headers }
    - { methods: [POST], path: "/orders/{id}", scopes: { anyOf: [orders.write] }, authenticators: [partners] }
  unmatchedOperation: deny
  preflight: deny
  upstream:
    headers: { x-client-id: "{application.clientId}", x-user: "{principal.subject}", x-tenant: "{claims.tenant.id}" }
    removeHeaders: [x-debug]
    keepCredential: false
    responseHeaders: { x-api-version: "{api.version}" }
---
kind: Application
metadata: { name: shop }
spec:
  owner: acme
  state: active
  clients: [{ issuer: https://idp.example/realms/p, clientId: shop }]
  apiKeys: [{ name: ci, digest: "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad", expires: 2027-01-01T00:00:00Z }]
  appId: 7d1b
  appKeys: [{ digest: "sha256:0a7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad" }]
---
kind: Subscription
spec:
  application: shop
  api: { title: HttpbinApi, version: ">=1.0, <2" }
  plan: gold
  state: onHold
  validUntil: 2027-06-30T00:00:00Z
---
kind: Plan
metadata: { name: gold }
spec:
  limits: [{ amount: 10000, per: day, key: application, window: calendar }, { amount: 20, per: second, burst: 40, key: { claim: tenant.id } }]
  onExceed: deny
"#;
    let source = source("main", text);
    let built = build(&[&source], &known()).unwrap();
    let catalog = built.catalog;
    let api = &catalog.apis()[0];
    assert_eq!(api.id.as_str(), "default/httpbin-1.0.0");
    assert_eq!(api.origin.to_string(), "main.yaml:2");
    let hosts: Vec<String> = api.hosts.iter().map(ToString::to_string).collect();
    assert_eq!(
        hosts,
        ["httpbin.example.com", "*.apps.example.com", "[::1]"]
    );
    let found = catalog
        .router()
        .find(
            Direction::Inbound,
            "x.apps.example.com",
            "/orders/5",
            "POST",
        )
        .unwrap();
    assert!(found.operation.is_some());
    let application = &catalog.applications()[0];
    let (at, subscription) = application.subscriptions.iter().next().unwrap();
    assert_eq!(catalog.api(*at).unwrap().id, api.id);
    assert_eq!(
        catalog
            .plan(subscription.plan.unwrap())
            .unwrap()
            .id
            .as_str(),
        "default/gold"
    );
    assert_eq!(subscription.state.name(), "onHold");
    assert_eq!(catalog.plans()[0].limits.len(), 2);
    assert_eq!(built.warnings.len(), 0);
}

#[test]
fn what_is_later_work_is_an_unknown_field() {
    for field in ["sources: {}", "registry: { name: a }", "errorFormat: wso2"] {
        let text = api("x", &spec(field));
        let problem = SourceFiles::of_text("f", &text)
            .parse(&"f".into())
            .unwrap_err();
        assert!(problem.to_string().contains("unknown field"), "{problem}");
    }
}

#[test]
fn operations_that_can_never_match_are_found() {
    for (path, expected) in [
        ("orders", "it must begin with a slash"),
        ("/a//b", "an empty segment never matches"),
        ("/a?b=c", "a query in the path"),
        ("/a#b", "a fragment in the path"),
        ("/a/../b", "a dot segment"),
        ("/a%2fb", "an escaped slash"),
        ("/%61", "arrive as `/a`: write that"),
        ("/a;x", "whose parameters"),
        ("/a/*", "write {name} for one segment"),
        ("/{*rest}/a", "can only stand at the end"),
        ("/{}", "needs a name"),
        ("/a{id}", "mixes text and braces"),
        ("/\u{e9}", "must be escaped"),
    ] {
        let operation = format!("operations: [{{ path: \"{path}\" }}]");
        assert_wrong(&api("x", &spec(&operation)), expected);
    }
    assert_wrong(
        &api("x", &spec("operations:\n- { methods: [get], path: /a }")),
        "a.yaml:11: spec.operations[0].methods[0]: `get` never matches: write it in upper case",
    );
    assert_wrong(
        &api(
            "x",
            &spec("operations:\n- { path: \"/a/{x}\" }\n- { path: \"/a/{y}\" }"),
        ),
        "a.yaml:12: spec.operations[1]: never matches: operations[0] has the same methods and paths",
    );
    assert_wrong(
        &api(
            "x",
            &spec(
                "operations:\n- { methods: [GET, PUT], path: /a }\n- { methods: [PUT], path: /a }",
            ),
        ),
        "operations[0] has the same PUT and paths",
    );
    let fine = "operations: [{ path: / }, { path: /a/ }, { path: /a }, { path: \"/%c3%a9\" }, { path: \"/{*r}\" }, { methods: [GET], path: /a }]";
    assert_eq!(problems(&[&api("x", &spec(fine))]), []);
}

#[test]
fn the_parts_of_an_api_are_checked() {
    for (more, expected) in [
        ("basePath: /a/", "spec.basePath: leave the final slash out"),
        ("basePath: a", "spec.basePath: "),
        ("basePath: \"/{a}\"", "a base path is fixed text"),
        ("basePath: /a/../b", "a dot segment"),
        (
            "operations: [{ path: /a, scopes: {} }]",
            "write one of `anyOf` and `allOf`",
        ),
        (
            "operations: [{ path: /a, scopes: { anyOf: [] } }]",
            "name a scope at least",
        ),
        (
            "operations: [{ path: /a, scopes: { allOf: [a b] } }]",
            "`a b` is no scope",
        ),
        (
            "operations: [{ path: /a, scopes: { allOf: [a], anyOf: [b] } }]",
            "write one of",
        ),
        (
            "operations: [{ path: /a, methods: [] }]",
            "leave `methods` out",
        ),
        (
            "operations: [{ path: /a, methods: [GET, GET] }]",
            "`GET` stands twice",
        ),
        (
            "operations: [{ path: /a, authenticators: [] }]",
            "operations[0].authenticators: name an authenticator",
        ),
        (
            "upstream: { headers: { x-a: \"{nobody}\" } }",
            "unknown name `nobody`",
        ),
        (
            "upstream: { headers: { host: a } }",
            "spec.upstream.headers.host: this header belongs to Envoy",
        ),
        (
            "upstream: { headers: { x-a: b, X_A: c } }",
            "this header stands twice",
        ),
        (
            "upstream: { headers: { x-a: b }, removeHeaders: [X-A] }",
            "spec.upstream.removeHeaders[0]: `x-a` is set by `headers` too",
        ),
        (
            "upstream: { responseHeaders: { x-decision-id: b } }",
            "this header carries the decision id",
        ),
        (
            "upstream: { headers: { authorization: b }, keepCredential: true }",
            "cannot both keep",
        ),
    ] {
        assert_wrong(&api("x", &spec(more)), expected);
    }
    for (hosts, expected) in [
        ("[]", "name a host at least"),
        ("[\"a.example:80\"]", "a host has no port"),
        ("[\"[::1]:80\"]", "a host has no port"),
        ("[\"::1\"]", "IPv6 address stands in brackets"),
        ("[\"a.*.example\"]", "a `*` stands alone"),
        ("[\"*a.example\"]", "a `*` stands alone"),
        ("[\"*.[::1]\"]", "an address has no subdomains"),
        ("[a.example, A.EXAMPLE]", "`A.EXAMPLE` stands twice"),
        ("[a_b]", "no DNS name"),
    ] {
        let text = format!("hosts: {hosts}\nauthenticators: [partners]\nunmatchedOperation: allow");
        assert_wrong(&api("x", &text), expected);
    }
    assert_wrong(
        &api("x", "hosts: [a]\nauthenticators: []"),
        "an api without operations denies everything",
    );
    assert_wrong(
        &api(
            "x",
            "hosts: [a]\nauthenticators: [partner, partners, partners]",
        ),
        "there is no authenticator `partner` in the configuration; there are anonymous, partners",
    );
    assert_wrong(
        &api("x", "hosts: [a]\nauthenticators: [partners, partners]"),
        "`partners` stands twice",
    );
    assert_wrong(&api("X_y", &spec("")), "`X_y` is no name");
}

#[test]
fn apis_that_overlap_need_precedence() {
    let two = |first: &str, second: &str| api("x", &spec(first)) + &api("y", &spec(second));
    let clash = "b.yaml:7: spec.hosts: host `a.example` and base path `/` are also those of the api at a.yaml:7";
    let found = problems(&[&api("x", &spec("")), &api("y", &spec(""))]);
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found.iter().all(|(source, _)| *source == 1));
    assert!(
        found.iter().any(|(_, problem)| problem.contains(clash)),
        "{found:?}"
    );
    assert_wrong(&two("precedence: 5", ""), "give both a `precedence`");
    assert_wrong(
        &two("precedence: 5", "precedence: 5"),
        "give both a `precedence`",
    );
    assert_wrong(
        &two("precedence: 6", "precedence: 5"),
        "its operations never match: the api at a.yaml:10",
    );
    let some = "unmatchedOperation: deny\noperations: [{ path: /a }]";
    let some = |precedence: u32| {
        format!("hosts: [a.example]\nauthenticators: [partners]\nprecedence: {precedence}\n{some}")
    };
    assert_eq!(
        problems(&[&(api("x", &some(6)) + &api("y", &spec("precedence: 5")))]),
        []
    );
    assert_eq!(problems(&[&two("direction: outbound", "")]), []);
    assert_eq!(problems(&[&two("basePath: /a", "")]), []);
}

#[test]
fn things_are_declared_once() {
    let digest = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    let application = |name: &str, spec: &str| {
        format!("---\nkind: Application\nmetadata: {{ name: {name} }}\nspec:\n  {spec}\n")
    };
    let plan = "---\nkind: Plan\nmetadata: { name: gold }\nspec: {}\n";
    for (first, second, expected) in [
        (
            api("x", &spec("")),
            api("x", &spec("basePath: /b")),
            "api `default/x` is declared already at a.yaml:3",
        ),
        (
            plan.to_owned(),
            plan.to_owned(),
            "plan `default/gold` is declared already at a.yaml:3",
        ),
        (
            application("x", "state: active"),
            application("x", "state: active"),
            "application `default/x` is declared already at a.yaml:3",
        ),
        (
            application("x", &format!("apiKeys: [{{ digest: \"{digest}\" }}]")),
            application("y", &format!("apiKeys: [{{ digest: \"{digest}\" }}]")),
            "b.yaml:5: spec.apiKeys[0].digest: this api key stands already at a.yaml:5",
        ),
        (
            application("x", "appId: a"),
            application("y", "appId: a"),
            "b.yaml:5: spec.appId: this app id stands already at a.yaml:5",
        ),
        (
            application("x", "clients: [{ issuer: i, clientId: c }]"),
            application("y", "clients: [{ issuer: i, clientId: c }]"),
            "this client of this issuer stands already",
        ),
        (
            api("x", &spec("")),
            api("y", &spec("basePath: /b")).replace("title: y", "title: X"),
            "b.yaml:5: spec.title: title and version are those of the api at a.yaml:5",
        ),
    ] {
        let found = problems(&[&first, &second]);
        assert!(
            found
                .iter()
                .any(|(source, problem)| *source == 1 && problem.contains(expected)),
            "{expected}: {found:?}"
        );
    }
    assert_wrong(
        &application("x", "apiKeys: [{ digest: hunter2 }]"),
        "a digest is `sha256:` or",
    );
    assert_wrong(
        &application("x", "appKeys: []\n  apiKeys: [{ digest: \"sha256:00\" }]"),
        "64 hexadecimal digits",
    );
    assert_wrong(
        &application("x", &format!("appKeys: [{{ digest: \"{digest}\" }}]")),
        "app keys go with an `appId`",
    );
    assert_wrong(
        &plan.replace(
            "{}",
            "{ limits: [{ amount: 0, per: day, window: sliding }] }",
        ),
        "spec.limits[0].amount: a limit that slides has an amount of one at least",
    );
    assert_wrong(
        &plan.replace(
            "{}",
            "{ limits: [{ amount: 5, per: day, burst: 2, window: calendar }] }",
        ),
        "limits[0].burst",
    );
    assert_wrong(
        &plan.replace(
            "{}",
            "{ limits: [{ amount: 5, per: day, key: { claim: a..b } }] }",
        ),
        "dotted path",
    );
}

#[test]
fn references_are_checked() {
    let application = |subscriptions: &str| {
        api("x", &spec(""))
            + &format!(
                "---\nkind: Application\nmetadata: {{ name: shop }}\nspec:\n  subscriptions:\n  {subscriptions}\n"
            )
    };
    let subscription = |spec: &str| format!("---\nkind: Subscription\nspec: {{ {spec} }}\n");
    for (text, expected) in [
        (
            application("- { api: y }"),
            "spec.subscriptions[0].api: there is no api `default/y`",
        ),
        (
            application("- { api: other/x }"),
            "there is no api `other/x`",
        ),
        (
            application("- { api: x, plan: gold }"),
            "a.yaml:16: spec.subscriptions[0].plan: there is no plan `default/gold`",
        ),
        (
            application("- { api: { title: Y, version: \"1\" } }"),
            "there is no api with the title `Y` in namespace `default`",
        ),
        (
            application("- { api: { title: X, version: \">=2\" } }"),
            "no version of `X` is `>=2`; there are 1.0.0",
        ),
        (
            application("- { api: { title: X, version: \">=b\" } }"),
            "is no version and no range",
        ),
        (
            application("- { api: { title: X, version: \"1.0\" } }"),
            "no version of `X` is `1.0`",
        ),
        (
            application("- { api: x }\n  - { api: default/x }"),
            "a.yaml:17: spec.subscriptions[1].api: the application is subscribed to this api already at a.yaml:16",
        ),
        (
            application("- { api: x }")
                + &subscription("application: shop, api: { title: x, version: \"^1\" }"),
            "a.yaml:19: spec.api: the application is subscribed to this api already at a.yaml:16",
        ),
        (
            application("- { api: x }") + &subscription("application: shops, api: x"),
            "spec.application: there is no application `default/shops`",
        ),
    ] {
        assert_wrong(&text, expected);
    }
    assert_eq!(
        problems(&[&application(
            "- { api: { title: X, version: \">=1, <2\" } }"
        )]),
        []
    );
}

const COUNT: usize = 20_000;

#[test]
fn many_apis_and_applications_are_built() {
    // the reading of YAML is not what is looked at
    let one = source(
        "large",
        "kind: Api\nmetadata: { name: a }\nspec: { title: a, version: 1.0.0, hosts: [\"*\"], authenticators: [partners], unmatchedOperation: allow }\n---\nkind: Application\nmetadata: { name: p }\nspec: { apiKeys: [{ digest: \"sha256:\" }], clients: [{ issuer: i, clientId: c }], subscriptions: [{ api: a }] }\n---\nkind: Subscription\nspec: { application: p, api: { title: a, version: \">=1\" } }\n",
    );
    let documents = (0..COUNT).flat_map(|at| {
        one.documents.iter().map(move |document| {
            let mut body = document.body.clone();
            match &mut body {
                DocumentBody::Api(api) => {
                    api.metadata.name = format!("a{at}");
                    api.spec.title = format!("a{at}");
                    api.spec.base_path = format!("/a{at}");
                    api.spec.hosts.push(format!("h{}.example", at % 100));
                }
                DocumentBody::Application(application) => {
                    application.metadata.name = format!("p{at}");
                    application.spec.api_keys[0].digest = format!("sha256:{at:064x}");
                    application.spec.app_id = Some(format!("p{at}"));
                    application.spec.clients[0].client_id = format!("c{at}");
                    application.spec.subscriptions[0].api = ApiReference::Name(format!("a{at}"));
                }
                DocumentBody::Subscription(subscription) => {
                    subscription.spec.application = format!("p{at}");
                    subscription.spec.api = ApiReference::Title(TitleReference {
                        title: format!("a{}", (at + 1) % COUNT),
                        version: ">=1".to_owned(),
                    });
                }
                DocumentBody::Plan(_) | DocumentBody::Block(_) => {}
            }
            let yaml = document.yaml.clone();
            let invalid = Invalid::Refused;
            Document {
                body,
                yaml,
                invalid,
            }
        })
    });
    let source = SourceDocuments {
        source: "large".into(),
        digest: [0; 32],
        documents: documents.collect(),
        replaced: Vec::new(),
    };
    let built = build(&[&source], &known()).unwrap();
    assert_eq!(built.catalog.apis().len(), COUNT);
}

#[test]
fn apis_that_a_token_cannot_tell_apart_are_refused_in_two_namespaces() {
    let api = |namespace: &str, title: &str, more: &str| {
        format!(
            "---\nkind: Api\nmetadata: {{ name: a, namespace: {namespace} }}\nspec:\n  title: {title}\n  version: 1.0.0\n  hosts: [{namespace}.example]\n  {more}\n"
        )
    };
    let by_catalog = "authenticators: [partners]\n  operations: [{ path: / }]";
    let by_token = "authenticators: [portal]\n  operations: [{ path: / }]";
    let in_operation =
        "authenticators: [partners]\n  operations: [{ path: /, authenticators: [portal] }]";
    for (first, second) in [
        (by_token, by_token),
        (by_token, by_catalog),
        (by_catalog, by_token),
        (by_catalog, in_operation),
        (in_operation, by_catalog),
    ] {
        let text = api("one", "Orders", first) + &api("two", "orders", second);
        assert_wrong(
            &text,
            "spec.title: title and version are those of the api at a.yaml:5, in another namespace: a token",
        );
        // of three, two may be told apart by the catalog
        let text = api("zero", "Orders", by_catalog) + &text;
        assert_wrong(&text, "in another namespace");
    }
    let text = api("one", "Orders", by_catalog) + &api("two", "orders", by_catalog);
    assert_eq!(problems(&[&text]), []);
    let text = api("one", "Orders", by_token) + &api("two", "others", by_token);
    assert_eq!(problems(&[&text]), []);
}

fn warnings(text: &str) -> String {
    let source = source("a", text);
    let built = build(&[&source], &known()).unwrap();
    built
        .warnings
        .into_iter()
        .collect::<crate::problem::Problems>()
        .to_string()
}

#[test]
fn rules_of_operations_beside_an_open_rest_are_warned_of() {
    for (operation, expected) in [
        ("{ path: /a, scopes: { anyOf: [x] } }", true),
        ("{ path: /a, authenticators: [portal] }", true),
        ("{ path: /a }", false),
    ] {
        let open = api(
            "a",
            &spec(&format!("operations: [{{ path: /b }}, {operation}]")),
        );
        let warned = warnings(&open).contains(
            "a.yaml:10: spec.operations[1]: another method, a slash at the end or other case",
        );
        assert_eq!(warned, expected, "{operation}: {}", warnings(&open));
        let closed = open.replace("unmatchedOperation: allow", "unmatchedOperation: deny");
        assert_eq!(warnings(&closed), "");
    }
}

#[test]
fn a_missing_precedence_is_one_problem() {
    let text = api("a", &spec("")) + &api("b", &spec(""));
    let found = problems(&[&text]);
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].1.contains("give both a `precedence`"), "{found:?}");
    let text = api("a", &spec("precedence: 1")) + &api("b", &spec(""));
    assert_eq!(problems(&[&text]).len(), 1);
    let text = api("a", &spec("precedence: 2")) + &api("b", &spec("precedence: 1"));
    let found = problems(&[&text]);
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(
        found[0].1.contains("has the greater precedence"),
        "{found:?}"
    );
}
