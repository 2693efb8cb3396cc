#![expect(clippy::too_many_lines, reason = "tables of cases")]

use super::*;
use crate::catalog::build::{Known, build};
use crate::catalog::source::file::SourceFiles;
use crate::spiffe::config::SpiffeConfig;

fn mesh() -> Mesh {
    SpiffeConfig {
        trust_domain: Some("td1".into()),
        trust_domain_aliases: vec!["old".into()],
        federated: vec!["partner.example".into()],
        ..SpiffeConfig::default()
    }
    .mesh()
}

/// The rule that is written as `from` in a document of the namespace `shop`.
fn rule(from: &str) -> SourceRule {
    let text = format!(
        "kind: Api\nmetadata: {{ name: a, namespace: shop }}\nspec:\n  title: a\n  version: 1\n  hosts: [a.example]\n  authenticators: [anonymous]\n  subscription: none\n  unmatchedOperation: allow\n  from: {from}\n"
    )
    .replace("version: 1\n", "version: \"1\"\n");
    let source = SourceFiles::of_text("a.yaml", &text);
    let source = source.parse(&"a".into()).unwrap();
    let known = Known {
        authenticators: [("anonymous".into(), Vec::new())].into(),
        mesh: mesh(),
        ..Known::default()
    };
    let built = build(&[&source], &known).unwrap_or_else(|refused| panic!("{from}: {refused:?}"));
    built.catalog.apis()[0].from.clone().unwrap()
}

fn judged(rule: &SourceRule, principal: &str) -> Result<(), &'static str> {
    let mesh = mesh();
    let workload = match SpiffeId::parse(principal) {
        _ if principal.is_empty() => None,
        Ok(id) => Some(Workload::Spiffe(mesh.canonical(id))),
        Err(_) => Some(Workload::Dns(principal.into())),
    };
    let judged = rule.judge(workload.as_ref(), &mesh);
    judged.map_err(|denial| denial.reason().name())
}

const NOT_ALLOWED: &str = "source_not_allowed";

/// What Istio documents: exact, prefix, suffix and presence of principals and namespaces; the form of
/// service accounts; trust domains; and aliases of the mesh's own.
#[test]
fn s22_rules_mean_what_istios_mean() {
    for (from, allowed, refused) in [
        (
            "{ principals: [td1/ns/foo/sa/bar] }",
            &[
                "spiffe://td1/ns/foo/sa/bar",
                "spiffe://old/ns/foo/sa/bar",
                "spiffe://TD1/ns/foo/sa/bar",
            ][..],
            &[
                "spiffe://td2/ns/foo/sa/bar",
                "spiffe://td1/ns/foo/sa/bar2",
                "spiffe://td1/ns/foo/sa/ba",
                "spiffe://td1/ns/foo/sa/bar/x",
                "spiffe://td1/ns/foo/sa/Bar",
                "client.example",
            ][..],
        ),
        (
            "{ principals: [\"spiffe://old/ns/foo/sa/bar\"] }",
            &["spiffe://td1/ns/foo/sa/bar", "spiffe://old/ns/foo/sa/bar"],
            &["spiffe://td2/ns/foo/sa/bar"],
        ),
        // the name by which policies mean the mesh's own
        (
            "{ principals: [cluster.local/ns/foo/sa/bar] }",
            &["spiffe://td1/ns/foo/sa/bar", "spiffe://old/ns/foo/sa/bar"],
            &[
                "spiffe://td2/ns/foo/sa/bar",
                "spiffe://cluster.local/ns/foo/sa/bar",
            ],
        ),
        (
            "{ principals: [td1/ns/foo/*] }",
            &["spiffe://td1/ns/foo/sa/bar", "spiffe://old/ns/foo/sa/x"],
            &[
                "spiffe://td1/ns/foobar/sa/bar",
                "spiffe://td2/ns/foo/sa/bar",
            ],
        ),
        (
            "{ principals: [td1/ns/foo/sa/b*] }",
            &["spiffe://td1/ns/foo/sa/b", "spiffe://old/ns/foo/sa/bar"],
            &["spiffe://td1/ns/foo/sa/c"],
        ),
        (
            "{ principals: [td*] }",
            &[
                "spiffe://td1/ns/foo/sa/bar",
                "spiffe://td2/x",
                "spiffe://old/ns/foo/sa/bar",
            ],
            &["spiffe://partner.example/x"],
        ),
        (
            "{ principals: [\"*/ns/foo/sa/bar\"] }",
            &["spiffe://td1/ns/foo/sa/bar", "spiffe://td2/ns/foo/sa/bar"],
            &["spiffe://td1/ns/foo/sa/barista", "spiffe://td1/ns/foo/sa/x"],
        ),
        (
            "{ principals: [\"*d1/ns/foo/sa/bar\"] }",
            &["spiffe://td1/ns/foo/sa/bar", "spiffe://old/ns/foo/sa/bar"],
            &["spiffe://td2/ns/foo/sa/bar"],
        ),
        (
            "{ principals: [\"*\"] }",
            &["spiffe://td2/x", "client.example"],
            &[],
        ),
        (
            "{ principals: [a.b/x, td1/ns/foo/sa/bar] }",
            &["spiffe://a.b/x", "spiffe://td1/ns/foo/sa/bar"],
            &["spiffe://axb/x"],
        ),
        (
            "{ notPrincipals: [td1/ns/foo/sa/bar] }",
            &["spiffe://td1/ns/foo/sa/x", "client.example"],
            &["spiffe://td1/ns/foo/sa/bar", "spiffe://old/ns/foo/sa/bar"],
        ),
        (
            "{ namespaces: [foo] }",
            &[
                "spiffe://td2/ns/foo/sa/bar",
                "spiffe://td2/region/eu/ns/foo/sa/bar/x",
            ],
            &[
                "spiffe://td1/ns/foobar/sa/bar",
                "spiffe://td1/ns/bar/sa/foo",
                "spiffe://td1/foo/ns/bar/sa/x",
                "spiffe://td1/ns/foo",
                "spiffe://td1/ns/Foo/sa/bar",
                "client.example",
            ],
        ),
        (
            "{ namespaces: [fo*, \"*ar\"] }",
            &["spiffe://td1/ns/foo/sa/x", "spiffe://td1/ns/bar/sa/x"],
            &["spiffe://td1/ns/x/sa/foo", "spiffe://td1/ns/barx/sa/x"],
        ),
        (
            "{ namespaces: [\"*\"] }",
            &["spiffe://td1/ns/foo/sa/x"],
            &["spiffe://td1/workload", "client.example"],
        ),
        (
            "{ notNamespaces: [foo] }",
            &["spiffe://td1/ns/bar/sa/x", "spiffe://td1/workload"],
            &["spiffe://td1/ns/foo/sa/x", "spiffe://td2/ns/foo/sa/x"],
        ),
        (
            "{ serviceAccounts: [bar, foo/baz] }",
            &[
                "spiffe://td1/ns/shop/sa/bar",
                "spiffe://td2/ns/foo/sa/baz",
                "spiffe://td1/ns/foo/x/y/sa/baz",
                "spiffe://td1/ns/foo/sa/baz/x",
                "spiffe://td1/region/eu/ns/foo/sa/baz",
            ],
            &[
                "spiffe://td1/ns/foo/sa/bar",
                "spiffe://td1/ns/shop/sa/baz",
                "spiffe://td1/ns/foo/sa/baz-x",
                "spiffe://td1/ns/foo/saw/baz",
                "spiffe://td1/ns/foobar/sa/baz",
                "spiffe://td1/sa/baz/ns/foo/x",
            ],
        ),
        (
            "{ notServiceAccounts: [foo/baz] }",
            &["spiffe://td1/ns/foo/sa/bar"],
            &["spiffe://td1/ns/foo/sa/baz"],
        ),
        (
            "{ trustDomains: [td1] }",
            &["spiffe://td1/x", "spiffe://old/x"],
            &["spiffe://td2/x", "spiffe://td11/x", "client.example"],
        ),
        (
            "{ trustDomains: [\"*.example\", t*] }",
            &["spiffe://partner.example/x", "spiffe://td2/x"],
            &["spiffe://example/x", "spiffe://b/example"],
        ),
        (
            "{ notTrustDomains: [old] }",
            &["spiffe://td2/x"],
            &["spiffe://td1/x", "spiffe://old/x"],
        ),
        // one of a list, all of the fields
        (
            "{ namespaces: [foo, bar], notServiceAccounts: [foo/baz], trustDomains: [td1] }",
            &["spiffe://td1/ns/foo/sa/x", "spiffe://td1/ns/bar/sa/baz"],
            &[
                "spiffe://td1/ns/foo/sa/baz",
                "spiffe://td2/ns/foo/sa/x",
                "spiffe://td1/ns/x/sa/x",
            ],
        ),
        (
            "{ requireMtls: true }",
            &["spiffe://td2/x", "client.example"],
            &[],
        ),
    ] {
        let rule = rule(from);
        for principal in allowed {
            assert_eq!(judged(&rule, principal), Ok(()), "{from}: {principal}");
        }
        for principal in refused {
            assert_eq!(
                judged(&rule, principal),
                Err(NOT_ALLOWED),
                "{from}: {principal}"
            );
        }
        assert_eq!(judged(&rule, ""), Err("source_unauthenticated"), "{from}");
    }
}

#[test]
fn s22_who_is_nobody_is_let_through_only_where_a_rule_says_so_and_only_excludes() {
    let lenient = rule("{ notNamespaces: [foo], requireMtls: false }");
    assert_eq!(judged(&lenient, ""), Ok(()));
    assert_eq!(
        judged(&lenient, "spiffe://td1/ns/foo/sa/x"),
        Err(NOT_ALLOWED)
    );
    let named = rule("{ namespaces: [foo], notPrincipals: [td1/x], requireMtls: false }");
    assert_eq!(judged(&named, ""), Err("source_unauthenticated"));
}

#[test]
fn s23_what_only_looks_like_a_name_is_not_allowed() {
    for (from, attacks) in [
        (
            "{ principals: [\"td1/ns/a/sa/b\"] }",
            &[
                "spiffe://evil/ns/a/sa/b",
                "spiffe://td1.evil/ns/a/sa/b",
                "spiffe://evil.td1/ns/a/sa/b",
                "spiffe://td1/ns/a/sa/b-x",
                "spiffe://td1/ns/A/sa/b",
                "spiffe://td1/ns/a/sa/B",
                "spiffe://td1/x/ns/a/sa/b",
                "spiffe://td1/ns/a/sa/b/c",
                // these are no SPIFFE IDs at all
                "spiffe://td1/ns/a/sa/%62",
                "spiffe://td1/ns/a/sa/b/",
                "spiffe://td1//ns/a/sa/b",
                "spiffe://td1/ns/a/sa/./b",
                "spiffe://td1@evil/ns/a/sa/b",
                "spiffe://td1/ns/a/sa/b?x",
                "spiffe://td1/ns/a/sa/b#x",
                "https://td1/ns/a/sa/b",
                "td1/ns/a/sa/b",
            ][..],
        ),
        (
            "{ serviceAccounts: [a/admin] }",
            &[
                "spiffe://td1/ns/x/sa/admin",
                "spiffe://td1/ns/a/sa/x/admin",
                "spiffe://td1/ns/a-ns/a/sa/admin",
                "spiffe://td1/xns/a/sa/admin",
                "spiffe://td1/ns/a/xsa/admin",
                "spiffe://td1/ns/a/sa/%61dmin",
            ][..],
        ),
        (
            "{ namespaces: [a] }",
            &[
                "spiffe://td1/ns/b/sa/a",
                "spiffe://a/ns/b/sa/c",
                "spiffe://td1/ns/a",
                "a",
            ][..],
        ),
        (
            "{ trustDomains: [td1] }",
            &[
                "spiffe://td1.evil/x",
                "spiffe://evil/td1",
                "spiffe://evil-td1/x",
                "td1",
            ][..],
        ),
    ] {
        let rule = rule(from);
        for principal in attacks {
            assert_eq!(
                judged(&rule, principal),
                Err(NOT_ALLOWED),
                "{from}: {principal}"
            );
        }
    }
}
