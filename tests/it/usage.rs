//! The decision log, and the end of the process.

use std::time::Duration;

use serde_json::{Value, json};

use crate::gate::{Gate, SHOP_KEY, get_order, metadata};
use crate::support::eventually;

fn decisions(gate: &Gate) -> Vec<Value> {
    gate.server
        .stdout()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[tokio::test]
async fn every_decision_is_a_line_that_tells_who_what_and_why() {
    let gate = Gate::start();
    let allow = gate.ask_with(&gate.token().sign()).await;
    let deny = gate
        .ask_with(&gate.token().client_id("suspended").sign())
        .await;
    let lines = eventually("two decisions", || {
        Some(decisions(&gate)).filter(|lines| lines.len() == 2)
    });
    for (line, answer) in lines.iter().zip([allow, deny]) {
        assert_eq!(
            line["decision.id"].as_str(),
            metadata(&answer, "decision_id").as_deref()
        );
        assert_eq!(line["api.id"], "default/orders");
        assert_eq!(line["principal.subject"], "alice");
        assert_eq!(line["path"], "/orders/7");
    }
    assert_eq!(
        (&lines[0]["decision"], &lines[0]["reason"]),
        (&json!("allow"), &json!("permitted"))
    );
    assert_eq!(
        (&lines[1]["decision"], &lines[1]["reason"]),
        (&json!("deny"), &json!("application_suspended"))
    );
    assert_eq!(lines[1]["application.id"], "default/suspended");
}

#[tokio::test]
async fn allows_are_sampled_and_denials_are_not() {
    let gate = Gate::with(|builder, _| builder.set(&["decisionLog", "allows"], json!(0.0)));
    for _ in 0..10 {
        gate.ask(get_order().header("x-api-key", SHOP_KEY)).await;
        gate.ask(get_order()).await;
    }
    let lines = eventually("ten denials", || {
        Some(decisions(&gate)).filter(|lines| lines.len() >= 10)
    });
    assert!(
        lines.iter().all(|line| line["decision"] == "deny") && lines.len() == 10,
        "{lines:?}"
    );
}

#[tokio::test]
async fn the_process_ends_in_order_and_loses_no_decision() {
    let mut gate = Gate::start();
    for _ in 0..50 {
        gate.ask(get_order()).await;
    }
    let start = std::time::Instant::now();
    assert_eq!(gate.server.terminate(), Some(0));
    assert!(
        start.elapsed() < Duration::from_secs(15),
        "{:?}",
        start.elapsed()
    );
    assert_eq!(decisions(&gate).len(), 50);
}
