//! How long it takes until a token that was revoked at one of three replicas is refused by all of them.
//!
//! `cargo bench --bench revocation [-- --revocations 300]` prints the table; with `--write` it goes into
//! `docs/PERFORMANCE.md`. The replicas are processes of their own, and so is Redis. More than 100 ms
//! ends the benchmark, and so does a wrong answer.

#![expect(
    clippy::expect_used,
    clippy::print_stdout,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a benchmark: what fails ends it"
)]

mod bed;

use std::time::{Duration, Instant};

use serde_json::json;
use tokio::runtime::Runtime;

use bed::document::{Table, number};
use bed::gate::{self, Others, TOKEN_HOST};
use bed::requests::browser;
use bed::support::check::CheckClient;
use bed::support::http;
use bed::support::issuer::Issuer;
use bed::support::portcullis::Portcullis;
use bed::support::redis::RedisServer;

/// How long it may take.
const BOUND: Duration = Duration::from_millis(100);

/// A replica, and a client of it.
struct Replica {
    server: Portcullis,
    client: CheckClient,
}

fn main() {
    let runtime = Runtime::new().expect("a runtime");
    let _inside = runtime.enter();
    let (issuer, redis) = (Issuer::start(), RedisServer::start());
    let mut source = redis.config();
    source["type"] = json!("redis");
    let replicas = [(); 3].map(|()| {
        let server = gate::portcullis(&issuer, Others(0))
            .set(&["revocation"], json!({ "sources": [source] }))
            .start();
        let client = CheckClient::new(server.check_address());
        Replica { server, client }
    });
    let rounds = number("--revocations", 300);
    let times = (0..rounds).map(|round| runtime.block_on(revoke(&issuer, &replicas, round)));
    let mut times: Vec<Duration> = times.collect();
    times.sort_unstable();
    let at = |percent: usize| millis(times[(times.len() - 1) * percent / 100]);
    let mut table = Table::new(
        &format!(
            "{rounds} revocations by the admin API, each at one of three replicas, of tokens that all three had \
             allowed and remembered before. From sending the request until the last of the three has refused; each \
             is asked again and again meanwhile."
        ),
        &["until all three refuse", "p50, ms", "p99, ms", "max, ms"],
    );
    table.row(
        "three replicas and Redis on one machine",
        [at(50), at(99), at(100)],
    );
    table.publish("revocation");
    let most = times.last().copied().unwrap_or_default();
    assert!(most < BOUND, "it took {most:?}, and {BOUND:?} is allowed");
}

/// Revokes a token at one replica; gives how long it took until all refused it.
async fn revoke(issuer: &Issuer, replicas: &[Replica; 3], round: usize) -> Duration {
    let token = gate::token(issuer).claim("jti", format!("t{round}")).sign();
    for replica in replicas {
        assert!(is_allowed(replica, &token).await, "a good token is allowed");
    }
    let entry = json!({ "kind": "jti", "issuer": issuer.url(), "value": format!("t{round}") });
    let admin = replicas[round % 3].server.address("admin");
    let started = Instant::now();
    let told = tokio::task::spawn_blocking(move || {
        http::post(admin, "/v1/revocations", &[], &entry.to_string())
    });
    let refusals = replicas.iter().map(|replica| async {
        while is_allowed(replica, &token).await {}
        started.elapsed()
    });
    let refused = futures_util::future::join_all(refusals).await;
    let answer = told.await.expect("an answer");
    assert_eq!(answer.status, 201, "{answer:?}");
    refused.into_iter().max().unwrap_or_default()
}

async fn is_allowed(replica: &Replica, token: &str) -> bool {
    let bearer = format!("Bearer {token}");
    let request = browser(TOKEN_HOST, Some(("authorization", &bearer)));
    let answer = replica.client.check(request).await;
    answer.status.is_some_and(|status| status.code == 0)
}

fn millis(time: Duration) -> String {
    format!("{:.1}", time.as_secs_f64() * 1000.0)
}
