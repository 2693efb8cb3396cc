use std::time::Duration;

use serde_json::json;

use super::*;
use crate::spiffe::config::SpiffeConfig;

const NOW: i64 = 1_800_000_000;

fn reading(by: Entered, is_open_ended: bool) -> Reading {
    Reading {
        by,
        now: NOW,
        keep: HumanDuration(Duration::from_secs(3600)),
        is_open_ended,
    }
}

fn read_by(by: Entered, document: Value) -> Result<Entry, Wrong> {
    let document: EntryDocument = serde_json::from_value(document).unwrap();
    let mesh = SpiffeConfig {
        trust_domain: Some("td".into()),
        trust_domain_aliases: vec!["old".into()],
        ..SpiffeConfig::default()
    };
    document.read(&reading(by, false), &mesh.mesh())
}

fn read(document: Value) -> Result<Entry, Wrong> {
    read_by(Entered::Admin, document)
}

fn place(document: Value) -> &'static str {
    read(document).unwrap_err().place
}

#[test]
fn what_is_left_out_follows_from_the_rest() {
    let entry = read(json!({ "kind": "subject", "value": "alice" })).unwrap();
    assert_eq!(entry.before, Some(NOW + 1));
    assert_eq!(entry.until, NOW + 1 + 3600);
    let entry = read(json!({ "kind": "jti", "issuer": "i", "value": "1" })).unwrap();
    assert_eq!((entry.before, entry.until), (None, NOW + 3600));
    let entry = read(json!({ "kind": "application", "value": "shop" })).unwrap();
    assert_eq!(entry.until, NEVER);
    assert_eq!(&*entry.about.value, "default/shop");
}

#[test]
fn the_end_of_a_token_is_read_from_the_token_which_is_not_kept() {
    let claims = URL_SAFE_NO_PAD.encode(json!({ "exp": NOW + 77 }).to_string());
    let token = format!("e30.{claims}.x");
    let entry = read(json!({ "kind": "token", "token": token })).unwrap();
    assert_eq!(entry.until, NOW + 77);
    // also where its signature is written in another way
    let signed = token.strip_suffix(".x").unwrap();
    assert_eq!(entry.about, About::token(&sha256(signed.as_bytes())));
    assert!(!format!("{entry:?}").contains(&token));
    let opaque = read(json!({ "kind": "token", "token": "opaque" })).unwrap();
    assert_eq!(opaque.until, NOW + 3600);
    assert_eq!(opaque.about, About::token(&sha256(b"opaque")));
    let known = read(json!({ "kind": "token", "token": token, "value": "x" }));
    assert_eq!(known.unwrap_err().place, "token");
}

#[test]
fn only_what_has_the_header_of_a_json_web_token_has_a_signed_part() {
    assert_eq!(signed_part("e30.e30.x"), Some("e30.e30"));
    assert_eq!(signed_part("e30.e30."), Some("e30.e30"));
    for other in [
        "",
        "opaque",
        "e30.x",
        "v4.public.x",
        "e30.a.b.c.d",
        "a.b.c",
        "..x",
    ] {
        assert_eq!(signed_part(other), None, "{other}");
    }
}

#[test]
fn one_token_whose_end_is_not_known_stays_revoked_where_tokens_may_outlive_what_is_kept() {
    let read = |document| {
        let document: EntryDocument = serde_json::from_value(document).unwrap();
        let read = document.read(&reading(Entered::Admin, true), &Mesh::default());
        read.unwrap().until
    };
    assert_eq!(read(json!({ "kind": "token", "token": "opaque" })), NEVER);
    assert_eq!(
        read(json!({ "kind": "jti", "issuer": "i", "value": "1" })),
        NEVER
    );
    let claims = URL_SAFE_NO_PAD.encode(json!({ "exp": NOW + 77 }).to_string());
    let token = format!("e30.{claims}.x");
    assert_eq!(read(json!({ "kind": "token", "token": token })), NOW + 77);
    let until = Timestamp::from_second(NOW + 10).unwrap().to_string();
    assert_eq!(
        read(json!({ "kind": "token", "token": "opaque", "until": until })),
        NOW + 11
    );
}

#[test]
fn a_digest_may_be_hexadecimal_or_base64url() {
    let digest = sha256(b"abc");
    let hex = crate::secret::hexadecimal(&digest);
    for value in [
        hex.clone(),
        hex.to_uppercase(),
        format!("sha256:{hex}"),
        URL_SAFE_NO_PAD.encode(digest),
    ] {
        let entry = read(json!({ "kind": "token", "value": value })).unwrap();
        assert_eq!(entry.about, About::token(&digest), "{value}");
    }
    for value in ["abc", "sha256:", &hex[2..], "eyJhbGciOiJub25lIn0.e30."] {
        assert_eq!(
            place(json!({ "kind": "token", "value": value })),
            "value",
            "{value}"
        );
    }
}

#[test]
fn an_entry_that_would_end_before_its_tokens_is_refused() {
    let until = Timestamp::from_second(NOW + 10).unwrap().to_string();
    assert_eq!(
        place(json!({ "kind": "subject", "value": "a", "until": until })),
        "until"
    );
    let before = Timestamp::from_second(NOW + 1000).unwrap().to_string();
    assert_eq!(
        place(json!({ "kind": "subject", "value": "a", "before": before })),
        "before"
    );
    let before = Timestamp::from_millisecond(NOW * 1000 - 500)
        .unwrap()
        .to_string();
    let entry = read(json!({ "kind": "subject", "value": "a", "before": before })).unwrap();
    assert_eq!(entry.before, Some(NOW));
}

#[test]
fn each_kind_has_what_it_needs_and_nothing_else() {
    assert_eq!(place(json!({ "kind": "jti", "value": "1" })), "issuer");
    assert_eq!(
        place(json!({ "kind": "issuer", "issuer": "i", "value": "x" })),
        "value"
    );
    assert_eq!(
        place(json!({ "kind": "application", "value": "x", "issuer": "i" })),
        "issuer"
    );
    assert_eq!(place(json!({ "kind": "client", "issuer": "i" })), "value");
    assert_eq!(
        place(json!({ "kind": "client", "issuer": "i", "value": "a\nb" })),
        "value"
    );
    assert_eq!(
        place(
            json!({ "kind": "jti", "issuer": "i", "value": "1", "before": "2020-01-01T00:00:00Z" })
        ),
        "before"
    );
    assert_eq!(
        place(json!({ "kind": "subject", "value": "a", "note": "a\nb" })),
        "note"
    );
    assert_eq!(place(json!({ "kind": "subject", "token": "a" })), "token");
    for strange in [
        json!({ "kind": "sub", "value": "a" }),
        json!({ "kind": "subject", "value": "a", "beforee": 1 }),
    ] {
        assert!(serde_json::from_value::<EntryDocument>(strange).is_err());
    }
}

#[test]
fn a_file_says_the_same_each_time_that_it_is_read() {
    let by_file = |document| read_by(Entered::File, document).map_err(|wrong| wrong.place);
    assert_eq!(
        by_file(json!({ "kind": "subject", "value": "a" })),
        Err("before")
    );
    assert_eq!(
        by_file(json!({ "kind": "jti", "issuer": "i", "value": "1" })),
        Err("until")
    );
    assert_eq!(
        by_file(json!({ "kind": "token", "token": "a" })),
        Err("token")
    );
    let before = "2027-01-01T00:00:00Z";
    let entry = by_file(json!({ "kind": "subject", "value": "a", "before": before })).unwrap();
    assert_eq!(entry.until, entry.before.unwrap() + 3600);
}

#[test]
fn a_workload_is_revoked_by_the_one_name_that_requests_look_for() {
    let subject = |value: &str| json!({ "kind": "subject", "value": value });
    for value in [
        "spiffe://td/ns/a/sa/b",
        "spiffe://partner/pump",
        "pump.partner.example",
        "CN=spiffe://old/x",
    ] {
        assert_eq!(&*read(subject(value)).unwrap().about.value, value);
    }
    for value in [
        "spiffe://old/ns/a/sa/b",
        "spiffe://TD/ns/a/sa/b",
        "SPIFFE://td/ns/a/sa/b",
        "spiffe://td/ns/a/sa/b/",
        "spiffe:td/a",
        "spiffe://td",
    ] {
        assert_eq!(place(subject(value)), "value", "{value}");
        let of_issuer =
            |issuer: &str| json!({ "kind": "subject", "value": value, "issuer": issuer });
        assert_eq!(place(of_issuer("spiffe://td")), "value", "{value}");
        // what another issuer calls somebody is that issuer's own
        assert!(read(of_issuer("https://idp.example")).is_ok(), "{value}");
    }
    let issuer = |issuer: &str| json!({ "kind": "issuer", "issuer": issuer });
    assert!(read(issuer("spiffe://td")).is_ok());
    for wrong in [
        "spiffe://old",
        "spiffe://TD",
        "Spiffe://td",
        "spiffe://td/a",
        "spiffe:td",
    ] {
        assert_eq!(place(issuer(wrong)), "issuer", "{wrong}");
    }
}
