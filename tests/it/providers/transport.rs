//! A token endpoint that misbehaves in every way: no token, no fail-open, and the next good answer is
//! used.

use std::time::{Duration, Instant};

use serde_json::json;

use super::{Stage, client_credentials, outcome, refused};
use crate::support::providers::Providers;
use crate::support::providers::fault::Fault;

#[tokio::test]
async fn f12_a_token_endpoint_that_misbehaves_gives_no_token() {
    let fake = Providers::start();
    let trap = Providers::start();
    let scene = Stage::new()
        .provider(
            "erp",
            client_credentials(&fake, json!({ "http": { "timeout": "400ms" } })),
        )
        .api("all", "*", "/", json!({ "provider": "erp" }))
        .start();
    let mut faults = Fault::unusable();
    let to_trap = || trap.token_url();
    faults.extend([
        Fault::Blackhole,
        Fault::Drip,
        Fault::Redirect(to_trap()),
        Fault::RedirectSame(to_trap()),
        Fault::Redirect("http://169.254.169.254/latest/meta-data/".to_owned()),
        Fault::Redirect("/token".to_owned()),
        Fault::Status(204, String::new()),
        Fault::Status(404, "{}".to_owned()),
        Fault::Status(200, "[]".to_owned()),
        Fault::Status(200, "[".repeat(10_000)),
        Fault::Status(200, r#"{"access_token":"a"} {}"#.to_owned()),
        Fault::Status(
            200,
            format!(r#"{{"access_token":"a","x":"{}"}}"#, "x".repeat(64 * 1024)),
        ),
    ]);
    for (number, fault) in faults.into_iter().enumerate() {
        let told = format!("{fault:?}").chars().take(60).collect::<String>();
        fake.break_by(fault);
        let start = Instant::now();
        let answer = scene.get(&format!("bad{number}.org"), "/").await;
        assert!(
            start.elapsed() < Duration::from_millis(1500),
            "{told}: {:?}",
            start.elapsed()
        );
        assert_eq!(outcome(&answer), "failed", "{told}");
        refused(&answer);
        fake.recover();
        scene.token(&format!("good{number}.org"), "/").await;
    }
    assert_eq!(trap.connections(), 0, "a redirect was followed");
    let resident = std::fs::read_to_string(format!("/proc/{}/status", scene.server.id())).unwrap();
    let most = resident
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .unwrap();
    let most: u64 = most.trim().trim_end_matches(" kB").parse().unwrap();
    assert!(most < 200 * 1024, "no answer is taken in whole: {most} kB");
}
