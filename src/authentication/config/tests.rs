use super::*;
use crate::authentication::testing::{parse_section, wrong};

fn read(text: &str) -> Result<AuthenticatorConfigs, String> {
    parse_section(text).map_err(|problem| problem.to_string())
}

const JWT: &str = "type: jwt, issuer: 'https://i.example', audiences: [x]";

#[test]
fn the_vocabulary_is_read() {
    let configs = read(
        r#"
partners:
  type: jwt
  issuer: https://idp.example/realms/p
  keys: discovery
  audiences: [orders]
  algorithms: [RS256, EdDSA]
  credentials: [{ header: authorization, scheme: Bearer }, { cookie: session }, { query: access_token }, { basic: true }]
  claims: { clientId: azp, subject: sub, scopes: scope, subscriptions: subscribedAPIs }
  types: [JWT, at+jwt]
  leeway: 5s
  maxLifetime: 24h
  subscriptions: tokenThenCatalog
url: { issuer: 'https://j.example', type: jwt, audience: clientId, keys: { jwksUrl: 'https://j.example/k' } }
pem: { type: jwt, issuer: name, audience: any, keys: { pemFile: k.pem } }
hs: { type: jwt, issuer: n2, audience: any, algorithms: [HS256], keys: { secret: { env: X } } }
keys: { type: apiKey, credentials: [{ header: x-api-key }], peppers: [{ file: a }, { file: b }] }
apps: { type: appId, id: [{ header: app_id }, { basic: true }], key: [{ header: app_key }, { basic: true }] }
"#,
    )
    .unwrap();
    let mut findings = Findings::new();
    check_all(&configs, &mut findings);
    assert_eq!(findings.found(), []);
    let warned: Vec<&str> = findings.warnings().iter().map(|one| &*one.path).collect();
    assert_eq!(
        warned,
        ["hs.audience", "partners.credentials[2]", "pem.audience"]
    );
    let schema = schemars::schema_for!(AuthenticatorConfigs);
    assert!(schema.to_value().to_string().contains("maxLifetime"));
}

#[test]
fn the_short_form_is_what_is_read_where_all_else_is_left_out() {
    let short = JwtConfig::new("https://i.example".to_owned(), vec!["x".to_owned()]);
    let read = read(&format!("a: {{ {JWT} }}")).unwrap();
    assert_eq!(read["a"], AuthenticatorConfig::Jwt(Box::new(short)));
}

#[test]
fn what_is_unknown_is_refused_at_its_line() {
    for (text, line, told) in [
        (
            "a:\n  type: jwt\n  issuer: https://i\n  isuer: x\n",
            4,
            "isuer",
        ),
        (
            "a:\n  type: jwt\n  issuer: https://i\n  claims:\n    clientid: x\n",
            5,
            "clientid",
        ),
        (
            "a:\n  type: jwt\n  issuer: https://i\n  leeway: 5\n",
            4,
            "duration",
        ),
        (
            "a:\n  type: jwt\n  issuer: https://i\n  algorithms: [none]\n",
            4,
            "unknown variant, expected one of",
        ),
        (
            "a:\n  type: jwt\n  issuer: https://i\n  keys: { secret: plain }\n",
            4,
            "",
        ),
        ("a:\n  type: oidc\n", 2, "unknown type; known are"),
        (
            "a:\n  type: apiKey\n  credentials:\n    - { heeder: x }\n",
            4,
            "heeder",
        ),
    ] {
        let error = read(text).unwrap_err();
        assert!(
            error.contains(&format!("section:{line}")),
            "{text}: {error}"
        );
        assert!(error.contains(told), "{text}: {error}");
    }
    // where the type comes late, what is wrong is still found
    let late = read("a:\n  isuer: x\n  issuer: https://i\n  type: jwt\n").unwrap_err();
    assert!(late.contains("isuer"), "{late}");
    assert!(read("a: { issuer: x }").unwrap_err().contains("type"));
}

#[test]
fn every_problem_of_meaning_is_told_at_once() {
    let found = wrong(
        r#"
a:
  type: jwt
  issuer: http://i.example?x
  credentials: [{ header: ":path" }, { cookie: "a b" }, { header: x, query: y }, {}, { query: t }, { query: t }, { basic: false }, { scheme: Bearer, cookie: c }]
  algorithms: [HS256, RS256, RS256]
  types: []
  leeway: 121s
  claims: { clientId: a..b, subscriptions: s }
  requiredClaims: [""]
  refreshInterval: 0s
  maxToken: 17KiB
"#,
    );
    let paths: Vec<&str> = found
        .iter()
        .map(|one| one.split_once(": ").unwrap().0)
        .collect();
    assert_eq!(
        paths,
        [
            "a.issuer",
            "a.issuer",
            "a.audiences",
            "a.claims.clientId",
            "a.claims.subscriptions",
            "a.leeway",
            "a.algorithms[0]",
            "a.algorithms[2]",
            "a.credentials[0]",
            "a.credentials[1]",
            "a.credentials[2]",
            "a.credentials[3]",
            "a.credentials[5]",
            "a.credentials[6]",
            "a.credentials[7]",
            "a.requiredClaims[0]",
            "a.types",
            "a.refreshInterval",
            "a.maxToken",
        ]
    );
}

#[test]
fn each_mistake_is_found() {
    for (section, path) in [
        (format!("anonymous: {{ {JWT} }}"), "anonymous"),
        (format!("a: {{ {JWT}, audience: any }}"), "a.audience"),
        (format!("a: {{ {JWT}, algorithms: [] }}"), "a.algorithms"),
        (format!("a: {{ {JWT}, credentials: [] }}"), "a.credentials"),
        (format!("a: {{ {JWT}, keys: {{ secret: {{ env: X }} }} }}"), "a.algorithms"),
        (
            format!("a: {{ {JWT}, keys: {{ secret: {{ env: X }} }}, algorithms: [RS256] }}"),
            "a.algorithms[0]",
        ),
        (format!("a: {{ {JWT}, keys: {{ jwksUrl: 'http://k' }} }}"), "a.keys.jwksUrl"),
        (format!("a: {{ {JWT}, keys: {{ jwksUrl: 'https://u:p@k' }} }}"), "a.keys.jwksUrl"),
        (format!("a: {{ {JWT}, keys: {{ jwks: {{ keys: [] }} }} }}"), "a.keys.jwks"),
        ("a: { type: jwt, issuer: 'https://i', audiences: [] }".to_owned(), "a.audiences"),
        ("a: { type: jwt, issuer: 'https://i', audiences: [x, x] }".to_owned(), "a.audiences[1]"),
        ("a: { type: jwt, issuer: name, audiences: [x] }".to_owned(), "a.issuer"),
        (format!("a: {{ {JWT}, maxStale: 9m }}"), "a.maxStale"),
        (
            "a: { type: apiKey, credentials: [{ header: k }], peppers: [{env: a},{env: b},{env: c}] }"
                .to_owned(),
            "a.peppers",
        ),
        ("a: { type: appId, id: [{ basic: true }], key: [{ header: k }] }".to_owned(), "a.key"),
        ("a: { type: appId, id: [{ header: k }], key: [{ header: k }] }".to_owned(), "a.key[0]"),
    ] {
        let found = wrong(&section);
        assert_eq!(found.len(), 1, "{section}: {found:?}");
        assert!(found[0].starts_with(&format!("{path}: ")), "{found:?}");
    }
}

#[test]
fn one_issuer_needs_audiences_that_are_apart() {
    let b = |rest: &str| {
        format!("a: {{ {JWT} }}\nb: {{ type: jwt, issuer: 'https://i.example', {rest} }}")
    };
    assert!(wrong(&b("audiences: [y]")).is_empty());
    assert!(
        wrong(&b("audiences: [y, x]"))[0].starts_with("b.audiences: `x` is an audience of `a`")
    );
    assert!(wrong(&b("audience: any"))[0].starts_with("b.audience: "));
}

#[test]
fn what_cannot_be_read_is_told_below_its_name() {
    let configs = read(&format!(
        "a: {{ {JWT}, keys: {{ pemFile: none.pem }} }}\nb: {{ type: apiKey, credentials: [{{ header: k }}], peppers: [{{ file: none }}] }}"
    ))
    .unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (mut reader, mut findings) = (Reader::new(folder.path()), Findings::new());
    let mut context = BuildContext {
        reader: &mut reader,
        findings: &mut findings,
        lasting: &Lasting::offline(Clock::system()),
    };
    assert!(build_all(&configs, &mut context).is_none());
    let paths: Vec<&str> = findings.found().iter().map(|one| &*one.path).collect();
    assert_eq!(paths, ["a.keys.pemFile", "b.peppers[0]"]);
}
