//! How proxies ask: how long, how often, and whose name they want to see.

use std::time::Duration;

use crate::policies::everything;

/// `checks.deadline`, where nothing is said.
pub(crate) const DEADLINE: Duration = Duration::from_millis(400);

/// A duration of Envoy's: `0.48s`.
pub(crate) fn seconds(text: &str) -> Duration {
    let number = text
        .strip_suffix('s')
        .and_then(|number| number.parse().ok());
    Duration::from_secs_f64(number.unwrap_or_else(|| panic!("{text} is no duration")))
}

#[test]
fn two_tries_fit_into_the_time_out_and_each_is_longer_than_our_own_deadline() {
    let mut seen = 0;
    for filter in everything()
        .iter()
        .filter(|object| object.kind() == "EnvoyFilter")
    {
        for patch in filter.list("/spec/configPatches") {
            let Some(grpc) = patch.pointer("/patch/value/typed_config/grpc_service") else {
                continue;
            };
            seen += 1;
            let retry = &grpc["retry_policy"];
            let back_off = &retry["retry_back_off"];
            let each = seconds(
                back_off["max_interval"]
                    .as_str()
                    .expect("the time-out of a try"),
            );
            let pause = seconds(back_off["base_interval"].as_str().expect("a pause"));
            let tries =
                u32::try_from(retry["num_retries"].as_u64().expect("a number") + 1).expect("few");
            let timeout = grpc["timeout"].as_str().unwrap_or("1s");
            assert!(each > DEADLINE, "{filter}");
            assert!(each * tries + pause <= seconds(timeout), "{filter}");
            assert!(
                retry["retry_on"]
                    .as_str()
                    .is_some_and(|on| on.contains("reset")),
                "{filter}"
            );
        }
    }
    assert!(seen >= 4, "{seen}");
}

#[test]
fn the_name_that_proxies_ask_for_is_the_one_that_portcullis_has() {
    let objects = everything();
    let rules: Vec<_> = objects
        .iter()
        .filter(|object| object.text("/spec/host").starts_with("portcullis."))
        .collect();
    assert!(rules.len() >= 3, "{rules:?}");
    for rule in rules {
        for port in rule.list("/spec/trafficPolicy/portLevelSettings") {
            assert_eq!(port["tls"]["mode"], "ISTIO_MUTUAL", "{rule}");
            assert_eq!(
                port["tls"]["subjectAltNames"][0],
                "spiffe://cluster.local/ns/portcullis/sa/portcullis",
                "{rule}"
            );
            // metrics stay plain
            assert_ne!(port["port"]["number"], 9090, "{rule}");
        }
        assert_eq!(
            rule.value.pointer("/spec/trafficPolicy/tls"),
            None,
            "{rule}"
        );
    }
}
