use super::*;
use crate::authentication::testing;
use crate::spiffe::config::SpiffeConfig;

fn mesh() -> Mesh {
    SpiffeConfig {
        trust_domain: Some("td".into()),
        trust_domain_aliases: vec!["old".into()],
        trusted_proxies: vec!["spiffe://td/ns/gw/sa/*".into()],
        ..SpiffeConfig::default()
    }
    .mesh()
}

fn named(principal: &str) -> Result<Option<String>, &'static str> {
    shown_as(principal, None)
}

fn shown_as(principal: &str, shown: Option<NameKind>) -> Result<Option<String>, &'static str> {
    let word = Word {
        mesh: &mesh(),
        counts: &|uri| !uri.contains("//unbelieved/"),
    };
    let workload = Workload::of_principal(principal, shown, &word)?;
    Ok(workload.map(|workload| {
        let kind = match &workload {
            Workload::Spiffe(_) => "id",
            Workload::Dns(_) => "dns",
            Workload::Subject(_) => "subject",
            Workload::Uri(_) => "uri",
        };
        format!("{kind} {}", workload.name())
    }))
}

#[test]
fn s17_an_empty_name_is_nobody_and_each_form_of_a_name_is_told_apart() {
    assert_eq!(named(""), Ok(None));
    for (principal, expected) in [
        ("spiffe://td/ns/a/sa/b", "id spiffe://td/ns/a/sa/b"),
        ("SPIFFE://TD/ns/a/sa/b", "id spiffe://td/ns/a/sa/b"),
        ("spiffe://old/ns/a/sa/b", "id spiffe://td/ns/a/sa/b"),
        ("client.example", "dns client.example"),
        (
            "CN=spiffe://td/ns/a/sa/b",
            "subject CN=spiffe://td/ns/a/sa/b",
        ),
        ("O=a\\, inc,CN=b", "subject O=a\\, inc,CN=b"),
        ("https://td/a?b=c", "uri https://td/a?b=c"),
        ("spiffe.example", "dns spiffe.example"),
    ] {
        assert_eq!(
            named(principal),
            Ok(Some(expected.to_owned())),
            "{principal}"
        );
    }
    for bad in [
        "spiffe://td",
        "spiffe://td/",
        "spiffe:td/a",
        "spiffe://td/a,URI=b",
        "spiffe://unbelieved/ns/a/sa/b",
        "spiffe://td/a;URI=spiffe://td/b",
        "Spiffe:anything",
        // no kind of name for certain
        "a.example,b.example",
        "a.example/b",
        "a b",
        "a..example",
        ".example",
        "=a",
        "a/b=c",
        "a b=c",
        "bücher.example",
    ] {
        assert!(named(bad).is_err(), "{bad}");
    }
}

#[test]
fn s17_a_certificate_that_is_shown_says_which_kind_its_name_is() {
    use NameKind::{Dns, Subject, Uri};
    for (principal, kind, expected) in [
        ("spiffe://td/a", Uri, Some("id spiffe://td/a")),
        ("spiffe://td/a", Dns, None),
        ("spiffe://td/a", Subject, None),
        ("Spiffe:x", Uri, None),
        ("a.example", Uri, Some("uri a.example")),
        ("a.example", Dns, Some("dns a.example")),
        ("a.example", Subject, None),
        ("CN=a", Uri, Some("uri CN=a")),
        ("CN=a", Dns, None),
        ("CN=a", Subject, Some("subject CN=a")),
        ("https://a", Dns, None),
    ] {
        let found = shown_as(principal, Some(kind));
        let found = found.ok().flatten();
        assert_eq!(found.as_deref(), expected, "{principal} {kind:?}");
    }
}

#[test]
fn s21_an_element_and_a_principal_are_compared_by_what_the_element_names() {
    for (element, principal, expected) in [
        ("URI=spiffe://td/a", "spiffe://td/a", true),
        ("URI=spiffe://TD/a", "spiffe://td/a", true),
        ("URI=spiffe://td/A", "spiffe://td/a", false),
        ("URI=spiffe://td/a;DNS=a.example", "a.example", false),
        ("URI=;DNS=a.example", "a.example", true),
        ("URI=;DNS=b.example;DNS=a.example", "a.example", false),
        ("Subject=\"CN=a\"", "CN=a", true),
        ("Subject=\"CN=a\\\"b\"", "CN=a\\\"b", true),
        ("Subject=\"CN=a\"", "spiffe://td/a", false),
        ("Hash=ab", "spiffe://td/a", true),
        ("Subject=\"\";URI=", "spiffe://td/a", true),
    ] {
        let read = xfcc::last(element).unwrap();
        assert_eq!(
            names(&read, principal, None),
            expected,
            "{element} {principal}"
        );
    }
}

#[test]
fn s20_a_header_that_does_not_count_is_not_even_read() {
    let headers = [("x-forwarded-client-cert", "URI=spiffe://td/ns/a/sa/b")];
    let request = testing::request("/", &headers);
    assert_eq!(caller(&request, &mesh()).unwrap(), None);
}

#[test]
fn s21_the_certificate_and_an_element_name_by_the_same_kind() {
    for (element, kind, expected) in [
        ("DNS=a.example", NameKind::Dns, true),
        ("DNS=a.example", NameKind::Uri, false),
        ("URI=a.example", NameKind::Uri, true),
        ("URI=a.example", NameKind::Dns, false),
        ("Hash=ab", NameKind::Uri, true),
    ] {
        let read = xfcc::last(element).unwrap();
        assert_eq!(names(&read, "a.example", Some(kind)), expected, "{element}");
    }
}
