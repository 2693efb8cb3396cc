use std::sync::Arc;

use super::*;
use crate::authentication::algorithm::Algorithm;
use crate::catalog::model::{
    Api, ApiId, BasePath, Direction, Enforcement, HostPattern, Origin, PreflightRule,
    SubscriptionRule, UnmatchedOperation, UpstreamRules,
};
use crate::catalog::{Catalog, Contents};
use crate::routing::{ListenerRules, NoHttpRule, Routed, Unmatched, route};
use crate::snapshot::{Configured, Revision, Snapshot};

#[test]
fn the_denial_closest_to_an_owner_is_said() {
    let denial = |reason| Denial::new(reason, "x");
    let mut unclaimed = None;
    for (next, said) in [
        (Reason::CredentialInvalid, Reason::CredentialInvalid),
        (Reason::IssuerUntrusted, Reason::IssuerUntrusted),
        (Reason::AudienceMismatch, Reason::AudienceMismatch),
        (Reason::IssuerUntrusted, Reason::AudienceMismatch),
        (Reason::CredentialInvalid, Reason::AudienceMismatch),
    ] {
        unclaimed = Some(closest(unclaimed, denial(next)));
        assert_eq!(unclaimed.as_ref().unwrap().reason(), said);
    }
}

/// Takes what `explain` is told.
#[derive(Clone, Default)]
struct Told(Arc<std::sync::Mutex<Vec<u8>>>);

impl std::io::Write for Told {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn explain_is_told_where_we_looked_and_what_we_found_but_no_credential() {
    let section = "a: { type: apiKey, credentials: [{ header: x-api-key }, { query: k }] }";
    let authenticator = testing::build(section, &key_refresh::KeySources::offline());
    let Authenticator::ApiKey(api_key) = &*authenticator else {
        panic!("an api key authenticator");
    };
    let catalog = Catalog::new(Contents::default());
    let request = testing::request("/?k=hunter2", &[]);
    let outcome = api_key.authenticate(&request, &catalog);
    let told = Told::default();
    let writer = told.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(move || writer.clone())
        .with_ansi(false)
        .finish();
    tracing::subscriber::with_default(subscriber, || explain(&authenticator, &outcome));
    let text = String::from_utf8(told.0.lock().unwrap().clone()).unwrap();
    for part in [
        r#"authenticator="a""#,
        r#"kind="apiKey""#,
        r#"looked_in="header x-api-key, query k""#,
        r#"found="a credential that does not hold""#,
        r#"reason="credential_invalid""#,
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(!text.contains("hunter2"));
}

/// Headers, and who it is by them.
type Case<'a> = (&'a [(&'a str, &'a str)], Result<&'a str, &'a str>);

/// An Api that asks `names`, in order, of the authenticators in `section`.
fn snapshot(section: &str, names: &[&str]) -> Snapshot {
    let api = Api {
        id: ApiId::new("default", "api"),
        title: "api".into(),
        version: "1".into(),
        context: None,
        direction: Direction::Inbound,
        peers: Box::default(),
        hosts: vec![HostPattern::Any],
        base_path: BasePath("".into()),
        precedence: None,
        enforcement: Enforcement::Enforce,
        authenticators: names.iter().map(|name| Arc::from(*name)).collect(),
        subscription: SubscriptionRule::NotNeeded,
        operations: Vec::new(),
        unmatched_operation: UnmatchedOperation::Allow,
        preflight: PreflightRule::Deny,
        from: None,
        limits: Vec::new(),
        upstream: UpstreamRules::default(),
        origin: Origin {
            source: "s".into(),
            file: "f".into(),
            line: 1,
        },
    };
    let catalog = Catalog::new(Contents {
        apis: vec![api],
        ..Contents::default()
    });
    let authenticators = testing::build_section(section, &key_refresh::KeySources::offline());
    let configured = Configured {
        authenticators,
        ..Configured::default()
    };
    Snapshot::new(Revision::new(b"r"), catalog, &configured)
}

async fn who(snapshot: &Snapshot, headers: &[(&str, &str)]) -> Result<Arc<str>, &'static str> {
    let rules = ListenerRules {
        direction: Direction::Inbound,
        unmatched: Unmatched::Deny,
        no_http: NoHttpRule::Deny,
    };
    let request = testing::request("/", headers);
    let Ok(Routed::To(route)) = route(snapshot, &request, &rules) else {
        panic!("a route");
    };
    let revoked = Revocations::new(0);
    match authenticate(&route, &request, &revoked, std::time::Instant::now).await {
        Ok(Caller::Verified(principal)) => Ok(principal.authenticator().into()),
        Err(Stop::Deny(denial)) => Err(denial.reason().name()),
        Err(Stop::Fail(fault)) => Err(fault.reason().name()),
    }
}

#[tokio::test]
async fn the_first_that_knows_decides_and_a_credential_is_never_anonymous() {
    let keys = serde_json::json!({ "keys": [testing::RSA.jwk("a")] });
    let section = format!(
        "a: {{ type: jwt, issuer: {}, audiences: [orders], keys: {{ jwks: {keys} }} }}\n\
         b: {{ type: jwt, issuer: other, audiences: [orders], keys: {{ jwks: {keys} }} }}\n\
         k: {{ type: apiKey, credentials: [{{ header: x-api-key }}] }}",
        testing::ISSUER
    );
    let token = |issuer: &str| {
        let claims = testing::with(testing::claims(), serde_json::json!({ "iss": issuer }));
        let token = testing::RSA.token(Algorithm::Rs256, &testing::header(), &claims);
        format!("Bearer {token}")
    };
    let (ours, others, nobodys) = (token(testing::ISSUER), token("other"), token("nobody"));
    let broken = format!("{ours}A");
    let all = snapshot(&section, &["a", "b", "k", ANONYMOUS]);
    let cases: [Case; 8] = [
        (&[("authorization", &ours)], Ok("a")),
        (&[("authorization", &others)], Ok("b")),
        (&[("authorization", &nobodys)], Err("issuer_untrusted")),
        (
            &[("authorization", "Bearer opaque")],
            Err("credential_invalid"),
        ),
        (&[("authorization", &broken)], Err("signature_invalid")),
        (&[("authorization", &ours), ("x-api-key", "bad")], Ok("a")),
        (&[("x-api-key", "bad")], Err("credential_invalid")),
        (&[], Ok(ANONYMOUS)),
    ];
    for (headers, expected) in cases {
        let found = who(&all, headers).await;
        assert_eq!(found.as_deref().map_err(|reason| *reason), expected);
    }
    let strict = snapshot(&section, &["a", "k"]);
    assert_eq!(who(&strict, &[]).await, Err("credential_missing"));
    let first_anonymous = snapshot(&section, &[ANONYMOUS, "a"]);
    let bad = who(&first_anonymous, &[("authorization", "Bearer opaque")]).await;
    assert_eq!(bad, Err("credential_invalid"));
}
