//! Shares that are taken ahead: what three replicas admit together, and what they ask of Redis.

use std::time::Duration;

use jiff::Timestamp;
use portcullis::authorization::quota::Charged;
use portcullis::authorization::quota::redis::Time;
use portcullis::catalog::model::limit::{Limit, Window};

use super::stores::{Policy, Replica, calendar, sliding, until};
use crate::support::redis::RedisServer;

const BUDGET: &str = "1s";

async fn three(server: &RedisServer, lifetime: Duration) -> Vec<Replica> {
    let policy = Policy {
        lease: Some(lifetime),
        local: None,
        time: Time::OfServer,
    };
    let replicas = (0..3).map(|_| Replica::shared(server.config(), BUDGET, policy));
    futures_util::future::join_all(replicas).await
}

/// Asks each replica once, all at once; how many were admitted.
async fn round(replicas: &[Replica], limit: &Limit) -> u64 {
    let charges = replicas.iter().map(|replica| {
        replica.charge("", std::slice::from_ref(&limit), ("a", 1), Timestamp::now())
    });
    let charged = futures_util::future::join_all(charges).await;
    let admitted = charged.iter();
    let admitted = admitted.filter(|charged| matches!(charged, Ok(Charged::Admitted(_))));
    admitted.count().try_into().unwrap()
}

fn asked(server: &RedisServer) -> u64 {
    let stats: String = server.ask(&["INFO", "commandstats"]);
    let calls = |name: &str| {
        let line = stats
            .lines()
            .find(|line| line.starts_with(&format!("cmdstat_{name}:")))?;
        let calls = line.split("calls=").nth(1)?.split(',').next()?;
        calls.parse::<u64>().ok()
    };
    calls("evalsha").unwrap_or(0)
}

#[tokio::test]
async fn a_limit_of_the_calendar_is_never_exceeded_and_shares_spare_round_trips() {
    let server = RedisServer::start();
    let replicas = three(&server, Duration::from_secs(60)).await;
    let limit = calendar("year", 3000, Window::Year);
    let before = asked(&server);
    let mut admitted = 0;
    for _ in 0..800 {
        admitted += round(&replicas, &limit).await;
    }
    assert_eq!(admitted, 2400);
    assert!(asked(&server) - before < 600, "{}", asked(&server) - before);
    for _ in 0..400 {
        admitted += round(&replicas, &limit).await;
    }
    assert_eq!(admitted, 3000, "the last ones are not left in one hand");
}

#[tokio::test]
async fn what_is_not_spent_is_given_back() {
    let server = RedisServer::start();
    let replicas = three(&server, Duration::from_millis(300)).await;
    let limit = calendar("year", 3000, Window::Year);
    let mut admitted = 0;
    for _ in 0..200 {
        admitted += round(&replicas, &limit).await;
    }
    let read = three(&server, Duration::from_secs(60)).await;
    until("all shares to end", async || {
        let left = read[0].read(&limit, "a", Timestamp::now()).await.remaining;
        (left == 3000 - admitted).then_some(())
    })
    .await;
    let replicas = three(&server, Duration::from_secs(3600)).await;
    for _ in 0..100 {
        admitted += round(&replicas, &limit).await;
    }
    for replica in &replicas {
        replica.store.close().await;
    }
    let left = read[0].read(&limit, "a", Timestamp::now()).await.remaining;
    assert_eq!(left, 3000 - admitted, "at the end of the process");
}

#[tokio::test]
async fn a_bucket_is_exceeded_by_no_more_than_it_drains_while_shares_live() {
    let server = RedisServer::start();
    let lifetime = Duration::from_millis(500);
    let replicas = three(&server, lifetime).await;
    let (amount, burst) = (1000, 200);
    let limit = sliding("bucket", amount, Window::Second, Some(burst));
    let started = tokio::time::Instant::now();
    let (mut admitted, mut refused) = (0, 0);
    while refused < 300 || started.elapsed() < lifetime * 3 {
        let now = round(&replicas, &limit).await;
        admitted += now;
        refused += 3 - now;
        assert!(
            started.elapsed() < crate::support::PATIENCE,
            "{admitted} {refused}"
        );
        tokio::task::yield_now().await;
    }
    let drained = started.elapsed().as_secs_f64() * amount as f64;
    let shares = (lifetime.as_secs_f64() * amount as f64).min(3.0 * 1.25 * amount as f64 / 10.0);
    let bound = burst as f64 + drained + shares;
    assert!((admitted as f64) <= bound, "{admitted} {bound}");
}
