//! Requests to partners, which get a token of the partner's own provider on the way: FIWARE's nine
//! acceptance scenarios, and what goes with them.
//!
//! Consumer 1 and 2 of the scenarios are `one.localhost` and `two.localhost`; the identity provider
//! is an iSHARE one, by TLS.

use serde_json::{Value, json};

use crate::egress::Egress;
use crate::scene::{seen, seen_headers};
use crate::support::authority::{Authority, Shown};
use crate::support::http::Response;
use crate::support::providers::Providers;

/// The client of FIWARE's scenarios.
const PARTY: &str = "iShareProviderClientId";
/// Their identity provider.
const PROVIDER: &str = "iShareSubscriberClientId";
/// What the consumers see of a request that got its token.
const WITH: [&str; 1] = ["Bearer myIShareToken"];
/// What they see of one that got none.
const WITHOUT: [&str; 0] = [];

/// The consumers, the identity provider, and a way out between an application and them.
struct World {
    egress: Egress,
    idp: Providers,
}

impl World {
    /// The world in which these endpoints, of host and path, are configured.
    fn with(endpoints: &[(&str, &str)]) -> Self {
        let authority = Authority::new();
        let idp = Providers::start_tls(&authority, Shown::Good);
        idp.answer_member("access_token", "myIShareToken");
        let party = authority.party(PARTY);
        let url = token_url(&idp);
        let provider = json!({
            "type": "ishare", "party": PARTY, "key": { "file": "party.key" },
            "certificates": { "file": "party.pem" }, "tokenUrls": { "allow": [url] },
            "http": { "ca": { "file": "ca.pem" } },
        });
        let egress = Egress::start(&catalog(endpoints, &url), |server| {
            server
                .file("party.key", &party.key_pem())
                .file("party.pem", &party.chain_pem())
                .file("ca.pem", &authority.pem())
                .set(&["providers", "partner"], provider)
        });
        Self { egress, idp }
    }

    /// What consumer 1 sees as `authorization` of a request to this path.
    fn one(&self, path: &str) -> Vec<String> {
        authorization(&self.egress.get_one(path, &[]))
    }

    /// What consumer 2 sees as `authorization` of a request to this path.
    fn two(&self, path: &str) -> Vec<String> {
        authorization(&self.egress.get_two(path, &[]))
    }
}

fn token_url(idp: &Providers) -> String {
    format!("{}/oauth2/token", idp.url())
}

fn authorization(response: &Response) -> Vec<String> {
    assert_eq!(response.status, 200, "{response:?}");
    seen(response, "authorization")
}

/// The documents of these endpoints. A host that has none at `/` has an Api there that adds
/// nothing.
fn catalog(endpoints: &[(&str, &str)], token_url: &str) -> String {
    let credential = json!({
        "provider": "partner", "audience": PROVIDER, "tokenUrl": token_url,
        "grantType": "client_credentials", "onFailure": "allow", "onAbsent": "allow",
    });
    let claimed = endpoints.iter().map(|(host, path)| {
        let upstream = json!({ "credential": credential });
        api(host, path, &upstream)
    });
    let open = ["one.localhost", "two.localhost"]
        .into_iter()
        .filter(|host| {
            let mut of_host = endpoints.iter().filter(|(of, _)| of == host).peekable();
            of_host.peek().is_some() && of_host.all(|(_, path)| *path != "/")
        });
    let open = open.map(|host| api(host, "/", &json!({})));
    claimed.chain(open).collect()
}

fn api(host: &str, path: &str, upstream: &Value) -> String {
    let name = format!("{host}{path}").replace('/', "-");
    let document = json!({
        "apiVersion": "portcullis.dev/v1alpha1", "kind": "Api",
        "metadata": { "name": name.trim_end_matches('-') },
        "spec": {
            "title": name, "version": "1.0.0", "direction": "outbound", "hosts": [host],
            "basePath": path, "authenticators": ["anonymous"], "subscription": "none",
            "unmatchedOperation": "allow", "upstream": upstream,
        },
    });
    // JSON is YAML.
    format!("{document:#}\n---\n")
}

#[test]
fn f7_scenario_1_nothing_is_configured_and_nobody_gets_a_token() {
    let world = World::with(&[]);
    for path in ["/", "/subpath"] {
        assert_eq!(world.one(path), WITHOUT);
        assert_eq!(world.two(path), WITHOUT);
    }
    assert_eq!(world.idp.connections(), 0);
}

#[test]
fn f7_scenario_2_the_root_is_configured_and_a_request_to_it_gets_a_token() {
    let world = World::with(&[("one.localhost", "/")]);
    assert_eq!(world.one("/"), WITH);
}

#[test]
fn f7_scenario_3_the_root_is_configured_and_a_request_below_it_gets_a_token() {
    let world = World::with(&[("one.localhost", "/")]);
    assert_eq!(world.one("/subpath"), WITH);
}

#[test]
fn f7_scenario_4_a_path_is_configured_and_a_request_to_the_root_gets_none() {
    let world = World::with(&[("one.localhost", "/subpath")]);
    assert_eq!(world.one("/"), WITHOUT);
    assert_eq!(world.idp.connections(), 0);
}

#[test]
fn f7_scenario_5_two_paths_are_configured_and_a_request_to_the_root_gets_none() {
    let world = World::with(&[
        ("one.localhost", "/subpath"),
        ("one.localhost", "/anotherpath"),
    ]);
    assert_eq!(world.one("/"), WITHOUT);
    assert_eq!(world.idp.connections(), 0);
}

#[test]
fn f7_scenario_6_a_path_is_configured_and_a_request_to_it_gets_a_token() {
    let world = World::with(&[("one.localhost", "/subpath")]);
    assert_eq!(world.one("/subpath"), WITH);
}

#[test]
fn f7_scenario_7_two_paths_are_configured_and_a_request_to_one_of_them_gets_a_token() {
    let world = World::with(&[
        ("one.localhost", "/subpath"),
        ("one.localhost", "/anotherpath"),
    ]);
    assert_eq!(world.one("/subpath"), WITH);
}

#[test]
fn f7_scenario_8_of_two_consumers_the_one_that_is_configured_gets_tokens() {
    let world = World::with(&[("one.localhost", "/")]);
    for path in ["/", "/subpath"] {
        assert_eq!(world.one(path), WITH);
        assert_eq!(world.two(path), WITHOUT);
    }
    assert_eq!(world.idp.count(), 1, "the token is asked for once");
}

#[test]
fn f7_scenario_9_of_two_consumers_the_path_that_is_configured_gets_tokens() {
    let world = World::with(&[("one.localhost", "/subpath")]);
    assert_eq!(world.one("/subpath"), WITH);
    assert_eq!(world.one("/"), WITHOUT);
    for path in ["/", "/subpath"] {
        assert_eq!(world.two(path), WITHOUT);
    }
    assert_eq!(world.idp.count(), 1);
}

#[test]
fn f5_what_no_endpoint_claims_passes_with_zero_mutations_and_zero_provider_calls() {
    let world = World::with(&[("one.localhost", "/subpath")]);
    let sent = [
        ("authorization", "Basic bWluZTptaW5l"),
        ("cookie", "a=b"),
        ("x-user", "mine"),
        ("x_user", "mine"),
    ];
    let answers = [
        world.egress.get_one("/", &sent),
        world.egress.get_one("/subpathology", &sent),
        world.egress.get_one("/Subpath", &sent),
        world.egress.get_two("/subpath", &sent),
    ];
    for answer in answers {
        assert_eq!(answer.status, 200, "{answer:?}");
        let headers = seen_headers(&answer).into_iter();
        let others: Vec<_> = headers.filter(|(name, _)| name != "host").collect();
        let sent = sent.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(others, sent);
    }
    assert_eq!(world.idp.connections(), 0);
}

#[test]
fn f23_the_identity_provider_sees_an_assertion_that_its_certificates_prove() {
    let world = World::with(&[("one.localhost", "/")]);
    world.one("/");
    let call = world.idp.last();
    let assertion = call.certified_assertion();
    let claims = &assertion.claims;
    assert_eq!(claims["iss"], PARTY);
    assert_eq!(claims["sub"], PARTY);
    assert_eq!(claims["aud"], PROVIDER);
    assert_eq!(claims["nbf"], claims["iat"]);
    let lifetime = claims["exp"].as_i64().zip(claims["iat"].as_i64());
    assert_eq!(lifetime.map(|(exp, iat)| exp - iat), Some(30));
    assert!(claims["jti"].is_string());
    assert_eq!(assertion.certificates().len(), 2, "leaf and intermediate");
    assert_eq!(
        call.field_names(),
        [
            "client_assertion",
            "client_assertion_type",
            "client_id",
            "grant_type",
            "scope"
        ]
    );
    assert_eq!(call.field("scope"), Some("iSHARE"));
    assert_eq!(call.field("client_id"), Some(PARTY));
    assert!(call.header("cookie").is_none());
}

#[test]
fn h3_a_clients_authorization_is_replaced_not_duplicated() {
    let world = World::with(&[("one.localhost", "/")]);
    let own = [
        ("Authorization", "Bearer mine"),
        ("authorization", "Basic bWluZTptaW5l"),
    ];
    for headers in [&own[..1], &own[..]] {
        let response = world.egress.get_one("/", headers);
        assert_eq!(authorization(&response), WITH);
    }
}

#[test]
fn f20_without_its_provider_an_endpoint_of_fiware_passes_without_any_authorization() {
    let world = World::with(&[("one.localhost", "/")]);
    world.idp.refuse_connections();
    let response = world
        .egress
        .get_one("/", &[("authorization", "Bearer mine")]);
    assert_eq!(authorization(&response), WITHOUT);
}
