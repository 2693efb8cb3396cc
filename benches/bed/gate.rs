//! Portcullis as a benchmark starts it: an issuer, a catalog of a chosen size, and credentials.

use serde_json::{Value, json};

use portcullis::authentication::api_key::KeyDigest;

use super::support::issuer::Issuer;
use super::support::portcullis::PortcullisBuilder;
use super::support::providers::Providers;
use super::support::token::Token;

/// The host of the Api that takes tokens.
pub(crate) const TOKEN_HOST: &str = "api.example.com";
/// The hosts of the same Api whose upstream sees a provider's token, short or of the size of a JWT.
pub(crate) const PROVIDED_HOST: &str = "partner.example.com";
pub(crate) const PROVIDED_JWT_HOST: &str = "bearer.example.com";
/// The hosts of the same Api whose subscription has a plan with as many limits.
pub(crate) const LIMITED_HOSTS: [(usize, &str); 3] = [
    (1, "one-limit.example.com"),
    (3, "three-limits.example.com"),
    (16, "many-limits.example.com"),
];
/// The names of these Apis and of their providers.
const PROVIDED_APIS: [&str; 2] = ["partner", "bearer"];
/// The path of its operation, as requests have it.
pub(crate) const PATH: &str = "/orders/4711?expand=items";
/// How many headers an allow of it sets.
pub(crate) const HEADERS_SET: usize = 5;
/// The audience of its tokens.
pub(crate) const AUDIENCE: &str = "orders";

/// How many Apis there are beside that one, each with a host, an application with an API key, and
/// its subscription.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Others(pub(crate) usize);

/// The host of the Api that takes key `number`.
pub(crate) fn key_host(number: usize) -> String {
    format!("h{number}.example.com")
}

/// API key `number`.
pub(crate) fn key(number: usize) -> String {
    format!("key-{number:06}-9f86d081884c7d659a2feaa0c55ad015")
}

/// The server, to be started.
pub(crate) fn portcullis(issuer: &Issuer, others: Others) -> PortcullisBuilder {
    let keys = json!({ "type": "apiKey", "credentials": [{ "header": "x-api-key" }] });
    let mut builder = PortcullisBuilder::new()
        .set(&["checks", "deadline"], json!("60s"))
        .set(&["checks", "startupGrace"], json!("10m"))
        .set(&["decisionLog"], json!({}))
        .set(&["telemetry", "log", "level"], json!("warn"))
        .authenticator("issuer", issuer.authenticator(AUDIENCE))
        .authenticator("keys", keys);
    for (file, documents) in catalog(issuer, others) {
        builder = builder.catalog(&file, &documents);
    }
    builder
}

/// The files of the catalog: name and documents.
pub(crate) fn catalog(issuer: &Issuer, others: Others) -> impl Iterator<Item = (String, String)> {
    let parts = (0..others.0.div_ceil(1000)).map(move |part| {
        let numbers = part * 1000..others.0.min((part + 1) * 1000);
        let documents: Vec<String> = numbers.map(another).collect();
        (format!("part-{part}.yaml"), documents.join("\n"))
    });
    let hosts = [PROVIDED_HOST, PROVIDED_JWT_HOST];
    let provided = PROVIDED_APIS.into_iter().zip(hosts);
    let provided =
        provided.map(|(name, host)| (format!("{name}.yaml"), format!("{}\n", api(name, host))));
    std::iter::once(("orders.yaml".to_owned(), orders(issuer)))
        .chain(provided)
        .chain(parts)
}

/// A token that is good for [`TOKEN_HOST`]; change its subject to have another one.
pub(crate) fn token(issuer: &Issuer) -> Token {
    let day = std::time::Duration::from_secs(24 * 3600);
    let token = issuer.token().audience(AUDIENCE).client_id("shop");
    token.scope("orders.read orders.write").expires_in(day)
}

/// The same server, whose Api of [`PROVIDED_HOST`] gets tokens of 64 bytes from `short`, and that of
/// [`PROVIDED_JWT_HOST`] tokens of 1 KiB from `long`.
pub(crate) fn with_providers(
    mut builder: PortcullisBuilder,
    short: &Providers,
    long: &Providers,
) -> PortcullisBuilder {
    let hosts = [PROVIDED_HOST, PROVIDED_JWT_HOST];
    for ((name, host), (providers, bytes)) in PROVIDED_APIS
        .into_iter()
        .zip(hosts)
        .zip([(short, 64), (long, 1024)])
    {
        providers.answer_member("access_token", "t".repeat(bytes));
        providers.answer_member("expires_in", 3600);
        let provider = json!({
            "type": "clientCredentials", "tokenUrl": providers.token_url(), "required": true,
            "client": { "id": "gateway", "secret": { "env": "GATEWAY_SECRET" } },
            "http": { "allowHttp": true },
        });
        let mut api = api(name, host);
        api["spec"]["upstream"]["credential"] = json!({ "provider": name });
        builder = builder
            .set(&["providers", name], provider)
            .catalog(&format!("{name}.yaml"), &format!("{api}\n"));
    }
    builder.environment("GATEWAY_SECRET", "gateway-secret")
}

fn api(name: &str, host: &str) -> Value {
    json!({
        "kind": "Api", "metadata": { "name": name },
        "spec": {
            "title": name, "version": "1.0.0", "hosts": [host], "basePath": "/orders",
            "authenticators": ["issuer"],
            "operations": [{ "methods": ["GET"], "path": "/{id}", "scopes": { "anyOf": ["orders.read"] } }],
            "upstream": { "headers": upstream_headers() },
        },
    })
}

fn orders(issuer: &Issuer) -> String {
    let mut subscriptions: Vec<Value> = ["orders", "partner", "bearer"]
        .map(|api| json!({ "api": api, "plan": "gold" }))
        .to_vec();
    let gold = json!({ "kind": "Plan", "metadata": { "name": "gold" }, "spec": {} });
    let mut documents = vec![api("orders", TOKEN_HOST), gold];
    for (count, host) in LIMITED_HOSTS {
        let name = format!("limits-{count}");
        documents.push(api(&name, host));
        documents.push(json!({
            "kind": "Plan", "metadata": { "name": name },
            "spec": { "limits": limits(count) },
        }));
        subscriptions.push(json!({ "api": name, "plan": name }));
    }
    documents.push(json!({
        "kind": "Application", "metadata": { "name": "shop" },
        "spec": {
            "clients": [{ "issuer": issuer.url(), "clientId": "shop" }],
            "subscriptions": subscriptions,
        },
    }));
    let documents: Vec<String> = documents.iter().map(Value::to_string).collect();
    documents.join("\n---\n") + "\n"
}

/// Limits that nothing here exceeds: of each kind and of different keys.
fn limits(count: usize) -> Vec<Value> {
    let kinds = [
        json!({ "amount": 1_000_000_000, "per": "day", "key": "application" }),
        json!({ "amount": 100_000_000, "per": "second", "window": "sliding", "key": "subscription" }),
        json!({ "amount": 1_000_000_000, "per": "month", "key": "subject" }),
    ];
    let limits = kinds.iter().cycle().take(count).enumerate();
    let named = limits.map(|(at, limit)| {
        let mut limit = limit.clone();
        limit["name"] = json!(format!("limit-{at}"));
        limit
    });
    named.collect()
}

fn upstream_headers() -> serde_json::Value {
    json!({
        "x-user": "{principal.subject}", "x-client-id": "{principal.clientId}",
        "x-application": "{application.name}", "x-plan": "{subscription.plan}",
        "x-scopes": "{principal.scopes}",
    })
}

fn another(number: usize) -> String {
    let digest = KeyDigest::of_key(&key(number)).to_text();
    let host = key_host(number);
    format!(
        "---\nkind: Api\nmetadata: {{ name: api-{number} }}\nspec:\n  title: api-{number}\n  \
         version: 1.0.0\n  hosts: [{host}]\n  basePath: /orders\n  authenticators: [keys]\n  \
         operations: [{{ methods: [GET], path: '/{{id}}' }}]\n  upstream:\n    headers:\n      \
         x-user: 'user of {{application.name}}'\n      x-client-id: '{{application.id}}'\n      \
         x-application: '{{application.name}}'\n      x-plan: '{{subscription.plan}}'\n      \
         x-api: '{{api.name}}'\n\
         ---\nkind: Application\nmetadata: {{ name: app-{number} }}\nspec:\n  \
         apiKeys: [{{ digest: '{digest}' }}]\n  subscriptions: [{{ api: api-{number}, plan: gold }}]\n"
    )
}
