//! Three replicas over one Redis that fails in every way that one can: what they admit together
//! stays within the bounds of `docs/SCALING.md`, and they find back without help.

use std::time::Duration;

use jiff::Timestamp;
use portcullis::authorization::quota::Charged;
use portcullis::authorization::quota::redis::Time;
use portcullis::catalog::model::limit::{Limit, Window};

use super::stores::{Policy, Replica, calendar, until};
use crate::support::chaos::ChaosProxy;
use crate::support::redis::RedisServer;

const REPLICAS: u64 = 3;
const LIMIT: u64 = 90;
const BUDGET: &str = "40ms";

/// Three replicas, each behind a network of its own.
struct Scene {
    server: RedisServer,
    proxies: Vec<ChaosProxy>,
    replicas: Vec<Replica>,
    limit: Limit,
    tally: Tally,
}

#[derive(Debug, Default, Clone, Copy)]
struct Tally {
    admitted: u64,
    exceeded: u64,
    unavailable: u64,
}

/// What happens to Redis, and what ends it.
type Step = fn(&mut Scene);

struct Fault {
    begin: Step,
    end: Step,
    /// How many times counters are lost.
    losses: u64,
}

impl Scene {
    async fn start(policy: Policy) -> Self {
        let server = RedisServer::start();
        let (mut proxies, mut replicas) = (Vec::new(), Vec::new());
        for _ in 0..REPLICAS {
            let proxy = ChaosProxy::to(server.address());
            let config = server.config_at(proxy.address());
            replicas.push(Replica::shared(config, BUDGET, policy).await);
            proxies.push(proxy);
        }
        Self {
            server,
            proxies,
            replicas,
            limit: calendar("year", LIMIT, Window::Year),
            tally: Tally::default(),
        }
    }

    /// Asks each replica so often, all at once.
    async fn drive(&mut self, rounds: usize) -> Tally {
        let before = self.tally;
        for _ in 0..rounds {
            let limits = [&self.limit];
            let charges = self
                .replicas
                .iter()
                .map(|replica| replica.charge("", &limits, ("a", 1), Timestamp::now()));
            for charged in futures_util::future::join_all(charges).await {
                match charged {
                    Ok(Charged::Admitted(_)) => self.tally.admitted += 1,
                    Ok(Charged::Exceeded { .. }) => self.tally.exceeded += 1,
                    Err(_) => self.tally.unavailable += 1,
                }
            }
        }
        Tally {
            admitted: self.tally.admitted - before.admitted,
            exceeded: self.tally.exceeded - before.exceeded,
            unavailable: self.tally.unavailable - before.unavailable,
        }
    }

    fn each(&self, what: fn(&ChaosProxy)) {
        self.proxies.iter().for_each(what);
    }

    async fn recovered(&self) {
        for replica in &self.replicas {
            replica.reconnected().await;
            // it is of use, too: another counter can be charged
            let other = calendar("other", 1_000_000, Window::Year);
            until("a charge", async || {
                let charged = replica
                    .charge("", &[&other], ("a", 1), Timestamp::now())
                    .await;
                let redis = replica.redis.as_ref().unwrap();
                (charged.is_ok() && redis.is_asked()).then_some(())
            })
            .await;
        }
    }
}

/// Lets the fault happen once limits are half used, under every policy.
async fn survived(fault: Fault) {
    for lease in [None, Some(Duration::from_millis(500))] {
        for local in [None, Some(REPLICAS)] {
            let policy = Policy {
                lease,
                local,
                time: Time::OfServer,
            };
            let mut scene = Scene::start(policy).await;
            let healthy = scene.drive(10).await;
            assert!(healthy.admitted > 0, "{policy:?} {healthy:?}");
            (fault.begin)(&mut scene);
            let failing = scene.drive(40).await;
            match local {
                // where nobody may be admitted uncounted, only what was counted before is
                None => assert!(failing.admitted <= LIMIT, "{policy:?} {failing:?}"),
                Some(_) => assert_eq!(failing.unavailable, 0, "{policy:?} {failing:?}"),
            }
            (fault.end)(&mut scene);
            scene.recovered().await;
            scene.drive(60).await;
            let bound = LIMIT * (1 + fault.losses + u64::from(local.is_some()));
            let tally = scene.tally;
            assert!(tally.admitted <= bound, "{policy:?} {tally:?}");
            assert!(tally.exceeded > 0, "{policy:?} {tally:?}");
        }
    }
}

#[tokio::test]
async fn a_redis_that_is_killed_is_survived() {
    let begin: Step = |scene| scene.server.kill();
    let end: Step = |scene| scene.server.restart_empty();
    let losses = 1;
    survived(Fault { begin, end, losses }).await;
}

#[tokio::test]
async fn a_redis_that_starts_again_empty_is_survived() {
    let begin: Step = |scene| scene.server.restart_empty();
    let losses = 1;
    survived(Fault {
        begin,
        end: |_| {},
        losses,
    })
    .await;
}

#[tokio::test]
async fn a_redis_that_is_frozen_is_survived() {
    let begin: Step = |scene| scene.server.freeze();
    let end: Step = |scene| scene.server.thaw();
    survived(Fault {
        begin,
        end,
        losses: 0,
    })
    .await;
}

#[tokio::test]
async fn a_redis_that_pauses_its_clients_is_survived() {
    let begin: Step = |scene| scene.server.pause(1500);
    survived(Fault {
        begin,
        end: |_| {},
        losses: 0,
    })
    .await;
}

#[tokio::test]
async fn a_redis_that_sleeps_is_survived() {
    let begin: Step = |scene| scene.server.doze(1.5);
    survived(Fault {
        begin,
        end: |_| {},
        losses: 0,
    })
    .await;
}

#[tokio::test]
async fn a_redis_without_memory_is_survived() {
    let begin: Step = |scene| scene.server.fill(true);
    let end: Step = |scene| scene.server.fill(false);
    survived(Fault {
        begin,
        end,
        losses: 0,
    })
    .await;
}

#[tokio::test]
async fn a_redis_that_becomes_a_replica_is_survived() {
    let begin: Step = |scene| scene.server.replica(true);
    let end: Step = |scene| scene.server.replica(false);
    survived(Fault {
        begin,
        end,
        losses: 0,
    })
    .await;
}

#[tokio::test]
async fn a_key_of_another_type_is_survived() {
    let begin: Step = |scene| {
        for key in scene.server.keys() {
            if key.contains(":quota:") {
                let _: () = scene.server.ask(&["DEL", &key]);
                let _: () = scene.server.ask(&["RPUSH", &key, "1"]);
            }
        }
    };
    let end: Step = |scene| {
        let _: () = scene.server.ask(&["FLUSHALL"]);
    };
    survived(Fault {
        begin,
        end,
        losses: 1,
    })
    .await;
}

#[tokio::test]
async fn a_network_of_a_millisecond_is_survived() {
    let begin: Step = |scene| scene.each(|proxy| proxy.slow(Duration::from_millis(1)));
    survived(Fault {
        begin,
        end: |_| {},
        losses: 0,
    })
    .await;
}

#[tokio::test]
async fn a_network_slower_than_the_budget_is_survived() {
    let begin: Step = |scene| scene.each(|proxy| proxy.slow(Duration::from_millis(100)));
    let end: Step = |scene| scene.each(ChaosProxy::heal);
    survived(Fault {
        begin,
        end,
        losses: 0,
    })
    .await;
}

#[tokio::test]
async fn a_network_of_half_a_second_is_survived() {
    let begin: Step = |scene| scene.each(|proxy| proxy.slow(Duration::from_millis(500)));
    let end: Step = |scene| scene.each(ChaosProxy::heal);
    survived(Fault {
        begin,
        end,
        losses: 0,
    })
    .await;
}

#[tokio::test]
async fn a_network_that_goes_silent_is_survived() {
    let begin: Step = |scene| scene.each(ChaosProxy::silence);
    let end: Step = |scene| scene.each(ChaosProxy::heal);
    survived(Fault {
        begin,
        end,
        losses: 0,
    })
    .await;
}

#[tokio::test]
async fn a_partition_of_one_replica_is_survived() {
    let begin: Step = |scene| scene.proxies[0].cut();
    let end: Step = |scene| scene.each(ChaosProxy::heal);
    survived(Fault {
        begin,
        end,
        losses: 0,
    })
    .await;
}

#[tokio::test]
async fn a_network_that_comes_and_goes_refills_nothing() {
    for lease in [None, Some(Duration::from_millis(500))] {
        for local in [None, Some(REPLICAS)] {
            let policy = Policy {
                lease,
                local,
                time: Time::OfServer,
            };
            let mut scene = Scene::start(policy).await;
            for _ in 0..5 {
                scene.drive(10).await;
                scene.each(ChaosProxy::cut);
                scene.drive(10).await;
                scene.each(ChaosProxy::heal);
                scene.recovered().await;
            }
            scene.drive(40).await;
            let bound = LIMIT * (1 + u64::from(local.is_some()));
            let tally = scene.tally;
            assert!(tally.admitted <= bound, "{policy:?} {tally:?}");
            assert!(tally.exceeded > 0, "{policy:?} {tally:?}");
        }
    }
}
