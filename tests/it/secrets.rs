//! No credential reaches any output.

use serde_json::json;

use crate::gate::{Gate, SHOP_APP_ID, SHOP_APP_KEY, SHOP_KEY, allowed, get_order};
use crate::support::check::CheckBuilder;

#[tokio::test]
async fn no_token_key_or_secret_is_written_anywhere() {
    let mut gate = Gate::with(|builder, _| {
        let places = json!([{ "header": "authorization", "scheme": "Bearer" }, { "cookie": "session" }, { "query": "access_token" }]);
        builder
            .set(&["telemetry", "log", "level"], json!("trace"))
            .set(&["authenticators", "partners", "credentials"], places)
            .file("pepper", "canary-pepper-canary")
            .set(
                &["authenticators", "keys", "peppers"],
                json!([{ "file": "pepper" }]),
            )
            .file("admin-token", "canary-admin-token")
            .set(
                &["listeners", "admin", "token"],
                json!({ "file": "admin-token" }),
            )
    });
    let token = gate.token().claim("canary", "canary-claim").sign();
    let expired = gate
        .token()
        .expired_since(std::time::Duration::from_secs(60))
        .sign();
    let unsigned = gate.token().unsigned();
    let mut answers = String::new();
    let checks = vec![
        get_order().bearer(&token),
        get_order().bearer(&expired),
        get_order().bearer(&unsigned),
        get_order().bearer("canary-garbage"),
        get_order().header("cookie", format!("session={token}")),
        CheckBuilder::new(
            "GET",
            "api.example",
            &format!("/orders/7?access_token={token}"),
        ),
        get_order().header("x-api-key", SHOP_KEY),
        get_order().header("x-api-key", "canary-unknown-key"),
        get_order().header("x-api-key", "canary-one,canary-two"),
        get_order()
            .header("app-id", SHOP_APP_ID)
            .header("app-key", SHOP_APP_KEY),
        get_order()
            .header("app-id", SHOP_APP_ID)
            .header("app-key", "canary-wrong-app-key"),
        get_order().header(
            "authorization",
            "Basic Y2FuYXJ5LXVzZXI6Y2FuYXJ5LXBhc3N3b3Jk",
        ),
    ];
    allowed(&gate.ask(get_order().bearer(&token)).await);
    for check in checks {
        answers.push_str(&format!("{:?}", gate.ask(check).await));
    }
    let admin = [
        "/v1/catalog",
        "/v1/apis",
        "/v1/apis/default/orders",
        "/v1/applications/default/shop",
        "/v1/problems",
        "/v1/key-sets",
        "/v1/tasks",
    ]
    .map(|target| {
        let headers = [("authorization", "Bearer canary-admin-token")];
        crate::support::http::get(gate.server.address("admin"), "localhost", target, &headers)
            .text()
    })
    .concat();
    let metrics = gate.server.metrics();
    assert_eq!(gate.server.terminate(), Some(0));
    let signature = |token: &str| token.rsplit('.').next().unwrap().to_owned();
    let payload = |token: &str| token.split('.').nth(1).unwrap().to_owned();
    let secrets = [
        signature(&token),
        payload(&token),
        signature(&expired),
        payload(&expired),
        payload(&unsigned),
        SHOP_KEY.to_owned(),
        SHOP_APP_KEY.to_owned(),
        "canary-".to_owned(),
        "Y2FuYXJ5".to_owned(),
        crate::support::signing::key_digest(SHOP_KEY)[10..].to_owned(),
    ];
    for (output, text) in [
        ("answers", answers),
        ("stdout", gate.server.stdout()),
        ("stderr", gate.server.stderr()),
        ("admin", admin),
        ("metrics", metrics),
    ] {
        assert!(!text.is_empty(), "{output} is empty, so nothing was tested");
        for secret in &secrets {
            let found = text
                .find(secret.as_str())
                .map(|at| text.get(at.saturating_sub(200)..at + 40));
            assert!(found.is_none(), "{output} tells a secret: {found:?}");
        }
    }
}
