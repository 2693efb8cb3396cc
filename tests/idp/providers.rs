//! Tokens that Keycloak issued to Portcullis, and that reach the upstream through a real Envoy in
//! place of whatever the client sent.

use serde_json::{Value, json};

use crate::support::envoy::{Envoy, EnvoyBuilder};
use crate::support::http::Response;
use crate::support::keycloak::{Realm, audience_mapper, service_client};
use crate::support::portcullis::{Portcullis, PortcullisBuilder};
use crate::support::signing::{Algorithm, SigningKeys};
use crate::support::upstream::Upstream;
use crate::{DEADLINE, KEYCLOAK, patient_server};

const SECRET: &str = "a secret/of:a+test%";
const HOST: &str = "api.example";

/// A realm, and a server that adds a token of it to each request that passes.
struct Scene {
    realm: Realm<'static>,
    portcullis: Portcullis,
    envoy: Envoy,
    upstream: Upstream,
}

impl Scene {
    /// A realm of this name with these clients, and a server of which `change` makes one that asks
    /// it for tokens.
    fn start(
        realm: &str,
        clients: &[Value],
        change: impl FnOnce(PortcullisBuilder, &Realm<'_>) -> PortcullisBuilder,
    ) -> Self {
        let realm = KEYCLOAK.realm(realm, json!({ "clients": clients }));
        let portcullis = change(patient_server(), &realm).start();
        let upstream = Upstream::start();
        let envoy = EnvoyBuilder::new(portcullis.check_address(), upstream.address());
        Self {
            envoy: envoy.timeout(DEADLINE * 2).start(),
            realm,
            portcullis,
            upstream,
        }
    }

    /// The token that the upstream saw, the only one, and what Keycloak says of it to `client`.
    fn token_seen(&self, authorization: &str, client: &str) -> (String, Value) {
        let response = self
            .envoy
            .get(HOST, "/orders/1", &[("authorization", authorization)]);
        let token = bearer_seen(&response);
        let said = self.realm.introspect(&token, client, SECRET);
        assert_eq!(said["active"], true, "{said}");
        assert_ne!(format!("Bearer {token}"), authorization);
        (token, said)
    }
}

fn bearer_seen(response: &Response) -> String {
    assert_eq!(response.status, 200, "{response:?}");
    let seen = response.json()["headers"].take();
    let seen: Vec<(String, String)> = serde_json::from_value(seen).expect("headers");
    let mut values = seen
        .iter()
        .filter(|(name, _)| name.eq_ignore_ascii_case("authorization"))
        .map(|(_, value)| value);
    let value = values.next().expect("a token reached the upstream");
    assert!(values.next().is_none(), "two tokens: {seen:?}");
    let token = value.strip_prefix("Bearer ").expect("a bearer token");
    token.to_owned()
}

/// The Api whose upstream gets a token of the provider `idp`.
fn api(authenticators: &[&str]) -> String {
    let document = json!({
        "apiVersion": "portcullis.dev/v1alpha1", "kind": "Api", "metadata": { "name": "orders" },
        "spec": {
            "title": "orders", "version": "1.0.0", "hosts": [HOST], "basePath": "/orders",
            "authenticators": authenticators, "subscription": "none",
            "unmatchedOperation": "allow", "upstream": { "credential": { "provider": "idp" } },
        },
    });
    document.to_string()
}

/// The provider that gets tokens for ourselves by these credentials.
fn client_credentials(realm: &Realm<'_>, client: Value) -> Value {
    json!({
        "type": "clientCredentials", "tokenUrl": realm.token_url(), "client": client,
        "http": http(),
    })
}

/// How Keycloak is reached.
fn http() -> Value {
    json!({ "allowHttp": true, "timeout": format!("{}s", DEADLINE.as_secs()) })
}

fn by_secret(realm: &str, method: &str) {
    let gateway = service_client("gw", SECRET, "partner");
    let scene = Scene::start(realm, &[gateway], |server, realm| {
        let client = json!({ "id": "gw", "secret": { "file": "secret" }, "method": method });
        server
            .file("secret", SECRET)
            .set(&["providers", "idp"], client_credentials(realm, client))
            .catalog("api.yaml", &api(&["anonymous"]))
    });
    let (token, said) = scene.token_seen("Bearer mine", "gw");
    assert_eq!(said["client_id"], "gw");
    let audiences = said["aud"].as_array().expect("several audiences");
    assert!(audiences.contains(&json!("partner")), "{said}");
    let (again, _) = scene.token_seen("Bearer mine", "gw");
    assert_eq!(token, again, "it is remembered");
    assert_eq!(scene.upstream.count(), 2);
}

#[test]
fn client_credentials_by_basic_authentication() {
    by_secret("basic", "basic");
}

#[test]
fn client_credentials_by_a_secret_in_the_form() {
    by_secret("post", "post");
}

#[test]
fn client_credentials_by_an_assertion_with_our_key() {
    for algorithm in [Algorithm::Es256, Algorithm::Rs256] {
        let name = algorithm.name();
        let keys = SigningKeys::generate(1);
        let gateway = json!({
            "clientId": "gw-key", "serviceAccountsEnabled": true, "standardFlowEnabled": false,
            "clientAuthenticatorType": "client-jwt",
            "attributes": {
                "use.jwks.string": "true",
                "jwks.string": json!({ "keys": [keys.public_jwk(algorithm)] }).to_string(),
                "token.endpoint.auth.signing.alg": name,
            },
            "protocolMappers": [audience_mapper("partner")],
        });
        let observer = service_client("observer", SECRET, "nobody");
        let realm = format!("key-{name}");
        let scene = Scene::start(&realm, &[gateway, observer], |server, realm| {
            let client = json!({
                "id": "gw-key", "key": { "file": "key.pem" }, "algorithm": name,
                "keyId": keys.key_id(algorithm),
            });
            server
                .file("key.pem", &keys.private_pem(algorithm))
                .set(&["providers", "idp"], client_credentials(realm, client))
                .catalog("api.yaml", &api(&["anonymous"]))
        });
        let (_, said) = scene.token_seen("Bearer mine", "observer");
        assert_eq!(said["client_id"], "gw-key");
    }
}

#[test]
fn the_callers_token_exchanged_for_one_on_behalf_of_the_caller() {
    let shop = service_client("shop", SECRET, "gw");
    let other = service_client("other", SECRET, "gw");
    let mut gateway = service_client("gw", SECRET, "partner");
    gateway["attributes"] = json!({ "standard.token.exchange.enabled": "true" });
    let scene = Scene::start("exchange", &[shop, other, gateway], |server, realm| {
        let partners = json!({
            "type": "jwt", "issuer": realm.issuer(), "keys": "discovery", "audiences": ["gw"],
            "allowHttpIssuer": true,
        });
        let exchange = json!({
            "type": "tokenExchange", "tokenUrl": realm.token_url(),
            "client": { "id": "gw", "secret": { "file": "secret" } },
            "http": http(),
        });
        server
            .file("secret", SECRET)
            .authenticator("partners", partners)
            .set(&["providers", "idp"], exchange)
            .catalog("api.yaml", &api(&["partners"]))
    });
    let mut subjects = Vec::new();
    for client in ["shop", "other"] {
        let own = scene.realm.token(client, SECRET, &[]);
        let (token, said) = scene.token_seen(&format!("Bearer {own}"), "gw");
        assert_eq!(said["azp"], "gw", "issued to us: {said}");
        let subject = scene.realm.introspect(&own, "gw", SECRET)["sub"].take();
        assert_eq!(said["sub"], subject, "about the caller");
        let (again, _) = scene.token_seen(&format!("Bearer {own}"), "gw");
        assert_eq!(token, again, "it is remembered, for this token alone");
        subjects.push(subject);
    }
    assert_ne!(subjects[0], subjects[1]);
}

#[test]
fn a_secret_that_keycloak_does_not_know_is_a_fault_and_nothing_passes() {
    let gateway = service_client("gw", SECRET, "partner");
    let scene = Scene::start("wrong-secret", &[gateway], |server, realm| {
        let client = json!({ "id": "gw", "secret": { "file": "secret" } });
        server
            .file("secret", "another-0451")
            .set(&["providers", "idp"], client_credentials(realm, client))
            .catalog("api.yaml", &api(&["anonymous"]))
    });
    let response = scene.envoy.get(HOST, "/orders/1", &[]);
    assert_eq!(response.status, 503, "{response:?}");
    assert_eq!(response.denial_code().as_deref(), Some("unavailable"));
    assert_eq!(scene.upstream.count(), 0);
    let written = scene.portcullis.stdout() + &scene.portcullis.stderr();
    assert!(!written.contains("another-0451"), "{written}");
}
