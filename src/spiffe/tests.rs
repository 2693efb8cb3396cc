use super::*;

fn id(text: &str) -> SpiffeId {
    SpiffeId::parse(text).unwrap()
}

fn matches(pattern: &str, text: &str) -> bool {
    let pattern = SpiffeIdPattern::parse(pattern).unwrap();
    pattern.matches(&id(text), &Aliases::default())
}

#[test]
fn scheme_and_trust_domain_have_no_case_and_the_path_has() {
    let mixed = id("SPIFFE://Cluster.Local/ns/Shop/sa/a");
    assert_eq!(mixed.as_str(), "spiffe://cluster.local/ns/Shop/sa/a");
    assert_eq!(mixed.path(), "/ns/Shop/sa/a");
    assert_eq!(mixed.trust_domain().as_str(), "cluster.local");
    assert_ne!(mixed, id("spiffe://cluster.local/ns/shop/sa/a"));
    assert_eq!(id("spiffe://td").path(), "");
}

#[test]
fn what_the_standard_forbids_is_no_id() {
    let long_domain = format!("spiffe://{}/a", "a".repeat(256));
    let long = format!("spiffe://td/{}", "a".repeat(2048));
    for text in [
        "",
        "spiffe:/td/a",
        "https://td/a",
        "spiffe://",
        "spiffe:///a",
        "spiffe://td/",
        "spiffe://td/a/",
        "spiffe://td//a",
        "spiffe://td/./a",
        "spiffe://td/a/..",
        "spiffe://td/a%2fb",
        "spiffe://td/a?b",
        "spiffe://td/a#b",
        "spiffe://td:80/a",
        "spiffe://u@td/a",
        "spiffe://td/ä",
        "spiffe://td/a b",
        &long_domain,
        &long,
    ] {
        assert!(SpiffeId::parse(text).is_err(), "{text}");
    }
}

#[test]
fn a_service_account_has_istios_form_exactly() {
    let of = |text| {
        id(text)
            .service_account()
            .map(|(ns, sa)| format!("{ns}/{sa}"))
    };
    assert_eq!(of("spiffe://td/ns/a/sa/b").as_deref(), Some("a/b"));
    for other in [
        "spiffe://td/ns/a/sa/b/c",
        "spiffe://td/x/ns/a/sa/b",
        "spiffe://td/ns/a/sa",
        "spiffe://td/NS/a/sa/b",
        "spiffe://td",
    ] {
        assert_eq!(of(other), None, "{other}");
    }
}

#[test]
fn a_pattern_means_whole_segments_of_one_trust_domain() {
    let gateway = "spiffe://td/ns/istio-system/sa/gateway";
    assert!(matches(gateway, gateway));
    assert!(matches("spiffe://TD/ns/istio-system/sa/*", gateway));
    assert!(matches("spiffe://td/ns/*/sa/gateway", gateway));
    assert!(matches("spiffe://td/**", gateway));
    assert!(matches("spiffe://td/ns/istio-system/**", gateway));
    for (pattern, text) in [
        (gateway, "spiffe://evil/ns/istio-system/sa/gateway"),
        (gateway, "spiffe://td.evil/ns/istio-system/sa/gateway"),
        (gateway, "spiffe://td/ns/istio-system/sa/gateway-x"),
        (gateway, "spiffe://td/ns/istio-system/sa/Gateway"),
        (gateway, "spiffe://td/ns/istio-system/sa/gateway/x"),
        (
            "spiffe://td/ns/*/sa/gateway",
            "spiffe://td/ns/a/b/sa/gateway",
        ),
        ("spiffe://td/ns/a/sa/*", "spiffe://td/ns/a/sa/b/c"),
        ("spiffe://td/ns/a/**", "spiffe://td/ns/a"),
        ("spiffe://td/**", "spiffe://td"),
    ] {
        assert!(!matches(pattern, text), "{pattern} {text}");
    }
}

#[test]
fn what_could_mean_more_than_it_seems_is_no_pattern() {
    for text in [
        "*",
        "spiffe://*/ns/a/sa/b",
        "spiffe://td",
        "spiffe://td/",
        "spiffe://td/ns/a/sa/b*",
        "spiffe://td/ns/a**",
        "spiffe://td/**/sa/b",
        "td/ns/a/sa/b",
    ] {
        assert!(SpiffeIdPattern::parse(text).is_err(), "{text}");
    }
}

#[test]
fn aliases_are_one_trust_domain() {
    let domain = |name| TrustDomain::parse(name).unwrap();
    let aliases = Aliases::new([domain("new.example"), domain("old.example")]);
    let (new, old) = (id("spiffe://new.example/a"), id("spiffe://old.example/a"));
    assert!(new.is_same(&old, &aliases));
    assert!(!new.is_same(&old, &Aliases::default()));
    assert!(!new.is_same(&id("spiffe://other.example/a"), &aliases));
    assert!(!new.is_same(&id("spiffe://old.example/b"), &aliases));
    let pattern = SpiffeIdPattern::parse("spiffe://new.example/*").unwrap();
    assert!(pattern.matches(&old, &aliases));
}
