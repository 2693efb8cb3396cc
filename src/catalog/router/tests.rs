#![expect(clippy::type_complexity, reason = "tables of cases")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::*;
use crate::catalog::build::{Known, build};
use crate::catalog::source::file::SourceFiles;

/// A router of Apis, each by hosts, base path, precedence and operations (`GET /a`, or `/a` for
/// every method; none lets everything pass).
fn router(apis: &[(&[&str], &str, Option<i32>, &[&str])]) -> Router {
    let documents =
        apis.iter()
            .enumerate()
            .map(|(at, (hosts, base_path, precedence, operations))| {
                let operations: Vec<_> = operations
                    .iter()
                    .map(|operation| match operation.split_once(' ') {
                        Some((method, path)) => {
                            serde_json::json!({ "methods": [method], "path": path })
                        }
                        None => serde_json::json!({ "path": operation }),
                    })
                    .collect();
                serde_json::json!({
            "kind": "Api",
            "metadata": { "name": format!("a{at}") },
            "spec": {
                "title": format!("a{at}"), "version": "1", "hosts": hosts, "basePath": base_path,
                "precedence": precedence, "authenticators": ["anonymous"], "subscription": "none",
                "unmatchedOperation": if operations.is_empty() { "allow" } else { "deny" },
                "operations": operations,
            }
        })
        .to_string()
            });
    let text = documents.collect::<Vec<_>>().join("\n---\n");
    let source = SourceFiles::of_text("f", &text)
        .parse(&Arc::from("s"))
        .unwrap();
    let known = Known {
        authenticators: [("anonymous".into(), Vec::new())].into(),
        ..Known::default()
    };
    let catalog = build(&[&source], &known).unwrap().catalog;
    Router::new(catalog.apis())
}

#[track_caller]
fn assert_finds(router: &Router, request: &str, expected: Result<(u32, Option<u32>), NoMatch>) {
    let (method, url) = request.split_once(' ').unwrap();
    let at = url.find('/').unwrap();
    let found = router.find(Direction::Inbound, &url[..at], &url[at..], method);
    let expected = expected.map(|(api, operation)| Match {
        api: ApiIndex(api),
        operation: operation.map(OperationIndex),
    });
    assert_eq!(found, expected, "{request}");
}

const ALL: &[&str] = &[];

#[test]
fn an_exact_host_hides_wildcards_and_the_longest_wildcard_wins() {
    let router = router(&[
        (&["*"], "/", None, ALL),
        (&["*.example"], "/", None, ALL),
        (&["*.b.example"], "/x", None, ALL),
        (&["a.b.example"], "/y", None, ALL),
    ]);
    assert_finds(&router, "GET other/", Ok((0, None)));
    assert_finds(&router, "GET a.example/", Ok((1, None)));
    assert_finds(&router, "GET c.d.example/", Ok((1, None)));
    assert_finds(&router, "GET c.b.example/x", Ok((2, None)));
    assert_finds(&router, "GET a.b.example/y", Ok((3, None)));
    // no falling through to a wider claim
    assert_finds(&router, "GET a.b.example/x", Err(NoMatch::Path));
    assert_finds(&router, "GET c.b.example/", Err(NoMatch::Path));
    // a wildcard stands for one label at least
    assert_finds(&router, "GET example/", Ok((0, None)));
    assert_finds(&router, "GET b.example/", Ok((1, None)));
}

#[test]
fn an_unclaimed_host_and_the_other_direction_find_nothing() {
    let router = router(&[(&["a"], "/", None, ALL)]);
    assert_finds(&router, "GET b/", Err(NoMatch::Host));
    assert_eq!(
        router.find(Direction::Outbound, "a", "/", "GET"),
        Err(NoMatch::Host)
    );
}

#[test]
fn the_longest_base_path_wins_by_whole_segments() {
    let router = router(&[
        (&["a"], "/v1", None, &["/x"]),
        (&["a"], "/v1/orders", None, &["/x", "/"]),
    ]);
    assert_finds(&router, "GET a/v1/x", Ok((0, Some(0))));
    assert_finds(&router, "GET a/v1/orders/x", Ok((1, Some(0))));
    assert_finds(&router, "GET a/v1/orders", Ok((1, Some(1))));
    assert_finds(&router, "GET a/v1/orders/", Ok((1, Some(1))));
    assert_finds(
        &router,
        "GET a/v1/ordersx",
        Err(NoMatch::Operation(ApiIndex(0))),
    );
    assert_finds(
        &router,
        "GET a/v1/orders/y",
        Err(NoMatch::Operation(ApiIndex(1))),
    );
    assert_finds(&router, "GET a/v12/x", Err(NoMatch::Path));
    assert_finds(&router, "GET a/", Err(NoMatch::Path));
}

#[test]
fn apis_of_one_place_are_asked_by_precedence() {
    let router = router(&[
        (&["a"], "/", Some(1), ALL),
        (&["a"], "/", Some(9), &["GET /x"]),
        (&["a"], "/", Some(5), &["POST /x", "/y"]),
    ]);
    assert_finds(&router, "GET a/x", Ok((1, Some(0))));
    assert_finds(&router, "POST a/x", Ok((2, Some(0))));
    assert_finds(&router, "GET a/y", Ok((2, Some(1))));
    // what one of them has an operation for is never taken by another as unmatched
    assert_finds(&router, "PUT a/x", Err(NoMatch::Operation(ApiIndex(1))));
    assert_finds(&router, "PUT a/z", Ok((0, None)));
}

#[test]
fn the_most_specific_template_decides_before_the_method() {
    let router = router(&[(
        &["a"],
        "/",
        None,
        &[
            "GET /o/new",
            "/o/{id}",
            "GET /o/{*rest}",
            "DELETE /o/{id}/x",
            "/{any}/{more}/y",
            "/",
        ],
    )]);
    assert_finds(&router, "GET a/o/new", Ok((0, Some(0))));
    assert_finds(
        &router,
        "POST a/o/new",
        Err(NoMatch::Operation(ApiIndex(0))),
    );
    assert_finds(&router, "POST a/o/7", Ok((0, Some(1))));
    assert_finds(&router, "DELETE a/o/7/x", Ok((0, Some(3))));
    assert_finds(&router, "GET a/o/7/x", Err(NoMatch::Operation(ApiIndex(0))));
    // what no literal or parameter fits goes to the rest, also after a step into a branch
    assert_finds(&router, "GET a/o/new/x/z", Ok((0, Some(2))));
    assert_finds(&router, "GET a/o/7/y", Ok((0, Some(2))));
    assert_finds(&router, "GET a/p/7/y", Ok((0, Some(4))));
    assert_finds(&router, "GET a/", Ok((0, Some(5))));
    assert_finds(&router, "get a/o/new", Err(NoMatch::Operation(ApiIndex(0))));
}

#[test]
fn a_trailing_slash_is_another_path_and_a_parameter_is_never_empty() {
    let router = router(&[(&["a"], "/b", None, &["/c", "/d/", "/e/{id}", "/f/{*rest}"])]);
    assert_finds(&router, "GET a/b/c", Ok((0, Some(0))));
    assert_finds(&router, "GET a/b/c/", Err(NoMatch::Operation(ApiIndex(0))));
    assert_finds(&router, "GET a/b/d/", Ok((0, Some(1))));
    assert_finds(&router, "GET a/b/d", Err(NoMatch::Operation(ApiIndex(0))));
    assert_finds(&router, "GET a/b/e/", Err(NoMatch::Operation(ApiIndex(0))));
    assert_finds(&router, "GET a/b/f", Err(NoMatch::Operation(ApiIndex(0))));
    assert_finds(&router, "GET a/b/f/x/", Ok((0, Some(3))));
    assert_finds(&router, "GET a/b", Err(NoMatch::Operation(ApiIndex(0))));
}

#[test]
fn a_hundred_thousand_apis_are_routed_without_quadratic_steps() {
    let template = |at: usize| {
        let mut source = router_api(at);
        source.id = crate::catalog::model::ApiId::new("default", &format!("a{at}"));
        source
    };
    let apis: Vec<Api> = (0..100_000).map(template).collect();
    let start = Instant::now();
    let router = Router::new(&apis);
    assert!(
        start.elapsed() < Duration::from_secs(10),
        "{:?}",
        start.elapsed()
    );
    assert_finds(&router, "GET h7.example/b99907/x", Ok((99_907, None)));
}

fn router_api(at: usize) -> Api {
    use crate::catalog::model::{
        ApiId, BasePath, Enforcement, Origin, PreflightRule, SubscriptionRule, UpstreamRules,
    };
    Api {
        id: ApiId::new("default", "a"),
        title: "a".into(),
        version: "1".into(),
        context: None,
        direction: Direction::Inbound,
        peers: Box::default(),
        hosts: vec![
            HostPattern::Exact(format!("h{}.example", at % 100).into()),
            HostPattern::Suffix("x".into()),
        ],
        base_path: BasePath(format!("/b{at}").into()),
        precedence: None,
        enforcement: Enforcement::Enforce,
        authenticators: Vec::new(),
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
    }
}
