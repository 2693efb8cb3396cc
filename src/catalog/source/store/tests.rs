use super::*;
use crate::catalog::Catalog;
use crate::catalog::build::{Known, build};
use crate::catalog::model::Direction;
use crate::catalog::router::NoMatch;
use crate::catalog::source::SourceDocuments;
use crate::config::reader::Reader;
use crate::store::StoreConfig;
use crate::store::tests::endpoint;
use crate::upstream::provider::token_urls::{TokenUrlPattern, TokenUrls};
use crate::upstream::provider::{Abilities, PartyRule};

fn source(names_party: bool) -> (tempfile::TempDir, StoreSource) {
    let folder = tempfile::tempdir().unwrap();
    let config = StoreConfig {
        path: "state.db".into(),
        encryption_key: None,
    };
    let source = StoreSource {
        store: Store::open(&config, &mut Reader::new(folder.path())).unwrap(),
        rule: EndpointRule {
            provider: "partner".to_owned(),
            on_failure: EndpointFailure::Allow,
            names_party,
        },
    };
    (folder, source)
}

#[test]
fn an_empty_store_is_no_mistake() {
    let (_folder, source) = source(true);
    let (documents, problems) = source.documents().parse_each(&"admin".into());
    assert!(documents.documents.is_empty() && problems.is_empty());
    let before = documents.digest;
    source
        .store
        .add_endpoint(&endpoint("a.example", "/"))
        .unwrap();
    assert_ne!(source.documents().digest(), before);
}

#[test]
fn each_endpoint_is_an_api_and_so_is_the_rest_of_its_host() {
    let own = endpoint("a.example", "/x");
    let rule = EndpointRule {
        provider: "partner".to_owned(),
        on_failure: EndpointFailure::Allow,
        names_party: true,
    };
    let api = endpoint_api(&own, &rule);
    assert_eq!(api["metadata"]["name"], own.id.to_string());
    assert_eq!(api["spec"]["basePath"], "/x");
    let expected = json!({
        "provider": "partner", "audience": "EU.EORI.IDP", "party": "EU.EORI.A",
        "tokenUrl": "https://idp.example/token", "grantType": "client_credentials",
        "onFailure": "allow", "onAbsent": "allow",
    });
    assert_eq!(api["spec"]["upstream"]["credential"], expected);
    let rule = EndpointRule {
        on_failure: EndpointFailure::Stale,
        names_party: false,
        ..rule
    };
    let credential = &endpoint_api(&own, &rule)["spec"]["upstream"]["credential"];
    assert_eq!(
        (&credential["onFailure"], &credential["onAbsent"]),
        (&json!("stale"), &json!("deny"))
    );
    assert!(credential.get("party").is_none());
    assert!(host_api("[::1]")["spec"].get("upstream").is_none());
    let endpoints = [
        ("a", "/x"),
        ("a", "/y"),
        ("b", "/"),
        ("b", "/x"),
        ("c", "/z"),
    ];
    let hosts = hosts_without_root(endpoints.into_iter());
    assert_eq!(hosts.into_iter().collect::<Vec<_>>(), ["a", "c"]);
}
fn stored(rows: &[Endpoint], rule: &EndpointRule) -> SourceDocuments {
    let (documents, problems) = documents(rows, rule).parse_each(&"admin".into());
    assert!(problems.is_empty(), "{problems}");
    documents
}

fn rule() -> EndpointRule {
    EndpointRule {
        provider: "partner".to_owned(),
        on_failure: EndpointFailure::Allow,
        names_party: true,
    }
}

fn known(party: PartyRule) -> Known {
    let allowed = TokenUrlPattern::parse("https://idp.example/*").unwrap();
    let partner = Abilities {
        gives_token: true,
        takes_audience: true,
        only_audience: true,
        token_urls: Some(TokenUrls::new(vec![allowed])),
        party,
        ..Abilities::default()
    };
    Known {
        authenticators: [("anonymous".into(), Vec::new())].into(),
        providers: [("partner".into(), partner)].into(),
        ..Known::default()
    }
}

/// What comes of a request: the title of its Api and how many credentials it adds.
fn found(catalog: &Catalog, path: &str) -> Result<(String, usize), NoMatch> {
    let router = catalog.router();
    let found = router.find(Direction::Outbound, "a.example", path, "GET")?;
    let api = catalog.api(found.api).unwrap();
    Ok((api.title.to_string(), api.upstream.credentials.len()))
}

#[test]
fn an_endpoint_that_is_not_valid_any_more_denies_and_stops_nothing() {
    type Change = fn(&mut Endpoint);
    let changes: [Change; 4] = [
        |row| row.idp_address = "https://elsewhere.example/token".to_owned(),
        |row| row.idp_address = "no address".to_owned(),
        |row| row.idp_id = "\u{3000}".to_owned(),
        |row| row.idp_id = "\u{1}\u{fffe}\0".to_owned(),
    ];
    for (at, change) in changes.into_iter().enumerate() {
        let mut bad = endpoint("a.example", "/in/bad");
        change(&mut bad);
        let rows = [endpoint("a.example", "/in"), bad.clone()];
        let source = stored(&rows, &rule());
        let built = build(&[&source], &known(PartyRule::Api)).unwrap();
        let [problem] = &built.replaced[..] else {
            panic!("{at}: {:?}", built.replaced);
        };
        assert_eq!(*problem.file, *endpoint_name(&bad), "{at}");
        let catalog = &built.catalog;
        assert_eq!(found(catalog, "/in/x").unwrap().1, 1, "{at}");
        assert_eq!(found(catalog, "/else").unwrap().1, 0, "{at}");
        for path in ["/in/bad", "/in/bad/x"] {
            let denied = found(catalog, path);
            assert!(
                matches!(denied, Err(NoMatch::Operation(_))),
                "{at}: {denied:?}"
            );
        }
    }
}

#[test]
fn of_two_endpoints_at_one_place_the_first_holds() {
    let rows = [
        endpoint("a.example", "/%C3%A4"),
        endpoint("a.example", "/%c3%a4"),
    ];
    let source = stored(&rows, &rule());
    let built = build(&[&source], &known(PartyRule::Api)).unwrap();
    assert_eq!(found(&built.catalog, "/%C3%A4").unwrap().1, 1);
    assert_eq!(*built.replaced[0].file, *endpoint_name(&rows[1]));
}

#[test]
fn what_another_source_claims_is_that_sources() {
    let own = "kind: Api\nmetadata: { name: own }\nspec:\n  title: own\n  version: '1'\n  direction: outbound\n  hosts: [a.example]\n  authenticators: [anonymous]\n  subscription: none\n  unmatchedOperation: allow\n";
    let files = SourceFiles::of_text("own.yaml", own)
        .parse(&"main".into())
        .unwrap();
    let source = stored(
        &[endpoint("a.example", "/"), endpoint("a.example", "/in")],
        &rule(),
    );
    let built = build(&[&files, &source], &known(PartyRule::Api)).unwrap();
    assert_eq!(found(&built.catalog, "/else").unwrap().0, "own");
    assert_eq!(found(&built.catalog, "/in").unwrap().1, 1);
    assert_eq!(built.replaced.len(), 1);
    // of files, what is wrong is wrong still
    let refused = build(&[&source, &files], &known(PartyRule::Api)).unwrap_err();
    assert_eq!(refused.0[0].0, 1);
}

#[test]
fn a_provider_that_comes_to_name_its_party_stops_no_endpoint() {
    for (names_party, party) in [(true, PartyRule::Provider), (false, PartyRule::Api)] {
        let rule = EndpointRule {
            names_party,
            ..rule()
        };
        let source = stored(&[endpoint("a.example", "/in")], &rule);
        let built = build(&[&source], &known(party)).unwrap();
        assert_eq!(built.replaced, []);
        assert_eq!(found(&built.catalog, "/in").unwrap().1, 1);
    }
}

#[test]
fn any_number_of_endpoints_may_be_invalid() {
    let mut rows: Vec<Endpoint> = (0..300)
        .map(|at| endpoint("a.example", &format!("/p{at}")))
        .collect();
    for row in &mut rows {
        row.idp_address = "https://elsewhere.example/token".to_owned();
    }
    rows.push(endpoint("a.example", "/in"));
    let source = stored(&rows, &rule());
    let built = build(&[&source], &known(PartyRule::Api)).unwrap();
    assert_eq!(built.replaced.len(), 300);
    assert_eq!(found(&built.catalog, "/in").unwrap().1, 1);
    for at in [0, 299] {
        assert!(found(&built.catalog, &format!("/p{at}")).is_err());
    }
}
