//! Workloads by the certificates of their connections.

use serde_json::json;

use crate::authentication::revocation::{admin, revoke};
use crate::gate::{allowed, metadata, refused};
use crate::support::check::{CheckBuilder, CheckClient, header, headers};
use crate::support::portcullis::{Portcullis, PortcullisBuilder};

const CHECKOUT: &str = "spiffe://cluster.local/ns/shop/sa/checkout";
const GATEWAY: &str =
    "spiffe://cluster.local/ns/istio-system/sa/istio-ingressgateway-service-account";
const WAYPOINT: &str = "spiffe://cluster.local/ns/shop/sa/waypoint";
const APP: &str = "spiffe://cluster.local/ns/shop/sa/app";

const CATALOG: &str = r#"
kind: Api
metadata: { name: orders, namespace: shop }
spec:
  title: orders
  version: 1.0.0
  hosts: [orders.example]
  authenticators: [workloads]
  unmatchedOperation: allow
  upstream:
    headers:
      x-caller: "{principal.subject}"
      x-namespace: "{principal.namespace}"
      x-service-account: "{principal.serviceAccount}"
      x-trust-domain: "{principal.trustDomain}"
      x-issuer: "{principal.issuer}"
      x-application: "{application.name}"
      x-plan: "{subscription.plan}"
---
kind: Api
metadata: { name: who, namespace: shop }
spec:
  title: who
  version: 1.0.0
  hosts: [who.example]
  authenticators: [workloads]
  subscription: none
  unmatchedOperation: allow
  upstream: { headers: { x-caller: "{principal.subject}" } }
---
kind: Api
metadata: { name: mixed, namespace: shop }
spec:
  title: mixed
  version: 1.0.0
  hosts: [mixed.example]
  authenticators: [keys, workloads]
  subscription: none
  unmatchedOperation: allow
---
kind: Application
metadata: { name: checkout, namespace: shop }
spec:
  workloads: ["spiffe://cluster.local/ns/shop/sa/checkout", "spiffe://old.example/ns/shop/sa/legacy"]
  subscriptions: [{ api: orders, plan: few }]
---
kind: Application
metadata: { name: idle, namespace: shop }
spec:
  workloads: ["spiffe://cluster.local/ns/shop/sa/idle"]
---
kind: Plan
metadata: { name: few, namespace: shop }
spec: { limits: [{ amount: 3, per: ever }] }
"#;

/// A server with the catalog above and these keys of authenticator `workloads`.
fn server(mtls: serde_json::Value, xfcc: bool) -> Portcullis {
    let mut workloads = json!({ "type": "mtls" });
    for (key, value) in mtls.as_object().expect("an object") {
        workloads[key] = value.clone();
    }
    builder(xfcc)
        .authenticator("workloads", workloads)
        .catalog("catalog.yaml", CATALOG)
        .start()
}

/// A configuration of a mesh, on whose listener `x-forwarded-client-cert` counts or does not.
pub(crate) fn builder(xfcc: bool) -> PortcullisBuilder {
    let spiffe = json!({
        "trustDomain": "cluster.local",
        "trustDomainAliases": ["old.example"],
        "federated": ["partner.example"],
        "trustedProxies": ["spiffe://cluster.local/ns/istio-system/sa/*"],
    });
    PortcullisBuilder::new()
        .authenticator(
            "keys",
            json!({ "type": "apiKey", "credentials": [{ "header": "x-api-key" }] }),
        )
        .set(&["spiffe"], spiffe)
        .set(
            &["listeners", "inbound", "peers"],
            json!({ "requestXfcc": xfcc }),
        )
}

fn get(host: &str) -> CheckBuilder {
    CheckBuilder::new("GET", host, "/")
}

/// Who calls, by what the upstream is told; the reason where nobody may.
async fn caller(client: &CheckClient, check: CheckBuilder) -> Result<String, String> {
    let response = client.check(check).await;
    match metadata(&response, "decision").as_deref() {
        Some("allow") => Ok(headers(&allowed(&response).headers)["x-caller"].clone()),
        _ => {
            let reason = metadata(&response, "reason").expect("a reason");
            refused(&response, &reason);
            Err(reason)
        }
    }
}

/// `element` is what a proxy says of its client's certificate.
fn element(by: &str, uri: &str) -> String {
    format!("By={by};Hash={};Subject=\"\";URI={uri}", "ab".repeat(32))
}

/// As Envoy was recorded to say who calls, by where it stands: `source.principal`, and the header that
/// it forwards.
#[tokio::test]
async fn s17_each_placement_of_envoy_gives_its_caller() {
    let server = server(json!({ "dnsNames": ["*.partner.example"] }), true);
    let client = CheckClient::new(server.check_address());
    let nobody = Err("source_unauthenticated".to_owned());
    let is = |who: &str| Ok(who.to_owned());
    for (placement, principal, xfcc, expected) in [
        (
            "sidecar, mutual TLS",
            CHECKOUT,
            Some(element(APP, CHECKOUT)),
            is(CHECKOUT),
        ),
        (
            "sidecar, permissive and plaintext",
            "",
            None,
            nobody.clone(),
        ),
        ("ingress gateway, TLS", "", None, nobody.clone()),
        (
            "ingress gateway, mutual TLS",
            "pump.partner.example",
            Some("Hash=ab;Cert=\"x\";Subject=\"CN=pump\";DNS=pump.partner.example;URI=".to_owned()),
            is("pump.partner.example"),
        ),
        (
            "egress gateway from sidecars",
            CHECKOUT,
            Some(element(APP, CHECKOUT)),
            is(CHECKOUT),
        ),
        ("sidecar, outbound", "", None, nobody.clone()),
        (
            "waypoint that is told to forward",
            "",
            Some(format!("By={WAYPOINT};URI={CHECKOUT}")),
            is(CHECKOUT),
        ),
        ("waypoint", "", None, nobody),
    ] {
        let mut check = get("who.example").principal(principal);
        if let Some(xfcc) = xfcc {
            check = check.header("x-forwarded-client-cert", xfcc);
        }
        assert_eq!(caller(&client, check).await, expected, "{placement}");
    }
}

#[tokio::test]
async fn s17_who_shows_no_certificate_is_source_unauthenticated() {
    let server = server(json!({}), false);
    let client = CheckClient::new(server.check_address());
    let response = client.check(get("who.example")).await;
    let denied = refused(&response, "source_unauthenticated");
    let challenge = header(&denied.headers, "www-authenticate");
    assert_eq!(
        challenge.as_deref(),
        Some("ClientCertificate realm=\"who\"")
    );
    // where another kind of credential would do, that is what is missing
    let response = client.check(get("mixed.example")).await;
    let denied = refused(&response, "credential_missing");
    let challenge = header(&denied.headers, "www-authenticate").unwrap_or_default();
    assert!(
        challenge.contains("ApiKey") && challenge.contains("ClientCertificate"),
        "{challenge}"
    );
}

#[tokio::test]
async fn s19_hops_are_walked_over_trusted_proxies_only() {
    let server = server(json!({}), true);
    let client = CheckClient::new(server.check_address());
    let ask = |principal: &str, elements: &[String]| {
        let check = get("who.example").principal(principal);
        caller(
            &client,
            check.header("x-forwarded-client-cert", elements.join(",")),
        )
    };
    let behind_gateway = [element(GATEWAY, CHECKOUT), element(APP, GATEWAY)];
    assert_eq!(ask(GATEWAY, &behind_gateway).await, Ok(CHECKOUT.to_owned()));
    // the gateway itself, where its client showed none
    assert_eq!(
        ask(GATEWAY, &behind_gateway[1..]).await,
        Ok(GATEWAY.to_owned())
    );
    // no proxy of ours: what it forwards about others is its own word
    let forged = [element(APP, GATEWAY), element(APP, CHECKOUT)];
    assert_eq!(ask(CHECKOUT, &forged).await, Ok(CHECKOUT.to_owned()));
    // a client's URI with a comma would be a hop of its own, and be passed if it named a trusted proxy
    for behind in [CHECKOUT, GATEWAY] {
        for before in ["spiffe://evil/a", CHECKOUT] {
            let injected = format!("Hash=ab;URI={before},URI={behind}");
            let injected = [injected, element(APP, GATEWAY)];
            let answer = ask(GATEWAY, &injected).await;
            assert_eq!(
                answer,
                Err("certificate_untrusted".to_owned()),
                "{before} {behind}"
            );
        }
    }
}

#[tokio::test]
async fn s20_a_waypoint_forwards_its_caller_where_that_counts() {
    let xfcc = format!("By={WAYPOINT};URI={CHECKOUT}");
    for (counts, expected) in [
        (true, Ok(CHECKOUT.to_owned())),
        (false, Err("source_unauthenticated".to_owned())),
    ] {
        let server = server(json!({}), counts);
        let client = CheckClient::new(server.check_address());
        let check = get("who.example").header("x-forwarded-client-cert", &xfcc);
        assert_eq!(caller(&client, check).await, expected);
        let without = caller(&client, get("who.example")).await;
        assert_eq!(without, Err("source_unauthenticated".to_owned()));
    }
}

#[tokio::test]
async fn s21_two_words_about_one_caller_are_certificate_untrusted() {
    let server = server(json!({ "dnsNames": ["a.partner.example"] }), true);
    let client = CheckClient::new(server.check_address());
    for (principal, xfcc) in [
        (CHECKOUT, element(APP, APP)),
        (
            CHECKOUT,
            format!("{},{}", element(APP, CHECKOUT), element(APP, APP)),
        ),
        (CHECKOUT, "Hash=ab;Subject=\"CN=x\";URI=".to_owned()),
        ("a.partner.example", "DNS=b.partner.example;URI=".to_owned()),
        ("a.partner.example", element(APP, CHECKOUT)),
        (
            CHECKOUT,
            "URI=spiffe://evil/a;URI=spiffe://cluster.local/ns/shop/sa/checkout".to_owned(),
        ),
        (CHECKOUT, String::new()),
        (CHECKOUT, format!("URI={CHECKOUT};")),
    ] {
        let check = get("who.example").principal(principal);
        let answer = caller(&client, check.header("x-forwarded-client-cert", &xfcc)).await;
        assert_eq!(
            answer,
            Err("certificate_untrusted".to_owned()),
            "{principal} {xfcc}"
        );
    }
    // the same in another case of the trust domain, and where nothing is said
    for xfcc in [
        element(APP, &CHECKOUT.replace("cluster.local", "Cluster.Local")),
        "Hash=ab".to_owned(),
    ] {
        let check = get("who.example").principal(CHECKOUT);
        let answer = caller(&client, check.header("x-forwarded-client-cert", &xfcc)).await;
        assert_eq!(answer, Ok(CHECKOUT.to_owned()), "{xfcc}");
    }
}

#[tokio::test]
async fn identities_of_trust_domains_that_are_not_taken_are_certificate_untrusted() {
    let own = server(json!({}), false);
    let client = CheckClient::new(own.check_address());
    for (principal, expected) in [
        (CHECKOUT, Ok(CHECKOUT)),
        // an alias is the same workload
        ("spiffe://old.example/ns/shop/sa/checkout", Ok(CHECKOUT)),
        (
            "spiffe://partner.example/pump",
            Ok("spiffe://partner.example/pump"),
        ),
        (
            "spiffe://evil.example/ns/shop/sa/checkout",
            Err("certificate_untrusted"),
        ),
        (
            "spiffe://cluster.local.evil.example/ns/shop/sa/checkout",
            Err("certificate_untrusted"),
        ),
        ("spiffe://cluster.local", Err("certificate_untrusted")),
        (
            "spiffe://cluster.local/ns/shop/../sa/checkout",
            Err("certificate_untrusted"),
        ),
        (
            "spiffe://cluster.local/ns/shop/sa/checkout/",
            Err("certificate_untrusted"),
        ),
        (
            "spiffe://cluster.local/ns/shop/sa/%63heckout",
            Err("certificate_untrusted"),
        ),
        ("pump.partner.example", Err("certificate_untrusted")),
        ("https://partner.example/pump", Err("certificate_untrusted")),
        ("CN=pump,O=Partner", Err("certificate_untrusted")),
    ] {
        let answer = caller(&client, get("who.example").principal(principal)).await;
        let expected = expected.map(str::to_owned).map_err(str::to_owned);
        assert_eq!(answer, expected, "{principal}");
    }
    let named = server(
        json!({
            "trustDomains": ["partner.example"],
            "dnsNames": ["*.partner.example"],
            "subjects": ["CN=pump,O=Partner"],
        }),
        false,
    );
    let client = CheckClient::new(named.check_address());
    for (principal, is_taken) in [
        ("spiffe://partner.example/pump", true),
        (CHECKOUT, false),
        ("pump.partner.example", true),
        ("PUMP.partner.example", true),
        ("*.partner.example", false),
        ("partner.example", false),
        ("pump.partner.example.evil.example", false),
        ("CN=pump,O=Partner", true),
        ("CN=pump\\,O=Partner", false),
        ("CN=pump,O=Partner,C=XX", false),
    ] {
        let answer = caller(&client, get("who.example").principal(principal)).await;
        assert_eq!(answer.is_ok(), is_taken, "{principal}: {answer:?}");
    }
}

fn server_of_names() -> Portcullis {
    server(json!({ "dnsNames": ["*.partner.example"] }), false)
}

#[tokio::test]
async fn a_certificate_that_is_sent_must_be_the_one_that_envoy_names() {
    let server = server(json!({}), false);
    let client = CheckClient::new(server.check_address());
    let of = |uris: &[&str]| {
        let mut params = rcgen::CertificateParams::new(Vec::new()).expect("parameters");
        for uri in uris {
            let uri = (*uri).try_into().expect("a URI");
            params.subject_alt_names.push(rcgen::SanType::URI(uri));
        }
        let key = rcgen::KeyPair::generate().expect("a key");
        let pem = params.self_signed(&key).expect("a certificate").pem();
        pem.replace('\n', "%0A")
            .replace(' ', "%20")
            .replace('+', "%2B")
            .replace('/', "%2F")
            .replace('=', "%3D")
    };
    let own = of(&[CHECKOUT]);
    // a URI is no DNS name, whatever it looks like
    let named = server_of_names();
    let partner = CheckClient::new(named.check_address());
    let name = "pump.partner.example";
    let check = get("who.example").principal(name);
    assert_eq!(caller(&partner, check.clone()).await, Ok(name.to_owned()));
    let answer = caller(&partner, check.certificate(&of(&[name]))).await;
    assert_eq!(answer, Err("certificate_untrusted".to_owned()));
    for (certificate, expected) in [
        (own.as_str(), Ok(CHECKOUT.to_owned())),
        (&of(&[APP]), Err("certificate_untrusted".to_owned())),
        (
            &of(&[CHECKOUT, APP]),
            Err("certificate_untrusted".to_owned()),
        ),
        (&of(&[]), Err("certificate_untrusted".to_owned())),
        ("-----BEGIN", Err("certificate_untrusted".to_owned())),
    ] {
        let check = get("who.example")
            .principal(CHECKOUT)
            .certificate(certificate);
        assert_eq!(caller(&client, check).await, expected, "{certificate}");
    }
    let without_name = get("who.example").certificate(&own);
    let answer = caller(&client, without_name).await;
    assert_eq!(answer, Err("certificate_untrusted".to_owned()));
}

#[tokio::test]
async fn s24_what_is_told_of_the_workload_overwrites_what_the_client_says_of_itself() {
    let server = server(json!({}), false);
    let client = CheckClient::new(server.check_address());
    let mut check = get("orders.example").principal("spiffe://old.example/ns/shop/sa/checkout");
    for name in [
        "x-caller",
        "x-namespace",
        "x-service-account",
        "x-trust-domain",
        "x-application",
    ] {
        check = check.header(name, "forged");
    }
    let response = client.check(check).await;
    let told = headers(&allowed(&response).headers);
    assert_eq!(told["x-caller"], CHECKOUT);
    assert_eq!(told["x-namespace"], "shop");
    assert_eq!(told["x-service-account"], "checkout");
    assert_eq!(told["x-trust-domain"], "cluster.local");
    assert_eq!(told["x-issuer"], "spiffe://cluster.local");
    assert_eq!(told["x-application"], "checkout");
    assert_eq!(told["x-plan"], "shop/few");
    for (name, value) in [
        ("source.spiffe_id", CHECKOUT),
        ("source.namespace", "shop"),
        ("source.service_account", "checkout"),
        ("application", "shop/checkout"),
    ] {
        assert_eq!(metadata(&response, name).as_deref(), Some(value), "{name}");
    }
    // where there is none, the client's copy goes all the same
    let check = get("mixed.example")
        .principal(CHECKOUT)
        .header("x-caller", "forged");
    let response = client.check(check).await;
    let ok = allowed(&response);
    assert!(
        ok.headers_to_remove.contains(&"x-caller".to_owned()),
        "{ok:?}"
    );
}

#[tokio::test]
async fn a_workload_has_the_subscription_and_the_limits_of_its_application() {
    let server = server(json!({}), false);
    let client = CheckClient::new(server.check_address());
    let requests = std::cell::Cell::new(0);
    let ask = |principal: &str| {
        requests.set(requests.get() + 1);
        let id = requests.get().to_string();
        client.check(
            get("orders.example")
                .principal(principal)
                .http(|http| http.id = id),
        )
    };
    allowed(&ask(CHECKOUT).await);
    allowed(&ask("spiffe://old.example/ns/shop/sa/checkout").await);
    // an alias in the document too
    allowed(&ask("spiffe://cluster.local/ns/shop/sa/legacy").await);
    refused(&ask(CHECKOUT).await, "quota_exceeded");
    refused(
        &ask("spiffe://cluster.local/ns/shop/sa/idle").await,
        "subscription_missing",
    );
    refused(&ask(APP).await, "application_unknown");
}

#[tokio::test]
async fn a_workload_in_two_applications_is_a_mistake() {
    let twice = format!(
        "{CATALOG}\n---\nkind: Application\nmetadata: {{ name: twin }}\nspec:\n  workloads: [\"spiffe://old.example/ns/shop/sa/checkout\"]\n"
    );
    let (status, told) = builder(false)
        .authenticator("workloads", json!({ "type": "mtls" }))
        .catalog("catalog.yaml", &twice)
        .start_refused();
    assert_eq!(status.code(), Some(78), "{told}");
    assert!(told.contains("this workload"), "{told}");
}

#[tokio::test]
async fn an_authenticator_without_any_trust_domain_is_a_mistake() {
    let (status, told) = PortcullisBuilder::new()
        .authenticator("workloads", json!({ "type": "mtls" }))
        .start_refused();
    assert_eq!(status.code(), Some(78), "{told}");
    assert!(
        told.contains("authenticators.workloads.trustDomains"),
        "{told}"
    );
}

#[tokio::test]
async fn a_workload_that_is_revoked_by_its_subject_is_token_revoked_by_any_name() {
    let server = server(json!({}), false);
    let client = CheckClient::new(server.check_address());
    let ask = |principal: &str| client.check(get("who.example").principal(principal));
    allowed(&ask(CHECKOUT).await);
    revoke(
        &server,
        json!({ "kind": "subject", "value": CHECKOUT, "issuer": "spiffe://cluster.local" }),
    );
    refused(&ask(CHECKOUT).await, "token_revoked");
    refused(
        &ask("spiffe://old.example/ns/shop/sa/checkout").await,
        "token_revoked",
    );
    allowed(&ask(APP).await);
    // another name would be in force and refuse nobody
    for entry in [
        json!({ "kind": "subject", "value": "spiffe://old.example/ns/shop/sa/app" }),
        json!({ "kind": "subject", "value": "spiffe://Cluster.Local/ns/shop/sa/app" }),
        json!({ "kind": "issuer", "issuer": "spiffe://old.example" }),
    ] {
        let answer = admin(&server, "POST", "/v1/revocations", &entry.to_string());
        assert_eq!(answer.status, 400, "{entry} {}", answer.text());
    }
}

/// The configuration and the catalog of the guide, which a reader may copy.
#[tokio::test]
async fn the_guide_of_workloads_says_what_works() {
    let guide = include_str!("../../../docs/guides/workloads.md");
    let blocks: Vec<&str> = guide.split("```yaml\n").skip(1).collect();
    let block = |at: usize| blocks[at].split("```").next().expect("an end");
    assert!(block(0).starts_with("spiffe:") && block(1).starts_with("kind: Api"));
    let server = PortcullisBuilder::new()
        .set(
            &["spiffe"],
            json!({ "trustDomain": "cluster.local", "trustDomainAliases": ["old.example"], "federated": ["partner.example"] }),
        )
        .authenticator("workloads", json!({ "type": "mtls", "dnsNames": ["*.partner.example"] }))
        .catalog("catalog.yaml", block(1))
        .start();
    let client = CheckClient::new(server.check_address());
    let ask = |path: &str, principal: &str| {
        let host = "orders.shop.svc.cluster.local";
        client.check(CheckBuilder::new("GET", host, path).principal(principal))
    };
    let response = ask("/orders/7", CHECKOUT).await;
    let told = headers(&allowed(&response).headers);
    assert_eq!(told["x-caller-account"], "shop/checkout");
    refused(
        &ask("/orders/7/refund", CHECKOUT).await,
        "source_not_allowed",
    );
    let intern = "spiffe://cluster.local/ns/shop/sa/intern";
    refused(&ask("/orders/7", intern).await, "source_not_allowed");
}
