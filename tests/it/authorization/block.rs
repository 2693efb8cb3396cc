//! Blocks: what is refused although nothing else refuses it.

use serde_json::json;

use crate::gate::{Gate, allowed, get_order, metadata, refused};
use crate::support::check::socket_address;
use crate::support::eventually;

fn gate(blocks: &str) -> Gate {
    Gate::with(|builder, _| builder.catalog("blocks.yaml", blocks))
}

fn block(spec: &str) -> String {
    format!("kind: Block\nmetadata: {{ name: b }}\nspec: {spec}\n")
}

#[tokio::test]
async fn whom_a_block_means_is_blocked() {
    for (spec, is_blocked) in [
        ("{ application: shop }", true),
        ("{ application: shop, api: orders }", true),
        ("{ application: shop, api: open }", false),
        ("{ application: stranger }", false),
        ("{ subject: alice }", true),
        ("{ subject: bob }", false),
        ("{ api: orders }", true),
        ("{ addresses: [192.0.2.0/24] }", true),
        ("{ addresses: [192.0.2.1] }", true),
        ("{ addresses: [198.51.100.0/24] }", false),
        ("{ addresses: [\"::ffff:192.0.2.0/120\"] }", true),
        ("{ addresses: [\"::ffff:192.0.2.1\"] }", true),
        ("{ application: shop, notAddresses: [192.0.2.0/24] }", false),
        (
            "{ application: shop, notAddresses: [198.51.100.0/24] }",
            true,
        ),
        ("{ application: shop, until: 2020-01-01T00:00:00Z }", false),
        (
            "{ application: shop, until: 2999-01-01T00:00:00Z, note: unpaid }",
            true,
        ),
    ] {
        let gate = gate(&block(spec));
        let response = gate.ask_with(&gate.token().subject("alice").sign()).await;
        if is_blocked {
            refused(&response, "blocked");
            assert_eq!(
                metadata(&response, "application").as_deref(),
                Some("default/shop"),
                "{spec}"
            );
        } else {
            allowed(&response);
        }
    }
}

#[tokio::test]
async fn a_block_that_is_taken_away_lets_pass_again() {
    let gate = gate(&block("{ addresses: [192.0.2.1] }"));
    let token = gate.token().sign();
    refused(&gate.ask_with(&token).await, "blocked");
    let elsewhere = get_order()
        .bearer(&token)
        .source(Some(socket_address("192.0.2.7", 4000)));
    allowed(&gate.ask(elsewhere).await);
    let blocks = gate.server.admin("/v1/blocks").json();
    assert_eq!(blocks["blocks"][0]["addresses"], json!(["192.0.2.1/32"]));
    gate.server.remove_catalog("blocks.yaml");
    eventually("the block is gone", || {
        (gate.server.admin("/v1/blocks").json()["total"] == 0).then_some(())
    });
    allowed(&gate.ask_with(&token).await);
}

#[test]
fn a_block_that_would_mean_nobody_or_everybody_is_refused() {
    for (spec, message) in [
        ("{}", "a block of everything is an api without operations"),
        (
            "{ application: nobody }",
            "there is no application `default/nobody`",
        ),
        ("{ api: nothing }", "there is no api `default/nothing`"),
        ("{ addresses: [10.0.0.300] }", "`10.0.0.300` is no address"),
        ("{ subjects: [a] }", "unknown field"),
    ] {
        let server = crate::support::portcullis::PortcullisBuilder::new()
            .catalog("blocks.yaml", &block(spec));
        let (_, output) = server.start_refused();
        assert!(output.contains(message), "{spec}: {output}");
    }
}
