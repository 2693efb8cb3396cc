use super::*;
use crate::fuzz::{Edits, edited, seeds};

const ISTIO: &str = "By=spiffe://cluster.local/ns/mounted-certs/sa/server;Hash=86948c76d1;\
    Subject=\"CN=client.mounted-certs.svc.cluster.local\";\
    URI=spiffe://cluster.local/ns/mounted-certs/sa/client;DNS=client.mounted-certs.svc";

fn uris(value: &str) -> Vec<Option<String>> {
    let elements = parse(value).unwrap_or_else(|error| panic!("{value}: {error}"));
    let uris = elements.into_iter().map(|element| element.uri);
    uris.map(|uri| uri.map(Cow::into_owned)).collect()
}

fn some(uri: &str) -> Option<String> {
    Some(uri.to_owned())
}

#[test]
fn s18_what_a_sidecar_of_istio_writes_is_read_in_place() {
    let element = last(ISTIO).expect("it is one");
    assert_eq!(
        element,
        Element {
            by: Some("spiffe://cluster.local/ns/mounted-certs/sa/server".into()),
            uri: Some("spiffe://cluster.local/ns/mounted-certs/sa/client".into()),
            dns: vec!["client.mounted-certs.svc".into()],
            hash: Some("86948c76d1".into()),
            subject: Some("CN=client.mounted-certs.svc.cluster.local"),
            cert: None,
        }
    );
    assert!(matches!(element.uri, Some(Cow::Borrowed(_))));
    assert!(matches!(element.dns[..], [Cow::Borrowed(_)]));
}

#[test]
fn s18_hops_are_told_apart_by_commas_outside_of_quotes() {
    assert_eq!(uris("URI=a"), [some("a")]);
    assert_eq!(
        uris("Hash=1;URI=a , By=b;Hash=2;URI=c"),
        [some("a"), some("c")]
    );
    assert_eq!(
        uris("Subject=\"O=a,b;URI=x\";URI=y,URI=z"),
        [some("y"), some("z")]
    );
    assert_eq!(
        uris("Subject=\"O=\\\"a\\\",URI=x\";URI=\"y,\\\"z\""),
        [some("y,\"z")]
    );
    assert_eq!(
        uris(&vec!["URI=a"; MAX_ELEMENTS].join(",")).len(),
        MAX_ELEMENTS
    );
    assert_eq!(last("URI=a,URI=b").expect("two").uri.as_deref(), Some("b"));
}

#[test]
fn s18_keys_have_any_case_and_those_of_a_name_may_be_repeated() {
    let element = last("bY=a;HASH=b;subject=\"c\";uri=d;URI=d;dns=e;Dns=f;Chain=\"g\";New=h");
    let element = element.expect("it is one");
    assert_eq!(element.by.as_deref(), Some("a"));
    assert_eq!(element.uri.as_deref(), Some("d"));
    assert_eq!(element.dns, ["e", "f"]);
    assert_eq!(
        (element.hash.as_deref(), element.subject),
        (Some("b"), Some("c"))
    );
}

#[test]
fn s18_an_empty_uri_and_subject_are_those_of_nobody() {
    let element = last("Hash=a;Subject=\"\";URI=;DNS=b").expect("it is one");
    assert_eq!((element.uri, element.subject), (None, Some("")));
    assert_eq!(last("Hash=a").expect("it is one").uri, None);
}

#[test]
fn s18_a_uri_that_holds_pairs_of_its_own_names_nobody() {
    for injected in [
        "Hash=a;URI=spiffe://evil/a;URI=spiffe://good/b",
        "Hash=a;URI=;DNS=x;URI=spiffe://good/b",
        "Hash=a;URI=spiffe://evil/a;Hash=b",
        "Hash=a;URI=spiffe://good/b;URI=",
        "URI=spiffe://good/b;uri=spiffe://good/B",
    ] {
        assert!(parse(injected).is_err(), "{injected}");
        assert!(last(&format!("URI=a,{injected}")).is_err(), "{injected}");
        assert!(last(&format!("{injected},URI=a")).is_err(), "{injected}");
    }
}

#[test]
fn s18_what_can_be_read_in_two_ways_is_not_read() {
    for bad in [
        "",
        " ",
        ",",
        ";",
        "=",
        "=a",
        "URI",
        "URI=a,",
        "URI=a;",
        ",URI=a",
        "URI=a,,URI=b",
        "URI=a;;Hash=b",
        "URI=\"a",
        "URI=\"a\\\"",
        "URI=\"a\"b",
        "URI=a\"b\"",
        "URI=a\\;Hash=b",
        "U RI=a",
        "Hash=a;Hash=a",
        "Subject=\"a\";Subject=\"a\"",
        "Cert=\"a\";Cert=\"a\"",
    ] {
        assert!(parse(bad).is_err(), "{bad}");
        assert!(last(bad).is_err(), "{bad}");
    }
    let many = vec!["URI=a"; MAX_ELEMENTS + 1].join(",");
    assert!(parse(&many).is_err());
    let long = format!("URI={}", "a".repeat(MAX_BYTES));
    assert!(parse(&long).is_err());
    assert!(parse(&long[..MAX_BYTES]).is_ok());
}

/// Whatever is written, it is read or it is not; what is read is there, and `last` agrees.
#[test]
fn s18_fuzz_of_xfcc() {
    let seeds = seeds("xfcc");
    bolero::check!().with_type::<Edits>().for_each(|edits| {
        let bytes = edited(&seeds, edits);
        let text = String::from_utf8_lossy(&bytes);
        let elements = parse(&text);
        assert_eq!(
            last(&text).ok(),
            elements.clone().ok().and_then(|mut all| all.pop())
        );
        let Ok(elements) = elements else {
            return;
        };
        assert!((1..=MAX_ELEMENTS).contains(&elements.len()));
        for element in elements {
            // one URI and no other stands in an element, escapes aside
            if let Some(Cow::Borrowed(uri)) = element.uri {
                assert!(!uri.is_empty() && text.contains(uri));
                assert!(!uri.contains('"'));
            }
        }
    });
}
