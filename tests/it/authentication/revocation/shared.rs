//! Several replicas that share what is revoked by a real Redis: what one is told, all know, whatever
//! becomes of Redis meanwhile.

use std::net::SocketAddr;
use std::time::Instant;

use serde_json::{Value, json};

use super::{admin, earlier, revoke};
use crate::gate::{Gate, allowed, metadata, refused};
use crate::support::chaos::ChaosProxy;
use crate::support::redis::{RedisOptions, RedisServer};
use crate::support::{PATIENCE, eventually};

/// A replica that reaches Redis at `address`.
fn replica(redis: &RedisServer, address: SocketAddr) -> Gate {
    replica_with(redis, address, &json!({}))
}

fn replica_with(redis: &RedisServer, address: SocketAddr, more: &Value) -> Gate {
    let mut revocation = section(redis, address);
    for (name, value) in more.as_object().unwrap() {
        revocation[name] = value.clone();
    }
    Gate::with(|builder, _| builder.set(&["revocation"], revocation))
}

/// Patient, for a machine that does other things beside.
fn section(redis: &RedisServer, address: SocketAddr) -> Value {
    let mut source = redis.config_at(address);
    source["type"] = json!("redis");
    source["budget"] = json!("500ms");
    source["connectTimeout"] = json!("2s");
    json!({ "sources": [source] })
}

fn three(redis: &RedisServer) -> [Gate; 3] {
    [(); 3].map(|()| replica(redis, redis.address()))
}

fn alice() -> Value {
    json!({ "kind": "subject", "value": "alice" })
}

/// Asks with a token of `subject` until the answer has this reason.
async fn until(gate: &Gate, subject: &str, reason: &str) {
    let (start, token) = (Instant::now(), earlier(gate).subject(subject).sign());
    loop {
        let found = metadata(&gate.ask_with(&token).await, "reason").unwrap();
        if found == reason {
            return;
        }
        assert!(
            start.elapsed() < PATIENCE,
            "still {found}\n{}",
            gate.server.stderr()
        );
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
}

fn total(gate: &Gate) -> Value {
    gate.server.admin("/v1/revocations").json()["total"].clone()
}

fn source(gate: &Gate) -> Value {
    gate.server.admin("/v1/revocations").json()["sources"][0].clone()
}

#[tokio::test]
async fn what_one_replica_is_told_all_refuse_also_one_that_starts_later() {
    // with the user of the guide
    let redis = RedisServer::start_with(RedisOptions {
        acl: true,
        ..RedisOptions::default()
    });
    let gates = three(&redis);
    for gate in &gates {
        allowed(&gate.ask_with(&earlier(gate).sign()).await);
    }
    let entry = revoke(&gates[0].server, alice());
    assert_eq!(entry["kept"], "redis");
    for gate in &gates {
        until(gate, "alice", "token_revoked").await;
    }
    let late = replica(&redis, redis.address());
    refused(
        &late.ask_with(&earlier(&late).sign()).await,
        "token_revoked",
    );
    // any may remove it
    let target = format!("/v1/revocations/{}", entry["id"].as_str().unwrap());
    assert_eq!(admin(&late.server, "DELETE", &target, "").status, 200);
    for gate in &gates {
        until(gate, "alice", "permitted").await;
    }
    // and enter it again
    revoke(&gates[2].server, alice());
    until(&gates[1], "alice", "token_revoked").await;
    assert!(
        gates[1]
            .server
            .metrics()
            .contains("portcullis_revocation_age_seconds{source=\"redis\"}")
    );
}

#[tokio::test]
async fn what_is_entered_while_a_replica_hears_nothing_is_known_when_it_does_again() {
    let redis = RedisServer::start();
    let proxy = ChaosProxy::to(redis.address());
    let (one, cut) = (
        replica(&redis, redis.address()),
        replica(&redis, proxy.address()),
    );
    let early = revoke(&one.server, json!({ "kind": "subject", "value": "early" }));
    until(&cut, "early", "token_revoked").await;
    proxy.cut();
    eventually("the replica to notice", || {
        source(&cut)["problem"].as_str().map(drop)
    });
    revoke(&one.server, alice());
    let target = format!("/v1/revocations/{}", early["id"].as_str().unwrap());
    assert_eq!(admin(&one.server, "DELETE", &target, "").status, 200);
    // what it is told itself is in force at once, and shared later
    let own = admin(
        &cut.server,
        "POST",
        "/v1/revocations",
        &json!({ "kind": "subject", "value": "own" }).to_string(),
    );
    assert_eq!((own.status, &own.json()["kept"]), (202, &json!("pending")));
    refused(
        &cut.ask_with(&earlier(&cut).subject("own").sign()).await,
        "token_revoked",
    );
    // nothing is let in again that others may refuse
    let own = format!("/v1/revocations/{}", own.json()["id"].as_str().unwrap());
    assert_eq!(admin(&cut.server, "DELETE", &own, "").status, 503);
    allowed(&cut.ask_with(&earlier(&cut).sign()).await);
    refused(
        &cut.ask_with(&earlier(&cut).subject("early").sign()).await,
        "token_revoked",
    );
    proxy.heal();
    until(&cut, "alice", "token_revoked").await;
    until(&cut, "early", "permitted").await;
    until(&one, "own", "token_revoked").await;
    until(&one, "early", "permitted").await;
}

#[tokio::test]
async fn a_change_that_was_not_heard_is_noticed() {
    let redis = RedisServer::start();
    let gate = replica(&redis, redis.address());
    let other = replica(&redis, redis.address());
    // written as another replica would, and not told on the channel
    revoke(&other.server, alice());
    until(&gate, "alice", "token_revoked").await;
    let key = "{portcullis}:revocation:entries";
    let fields: Vec<String> = redis.ask(&["HGETALL", key]);
    let pairs = fields.chunks(2).filter(|pair| !pair[0].starts_with('#'));
    for pair in pairs {
        let _: i64 = redis.ask(&["HSET", key, &pair[0], "1|x|"]);
    }
    let _: i64 = redis.ask(&["HINCRBY", key, "#seq", "1"]);
    // the mark is long over, so that nobody knows of the entry there but these two, who write it back
    eventually("it to be written back", || {
        let now: Vec<String> = redis.ask(&["HVALS", key]);
        now.iter()
            .any(|value| value.contains("alice"))
            .then_some(())
    });
    refused(
        &gate.ask_with(&earlier(&gate).sign()).await,
        "token_revoked",
    );
}

#[tokio::test]
async fn redis_that_was_killed_and_comes_back_empty_is_told_what_replicas_know() {
    let mut redis = RedisServer::start();
    let gates = three(&redis);
    revoke(&gates[0].server, alice());
    for gate in &gates {
        until(gate, "alice", "token_revoked").await;
    }
    redis.kill();
    for gate in &gates {
        refused(&gate.ask_with(&earlier(gate).sign()).await, "token_revoked");
    }
    let bob = json!({ "kind": "subject", "value": "bob" });
    let answer = admin(
        &gates[1].server,
        "POST",
        "/v1/revocations",
        &bob.to_string(),
    );
    assert_eq!(answer.status, 202, "{}", answer.text());
    redis.restart_empty();
    for gate in &gates {
        until(gate, "bob", "token_revoked").await;
        refused(&gate.ask_with(&earlier(gate).sign()).await, "token_revoked");
    }
    let late = replica(&redis, redis.address());
    until(&late, "alice", "token_revoked").await;
    until(&late, "bob", "token_revoked").await;
    assert_eq!(total(&late), 2);
    // emptied without an end of any connection
    let _: String = redis.ask(&["FLUSHALL"]);
    eventually("it to be written back", || {
        let entries: i64 = redis.ask(&["HLEN", "{portcullis}:revocation:entries"]);
        (entries >= 4).then_some(())
    });
}

#[tokio::test]
async fn without_redis_what_is_known_stands_and_beyond_its_age_the_replica_is_not_ready() {
    let mut redis = RedisServer::start();
    let gate = replica_with(&redis, redis.address(), &json!({ "maxAge": "1s" }));
    revoke(&gate.server, alice());
    redis.kill();
    eventually("the replica not to be ready", || {
        let answer = gate.server.observe("/readyz");
        (answer.status != 200 && answer.text().contains("revocation.maxAge")).then_some(())
    });
    refused(
        &gate.ask_with(&earlier(&gate).sign()).await,
        "token_revoked",
    );
    allowed(&gate.ask_with(&earlier(&gate).subject("bob").sign()).await);
    redis.restart_empty();
    eventually("the replica to be ready", || {
        (gate.server.observe("/readyz").status == 200).then_some(())
    });
}

#[tokio::test]
async fn a_replica_that_has_never_read_redis_takes_no_credential_and_is_not_ready() {
    let mut redis = RedisServer::start();
    redis.kill();
    let revocation = section(&redis, redis.address());
    let gate = Gate::with(|builder, _| {
        builder
            .set(&["revocation"], revocation)
            .set(&["checks", "startupGrace"], json!("1ms"))
            .without_waiting()
    });
    refused(
        &gate.ask_with(&gate.token().sign()).await,
        "dependency_unavailable",
    );
    let open = crate::support::check::CheckBuilder::new("GET", "open.example", "/");
    allowed(&gate.ask(open).await);
    let ready = gate.server.observe("/readyz");
    assert!(
        ready.status != 200 && ready.text().contains("revoked"),
        "{}",
        ready.text()
    );
    redis.restart_empty();
    until(&gate, "alice", "permitted").await;
    eventually("the replica to be ready", || {
        (gate.server.observe("/readyz").status == 200).then_some(())
    });
}

#[tokio::test]
async fn what_stands_in_a_file_of_one_replica_all_refuse_until_it_does_not() {
    let redis = RedisServer::start();
    let other = replica(&redis, redis.address());
    let mut revocation = section(&redis, redis.address());
    let sources = revocation["sources"].as_array_mut().unwrap();
    sources.push(json!({ "type": "file", "path": "revoked.yaml" }));
    let before = jiff::Timestamp::from_second(jiff::Timestamp::now().as_second()).unwrap();
    let entry = format!("- {{ kind: subject, value: alice, before: \"{before}\" }}\n");
    let gate = Gate::with(|builder, _| {
        builder
            .file("revoked.yaml", &entry)
            .set(&["revocation"], revocation)
    });
    until(&other, "alice", "token_revoked").await;
    let id = other.server.admin("/v1/revocations").json()["revocations"][0]["id"].clone();
    let target = format!("/v1/revocations/{}", id.as_str().unwrap());
    // the file says it still
    assert_eq!(admin(&other.server, "DELETE", &target, "").status, 200);
    until(&other, "alice", "token_revoked").await;
    std::fs::write(gate.server.folder().join("revoked.yaml"), "[]\n").unwrap();
    until(&gate, "alice", "permitted").await;
    until(&other, "alice", "permitted").await;
}

#[tokio::test]
async fn what_redis_forgets_although_a_replica_needs_it_is_written_back() {
    let redis = RedisServer::start();
    let gate = replica(&redis, redis.address());
    let entry = revoke(&gate.server, alice());
    let (key, id) = (
        "{portcullis}:revocation:entries",
        entry["id"].as_str().unwrap(),
    );
    let epoch: String = redis.ask(&["HGET", key, "#epoch"]);
    // as where the clock of Redis is wrong
    let _: i64 = redis.ask(&["HDEL", key, id]);
    let number: i64 = redis.ask(&["HINCRBY", key, "#seq", "1"]);
    let message = format!("{epoch}|{number}|~|{id}|");
    let heard: i64 = redis.ask(&["PUBLISH", "{portcullis}:revocation:changes", &message]);
    assert_eq!(heard, 1);
    eventually("it to be written back", || {
        let is_there: bool = redis.ask(&["HEXISTS", key, id]);
        is_there.then_some(())
    });
    refused(
        &gate.ask_with(&earlier(&gate).sign()).await,
        "token_revoked",
    );
}

#[tokio::test]
async fn what_is_revoked_again_without_redis_outlives_an_earlier_removal_and_a_restart() {
    let redis = RedisServer::start();
    let proxy = ChaosProxy::to(redis.address());
    let state = tempfile::tempdir().unwrap();
    let store = json!({ "path": state.path().join("state.db") });
    let start = || {
        Gate::with(|builder, _| {
            builder
                .set(&["revocation"], section(&redis, proxy.address()))
                .set(&["store"], store.clone())
        })
    };
    let mut gate = start();
    let entry = revoke(&gate.server, alice());
    let target = format!("/v1/revocations/{}", entry["id"].as_str().unwrap());
    assert_eq!(admin(&gate.server, "DELETE", &target, "").status, 200);
    until(&gate, "alice", "permitted").await;
    // not in the second of the removal
    tokio::time::sleep(std::time::Duration::from_millis(2100)).await;
    proxy.cut();
    eventually("the replica to notice", || {
        source(&gate)["problem"].as_str().map(drop)
    });
    let again = alice().to_string();
    let again = admin(&gate.server, "POST", "/v1/revocations", &again);
    assert_eq!(again.status, 202, "{}", again.text());
    gate.server.kill();
    proxy.heal();
    let gate = start();
    refused(
        &gate.ask_with(&earlier(&gate).sign()).await,
        "token_revoked",
    );
    let late = replica(&redis, redis.address());
    until(&late, "alice", "token_revoked").await;
}

#[tokio::test]
async fn a_replica_that_starts_while_redis_is_empty_waits_for_those_who_know_more() {
    let redis = RedisServer::start();
    let proxy = ChaosProxy::to(redis.address());
    let one = replica(&redis, proxy.address());
    revoke(&one.server, alice());
    proxy.cut();
    let _: String = redis.ask(&["FLUSHALL"]);
    let revocation = section(&redis, redis.address());
    let late = Gate::with(|builder, _| builder.set(&["revocation"], revocation).without_waiting());
    eventually("the new one to have read Redis", || {
        let is_there: bool = redis.ask(&["EXISTS", "{portcullis}:revocation:entries"]);
        is_there.then_some(())
    });
    proxy.heal();
    let (start, token) = (Instant::now(), earlier(&late).sign());
    loop {
        let found = metadata(&late.ask_with(&token).await, "reason").unwrap();
        if found == "token_revoked" {
            break;
        }
        assert_eq!(found, "dependency_unavailable");
        assert!(start.elapsed() < PATIENCE, "{}", late.server.stderr());
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}
