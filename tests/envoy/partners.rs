//! Which partner gets which credential: by host and path, of a token endpoint, a header service and
//! an auth-provider of FIWARE.

use serde_json::{Value, json};

use crate::scene::seen;
use crate::support::envoy::{Envoy, EnvoyBuilder};
use crate::support::http::Response;
use crate::support::portcullis::{Portcullis, PortcullisBuilder};
use crate::support::providers::Providers;
use crate::support::providers::call::Endpoint;
use crate::support::upstream::Upstream;

/// The partners, which are one upstream, and the way to them.
struct Partners {
    envoy: Envoy,
    portcullis: Portcullis,
    upstream: Upstream,
    providers: Providers,
}

impl Partners {
    /// The provider `idp` has the configuration that `provider` gives; each of `apis` is a host, a
    /// path and what else stands in its `credential`.
    fn start(provider: impl FnOnce(&Providers) -> Value, apis: &[(&str, &str, Value)]) -> Self {
        let providers = Providers::start();
        let outbound = json!({
            "type": "check", "address": "127.0.0.1:0", "direction": "outbound",
            "unmatched": "allow",
        });
        let catalog: String = apis
            .iter()
            .map(|(host, path, credential)| api(host, path, credential))
            .collect();
        let mut provider = provider(&providers);
        provider["http"] = json!({ "allowHttp": true });
        let portcullis = PortcullisBuilder::new()
            .set(&["listeners", "outbound"], outbound)
            .set(&["providers", "idp"], provider)
            .file("secret", "a secret of the test")
            .catalog("partners.yaml", &catalog)
            .start();
        let upstream = Upstream::start();
        let envoy = EnvoyBuilder::new(portcullis.address("outbound"), upstream.address());
        Self {
            envoy: envoy.start(),
            portcullis,
            upstream,
            providers,
        }
    }

    /// What the partner sees as `authorization` of a request that has one of its own.
    fn authorization(&self, host: &str, target: &str) -> Vec<String> {
        let response = self.get(host, target);
        assert_eq!(response.status, 200, "{response:?}");
        seen(&response, "authorization")
    }

    fn get(&self, host: &str, target: &str) -> Response {
        let own = [
            ("Authorization", "Bearer mine"),
            ("x-anothersecretheader", "mine"),
            ("cookie", "session=mine"),
            ("content-length", "0"),
        ];
        self.envoy.get(host, target, &own)
    }
}

fn api(host: &str, path: &str, credential: &Value) -> String {
    let mut credential = credential.clone();
    credential["provider"] = "idp".into();
    let name = format!("{host}{path}").replace('/', "-");
    let document = json!({
        "apiVersion": "portcullis.dev/v1alpha1", "kind": "Api",
        "metadata": { "name": name.trim_end_matches('-') },
        "spec": {
            "title": name, "version": "1.0.0", "direction": "outbound", "hosts": [host],
            "basePath": path, "authenticators": ["anonymous"], "subscription": "none",
            "unmatchedOperation": "allow", "upstream": { "credential": credential },
        },
    });
    // JSON is YAML.
    format!("{document:#}\n---\n")
}

fn token_endpoint(providers: &Providers) -> Value {
    json!({
        "type": "clientCredentials", "tokenUrl": providers.token_url(),
        "client": { "id": "us", "secret": { "file": "secret" } },
    })
}

fn audience(name: &str) -> Value {
    json!({ "audience": name })
}

/// The token of `audience` that the token endpoint gave at this call.
fn token(call: usize, audience: &str) -> [String; 1] {
    [format!("Bearer token-{call}.us.{audience}")]
}

#[test]
fn f1_the_longest_path_that_is_configured_decides_which_token() {
    let partners = Partners::start(
        token_endpoint,
        &[
            ("d.org", "/", audience("root")),
            ("d.org", "/a", audience("a")),
            ("d.org", "/a/b", audience("b")),
        ],
    );
    let told = [
        ("/x", 1, "root"),
        ("/a", 2, "a"),
        ("/a/c/d", 2, "a"),
        ("/a/b/c?x=1", 3, "b"),
        ("/", 1, "root"),
    ];
    for (target, call, audience) in told {
        assert_eq!(
            partners.authorization("d.org", target),
            token(call, audience),
            "{target}"
        );
    }
    assert_eq!(partners.providers.count(), 3);
}

#[test]
fn f2_a_path_matches_by_whole_segments_at_any_depth() {
    let partners = Partners::start(
        token_endpoint,
        &[
            ("d.org", "/", audience("root")),
            ("d.org", "/p", audience("p")),
        ],
    );
    for target in ["/p", "/p/", "/p/a", "/p/a/b/c", "/p?x=1"] {
        assert_eq!(
            partners.authorization("d.org", target),
            token(1, "p"),
            "{target}"
        );
    }
    // F4: what is a wildcard elsewhere is a letter in a request.
    for target in ["/pq", "/P", "/", "/*", "/**", "/?"] {
        assert_eq!(
            partners.authorization("d.org", target),
            token(2, "root"),
            "{target}"
        );
    }
}

#[test]
fn f3_a_host_matches_whatever_its_port_case_and_final_dot() {
    let partners = Partners::start(token_endpoint, &[("d.org", "/", audience("d"))]);
    for host in ["d.org", "D.org:6060", "d.org.", "d.org:80"] {
        assert_eq!(partners.authorization(host, "/"), token(1, "d"), "{host}");
    }
    for host in ["sub.d.org", "[::1]:80", "org"] {
        assert_eq!(partners.authorization(host, "/"), ["Bearer mine"], "{host}");
    }
    assert_eq!(partners.providers.count(), 1);
}

#[test]
fn f9_an_auth_provider_is_asked_for_the_configured_path_and_sees_nothing_of_the_caller() {
    let provider = |providers: &Providers| json!({ "type": "authProvider", "url": providers.url(), "authType": "ISHARE" });
    let partners = Partners::start(provider, &[("d.org", "/sub", json!({}))]);
    for target in ["/sub/a?b=c", "/sub", "/sub/d"] {
        let authorization = partners.authorization("d.org", target);
        assert_eq!(
            authorization,
            ["Bearer auth-1.ISHARE.d.org/sub"],
            "{target}"
        );
    }
    assert_eq!(partners.authorization("d.org:81", "/sub").len(), 1);
    let call = partners.providers.last();
    let asked = Endpoint::Auth {
        auth_type: "ISHARE".to_owned(),
        domain: "d.org".to_owned(),
        path: "/sub".to_owned(),
    };
    assert_eq!(call.endpoint, asked);
    assert_eq!(call.query.len(), 2, "{:?}", call.query);
    assert!(call.request.target.ends_with("path=%2Fsub"), "{call:?}");
    for name in ["authorization", "cookie", "content-length"] {
        assert!(call.header(name).is_none(), "{call:?}");
    }
    assert_eq!(
        partners.providers.count(),
        1,
        "within the 25 seconds that it said"
    );
}

#[test]
fn h3_the_answer_of_a_header_service_replaces_two_headers() {
    let provider = |providers: &Providers| {
        json!({
            "type": "headerService", "url": providers.headers_url(), "hosts": ["a.example"],
        })
    };
    let partners = Partners::start(
        provider,
        &[
            ("a.example", "/", json!({})),
            ("b.example", "/", json!({ "onAbsent": "allow" })),
        ],
    );
    let response = partners.get("a.example", "/orders");
    assert_eq!(seen(&response, "authorization"), ["Bearer headers-1"]);
    assert_eq!(seen(&response, "x-anothersecretheader"), ["Hiya Pal"]);
    // H14: nothing of it for another host.
    let other = partners.get("b.example", "/orders");
    assert!(!other.text().contains("headers-1"), "{other:?}");
    assert!(!other.text().contains("Hiya Pal"), "{other:?}");
    let written = partners.portcullis.stdout() + &partners.portcullis.stderr();
    assert!(!written.contains("Hiya Pal"), "no value is logged");
    assert_eq!(partners.upstream.count(), 2);
}
