//! Three real servers that share their limits over a real Redis.

use serde_json::{Value, json};

use super::stores::until;
use crate::gate::{Gate, metadata};
use crate::support::check::CheckBuilder;
use crate::support::redis::RedisServer;
use crate::support::signing::key_digest;

const KEY: &str = "buyer-9f86d081884c7d659a2feaa0c55ad015";

fn gate(server: &RedisServer, quota: Value) -> Gate {
    let mut store = server.config();
    store["type"] = json!("redis");
    store["budget"] = json!("500ms");
    let mut section = json!({ "store": store });
    for (key, value) in quota.as_object().unwrap() {
        section[key] = value.clone();
    }
    let digest = key_digest(KEY);
    let catalog = format!(
        r#"
kind: Api
metadata: {{ name: limited }}
spec:
  title: limitedAPI
  version: 1.0.0
  hosts: [limited.example]
  authenticators: [keys]
  unmatchedOperation: allow
---
kind: Application
metadata: {{ name: buyer }}
spec:
  apiKeys: [{{ digest: "{digest}" }}]
  subscriptions: [{{ api: limited, plan: small }}]
---
kind: Plan
metadata: {{ name: small }}
spec: {{ limits: [{{ amount: 12, per: year }}] }}
"#
    );
    Gate::with(|builder, _| {
        builder
            .set(&["quota"], section)
            .catalog("limited.yaml", &catalog)
    })
}

/// Why a request of `buyer` is decided as it is.
async fn reason(gate: &Gate, id: &str) -> String {
    let request = CheckBuilder::new("GET", "limited.example", "/").header("x-api-key", KEY);
    let answer = gate.ask(request.http(|http| http.id = id.to_owned())).await;
    metadata(&answer, "reason").unwrap()
}

/// Waits until each is connected: until then, what has limits is a fault.
async fn connected(gates: &[Gate]) {
    for gate in gates {
        until("a connection", async || {
            let metrics = gate.server.metrics();
            metrics
                .contains("portcullis_redis_connected{redis=\"quota\"} 2")
                .then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn a_limit_holds_for_all_servers_together_and_without_redis_it_is_a_fault() {
    for mode in ["exact", "lease"] {
        let mut server = RedisServer::start();
        let gates = [(); 3].map(|()| gate(&server, json!({ "mode": mode })));
        connected(&gates).await;
        let (mut permitted, mut exceeded) = (0, 0);
        for number in 0..20 {
            match reason(&gates[number % 3], &format!("{mode}-{number}"))
                .await
                .as_str()
            {
                "permitted" => permitted += 1,
                "quota_exceeded" => exceeded += 1,
                other => panic!("{mode}: {other}"),
            }
        }
        assert_eq!((permitted, exceeded), (12, 8), "{mode}");
        if mode == "exact" {
            // Envoy asks another server once more about a request that was charged
            assert_eq!(reason(&gates[1], "exact-0").await, "permitted");
        }
        server.kill();
        until("a fault", async || {
            let reason = reason(&gates[0], "").await;
            assert_ne!(reason, "permitted", "{mode}");
            (reason == "dependency_unavailable").then_some(())
        })
        .await;
        server.restart_empty();
        until("an allow", async || {
            (reason(&gates[0], "").await == "permitted").then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn without_redis_each_server_admits_its_part() {
    let mut server = RedisServer::start();
    let local = json!({ "onStoreFailure": "local", "replicas": 3 });
    let gates = [(); 3].map(|()| gate(&server, local.clone()));
    connected(&gates).await;
    server.kill();
    for gate in &gates {
        let mut permitted = 0;
        for _ in 0..10 {
            permitted += u32::from(reason(gate, "").await == "permitted");
        }
        assert_eq!(permitted, 4);
    }
}
