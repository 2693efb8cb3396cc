//! Keycloak tells that a session is over, by OpenID Connect back-channel logout.

use std::time::Instant;

use serde_json::{Value, json};

use crate::support::PATIENCE;
use crate::support::check::{assert_allowed, assert_denied};
use crate::support::keycloak::audience_mapper;
use crate::support::redis::free_address;
use crate::tokens::{catalog, get_order};
use crate::{KEYCLOAK, patient_server};

const CLIENT: (&str, &str) = ("shop", "a-secret-of-a-test");
const ALICE: (&str, &str) = ("alice", "a-password-of-a-test");
const BOB: (&str, &str) = ("bob", "a-password-of-a-test");

fn user((name, password): (&str, &str)) -> Value {
    json!({
        "username": name, "enabled": true, "email": format!("{name}@users.example"), "emailVerified": true,
        "firstName": name, "lastName": name,
        "credentials": [{ "type": "password", "value": password, "temporary": false }],
    })
}

#[tokio::test]
async fn a_token_of_a_user_whom_keycloak_logged_out_is_refused() {
    // Keycloak must be told the address ahead of the server's start, which needs Keycloak's
    let address = free_address();
    let client = json!({
        "clientId": CLIENT.0, "secret": CLIENT.1, "directAccessGrantsEnabled": true, "standardFlowEnabled": true,
        "redirectUris": ["https://shop.example/*"],
        "protocolMappers": [audience_mapper("orders")],
        "attributes": {
            "backchannel.logout.url": format!("http://{address}/backchannel-logout"),
            "backchannel.logout.session.required": "true",
        },
    });
    let settings = json!({ "clients": [client], "users": [user(ALICE), user(BOB)] });
    let realm = KEYCLOAK.realm("logout", settings);
    let partners = json!({
        "type": "jwt", "issuer": realm.issuer(), "keys": "discovery", "audiences": ["orders"],
        "allowHttpIssuer": true,
    });
    let logout = json!({ "authenticators": ["partners"], "clients": [CLIENT.0] });
    let server = patient_server()
        .authenticator("partners", partners)
        .set(
            &["listeners", "logout"],
            json!({ "type": "logout", "address": address.to_string() }),
        )
        .set(&["revocation"], json!({ "logout": logout }))
        .catalog("catalog.yaml", &catalog(&realm.issuer()))
        .start();
    let (alice, bob) = (
        realm.user_token(CLIENT, ALICE),
        realm.user_token(CLIENT, BOB),
    );
    assert_allowed(&get_order(&server, &alice).await);
    assert_allowed(&get_order(&server, &bob).await);
    realm.log_out(ALICE.0);
    let start = Instant::now();
    let answer = loop {
        let answer = get_order(&server, &alice).await;
        if answer
            .status
            .as_ref()
            .is_some_and(|status| status.code != 0)
        {
            break answer;
        }
        assert!(
            start.elapsed() < PATIENCE,
            "still allowed\n{}",
            server.stderr()
        );
    };
    assert_denied(&answer, 401, "unauthenticated");
    assert_allowed(&get_order(&server, &bob).await);
    let listed = server.admin("/v1/revocations").json();
    assert_eq!(listed["revocations"][0]["kind"], "session", "{listed}");
    assert_eq!(listed["revocations"][0]["by"], "logout", "{listed}");
}
