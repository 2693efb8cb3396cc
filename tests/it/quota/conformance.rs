//! What every store of counters must do, run over each of them.

use std::time::Duration;

use jiff::Timestamp;
use portcullis::authorization::quota::redis::Time;
use portcullis::authorization::quota::{Charge, Charged};
use portcullis::catalog::model::limit::{Limit, Window};

use super::stores::{Policy, Replica, calendar, counters, sliding};
use crate::support::redis::{RedisOptions, RedisServer};

/// Longer than any machine takes to answer.
const BUDGET: &str = "1s";
const NO_WAIT: Option<Duration> = Some(Duration::ZERO);

async fn conforms(replica: &Replica) {
    windows_of_the_calendar_end_where_people_expect_it(replica).await;
    buckets_drain_evenly(replica).await;
    all_counters_are_charged_or_none(replica).await;
    the_same_request_is_charged_once(replica).await;
    a_limit_that_only_counts_never_refuses(replica).await;
    what_never_fits_is_told(replica).await;
    values_are_counted_apart(replica).await;
    numbers_saturate(replica).await;
    a_clock_that_is_set_back_freezes_nothing(replica).await;
    many_at_once_are_not_too_many(replica).await;
}

#[tokio::test]
async fn local_counters_conform() {
    conforms(&Replica::local()).await;
}

#[tokio::test]
async fn exact_counters_conform() {
    over(RedisOptions::default(), None).await;
}

#[tokio::test]
async fn exact_counters_in_a_cluster_conform() {
    let options = RedisOptions {
        cluster: true,
        ..RedisOptions::default()
    };
    over(options, None).await;
}

#[tokio::test]
async fn exact_counters_of_a_user_over_tls_conform() {
    let options = RedisOptions {
        tls: true,
        acl: true,
        cluster: false,
    };
    over(options, None).await;
}

#[tokio::test]
async fn leased_counters_conform() {
    // so long that no share ends while the test moves the clock
    let lifetime = Duration::from_secs(3600);
    let options = RedisOptions {
        acl: true,
        ..RedisOptions::default()
    };
    over(options, Some(lifetime)).await;
}

async fn over(options: RedisOptions, lease: Option<Duration>) {
    let server = RedisServer::start_with(options);
    let policy = Policy {
        lease,
        local: None,
        time: Time::OfCaller,
    };
    conforms(&Replica::shared(server.config(), BUDGET, policy).await).await;
    let keys = server.keys();
    assert!(!keys.is_empty());
    for key in keys {
        assert!(key.starts_with("{portcullis}:"), "{key}");
        let life: i64 = server.ask(&["PTTL", &key]);
        let value: String = server.ask(&["GET", &key]);
        // only what never ends stays
        assert!(
            life > 0 || value.starts_with("c 0 "),
            "{key} {value} {life}"
        );
    }
}

fn at(time: &str) -> Timestamp {
    time.parse().unwrap()
}

fn levels(charged: &Charged) -> Vec<u64> {
    let (Charged::Admitted(levels) | Charged::Exceeded { levels, .. }) = charged;
    levels.iter().map(|level| level.remaining).collect()
}

fn is_admitted(charged: &Charged) -> bool {
    matches!(charged, Charged::Admitted(_))
}

/// What a refusal says of the limit that refuses.
fn wait(charged: &Charged) -> Option<Duration> {
    match charged {
        Charged::Exceeded { at, levels } => levels[*at].wait,
        Charged::Admitted(_) => panic!("{charged:?}"),
    }
}

/// The same but for what is lost in rounding to microseconds.
fn about(duration: Option<Duration>, seconds: f64) -> bool {
    duration.is_some_and(|duration| (duration.as_secs_f64() - seconds).abs() < 0.002)
}

async fn windows_of_the_calendar_end_where_people_expect_it(replica: &Replica) {
    for (window, now, next) in [
        (
            Window::Second,
            "2028-02-29T23:59:59.5Z",
            "2028-03-01T00:00:00Z",
        ),
        (
            Window::Minute,
            "2028-02-29T23:59:59.5Z",
            "2028-03-01T00:00:00Z",
        ),
        (Window::Hour, "2027-07-31T10:00:00Z", "2027-07-31T11:00:00Z"),
        (Window::Day, "2028-02-28T23:00:00Z", "2028-02-29T00:00:00Z"),
        (Window::Week, "2028-02-28T00:00:00Z", "2028-03-06T00:00:00Z"),
        (
            Window::Month,
            "2028-02-01T00:00:00Z",
            "2028-03-01T00:00:00Z",
        ),
        (
            Window::Month,
            "2027-12-31T23:59:59Z",
            "2028-01-01T00:00:00Z",
        ),
        (Window::Year, "2027-01-01T00:00:00Z", "2028-01-01T00:00:00Z"),
    ] {
        let limit = calendar(&format!("{now}-{window:?}"), 3, window);
        let (now, next) = (at(now), at(next));
        let until = next.duration_since(now).as_secs_f64();
        for left in [2, 1, 0] {
            let charged = replica.answer(&[&limit], ("a", 1), now).await;
            assert!(is_admitted(&charged), "{window:?} {charged:?}");
            assert_eq!(levels(&charged), [left], "{window:?}");
        }
        let refused = replica.answer(&[&limit], ("a", 1), now).await;
        assert!(about(wait(&refused), until), "{window:?} {refused:?}");
        let level = replica.read(&limit, "a", now).await;
        assert_eq!(level.remaining, 0);
        assert!(about(level.reset, until), "{window:?} {level:?}");
        let charged = replica.answer(&[&limit], ("a", 2), next).await;
        assert_eq!(levels(&charged), [1], "{window:?}");
        assert!(is_admitted(&charged));
    }
    let limit = calendar("ever", 1, Window::Ever);
    let charged = replica
        .answer(&[&limit], ("a", 1), at("2027-01-01T00:00:00Z"))
        .await;
    assert!(is_admitted(&charged));
    let refused = replica
        .answer(&[&limit], ("a", 1), at("2127-01-01T00:00:00Z"))
        .await;
    assert_eq!(wait(&refused), None);
}

async fn buckets_drain_evenly(replica: &Replica) {
    let limit = sliding("bucket", 60, Window::Minute, Some(4));
    let now = at("2027-05-05T05:05:05.5Z");
    let later = |seconds: f64| now + Duration::from_secs_f64(seconds);
    for left in [2, 0] {
        let charged = replica.answer(&[&limit], ("a", 2), now).await;
        assert!(
            is_admitted(&charged) && levels(&charged) == [left],
            "{charged:?}"
        );
    }
    let refused = replica.answer(&[&limit], ("a", 2), now).await;
    assert!(about(wait(&refused), 2.0), "{refused:?}");
    let refused = replica.answer(&[&limit], ("a", 2), later(1.5)).await;
    assert!(about(wait(&refused), 0.5), "{refused:?}");
    let charged = replica.answer(&[&limit], ("a", 2), later(2.25)).await;
    assert!(
        is_admitted(&charged) && levels(&charged) == [0],
        "{charged:?}"
    );
    let level = replica.read(&limit, "a", later(3.75)).await;
    assert_eq!((level.remaining, level.wait), (1, NO_WAIT));
    let charged = replica.answer(&[&limit], ("a", 4), later(3600.0)).await;
    assert!(is_admitted(&charged), "a bucket holds no more than it can");
    let refused = replica.answer(&[&limit], ("a", 1), later(3600.0)).await;
    assert!(about(wait(&refused), 1.0), "{refused:?}");
}

async fn all_counters_are_charged_or_none(replica: &Replica) {
    let now = at("2027-05-05T05:05:05Z");
    let few = calendar("few", 2, Window::Day);
    let many = sliding("many", 100, Window::Day, None);
    let month = calendar("month", 2, Window::Month);
    for _ in 0..2 {
        let charged = replica.answer(&[&many, &few, &month], ("a", 1), now).await;
        assert!(is_admitted(&charged));
    }
    let refused = replica.answer(&[&many, &few, &month], ("a", 1), now).await;
    assert!(
        matches!(refused, Charged::Exceeded { at: 2, .. }),
        "the one that has to be waited for longest: {refused:?}"
    );
    assert_eq!(replica.read(&many, "a", now).await.remaining, 98);
    let charged = replica.answer(&[&many], ("a", 98), now).await;
    assert!(is_admitted(&charged), "{charged:?}");
}

async fn the_same_request_is_charged_once(replica: &Replica) {
    let now = at("2027-05-05T05:05:05Z");
    let limit = calendar("again", 2, Window::Day);
    let again = |request: &'static str, value: &'static str| {
        let limit = &limit;
        async move {
            replica
                .charge(request, &[limit], (value, 1), now)
                .await
                .unwrap()
        }
    };
    for _ in 0..5 {
        let charged = again("one", "a").await;
        assert!(
            is_admitted(&charged) && levels(&charged) == [1],
            "{charged:?}"
        );
    }
    assert_eq!(levels(&again("one", "b").await), [1], "another's counter");
    assert!(is_admitted(&again("two", "a").await));
    assert!(!is_admitted(&again("three", "a").await));
    assert!(is_admitted(&again("one", "a").await), "it was admitted");
    assert!(!is_admitted(&again("three", "a").await), "it was not");
}

async fn a_limit_that_only_counts_never_refuses(replica: &Replica) {
    let now = at("2027-05-05T05:05:05Z");
    let mut day = calendar("report-day", 2, Window::Day);
    let mut bucket = sliding("report-bucket", 2, Window::Day, None);
    (day.rule.enforced, bucket.rule.enforced) = (false, false);
    for charge in 0..6 {
        let charged = replica.answer(&[&day, &bucket], ("a", 1), now).await;
        let Charged::Admitted(levels) = &charged else {
            panic!("{charged:?}");
        };
        for level in levels {
            assert_eq!(level.wait == NO_WAIT, charge < 2, "{charge} {charged:?}");
        }
    }
    let strict = calendar("strict", 0, Window::Day);
    let refused = replica.answer(&[&day, &strict], ("a", 1), now).await;
    assert!(matches!(refused, Charged::Exceeded { at: 1, .. }));
}

async fn what_never_fits_is_told(replica: &Replica) {
    let now = at("2027-05-05T05:05:05Z");
    for limit in [
        calendar("small", 3, Window::Day),
        sliding("small-bucket", 3, Window::Day, None),
    ] {
        let refused = replica.answer(&[&limit], ("a", 4), now).await;
        assert_eq!(wait(&refused), None, "{refused:?}");
        assert!(is_admitted(&replica.answer(&[&limit], ("a", 3), now).await));
    }
}

async fn values_are_counted_apart(replica: &Replica) {
    let now = at("2027-05-05T05:05:05Z");
    let limit = calendar("apart", 1, Window::Day);
    for values in [["ab", "c"], ["a", "bc"], ["", "abc"], ["abc", ""]] {
        let counters = counters(&[&limit], &values, 1);
        for is_first in [true, false] {
            let charge = Charge {
                request: "",
                counters: &counters,
            };
            let charged = replica.store.charge(&charge, now).await.unwrap();
            assert_eq!(is_admitted(&charged), is_first, "{values:?}");
        }
    }
}

async fn numbers_saturate(replica: &Replica) {
    let now = at("2027-05-05T05:05:05Z");
    let mut limit = calendar("saturates", 1 << 50, Window::Year);
    let refused = replica.answer(&[&limit], ("a", u64::MAX), now).await;
    assert!(!is_admitted(&refused));
    limit.rule.enforced = false;
    for _ in 0..3 {
        let charged = replica.answer(&[&limit], ("a", u64::MAX), now).await;
        assert!(
            is_admitted(&charged) && levels(&charged) == [0],
            "{charged:?}"
        );
    }
    limit.rule.enforced = true;
    assert!(!is_admitted(
        &replica.answer(&[&limit], ("a", 1), now).await
    ));
}

async fn a_clock_that_is_set_back_freezes_nothing(replica: &Replica) {
    let now = at("2027-05-05T05:05:05Z");
    let back = at("2027-05-05T04:05:05Z");
    for limit in [
        calendar("back", 2, Window::Minute),
        sliding("back-bucket", 2, Window::Minute, None),
    ] {
        assert!(is_admitted(&replica.answer(&[&limit], ("a", 2), now).await));
        let charged = replica.answer(&[&limit], ("a", 1), back).await;
        let charged = match is_admitted(&charged) {
            true => charged,
            // it goes on from the time that it is now
            false => {
                let later = back + Duration::from_secs(60);
                replica.answer(&[&limit], ("a", 1), later).await
            }
        };
        assert!(is_admitted(&charged), "{charged:?}");
    }
}

async fn many_at_once_are_not_too_many(replica: &Replica) {
    let now = at("2027-05-05T05:05:05Z");
    let limits: Vec<Limit> = vec![
        calendar("many-day", 50, Window::Day),
        sliding("many-bucket", 60, Window::Year, None),
    ];
    let limits: Vec<&Limit> = limits.iter().collect();
    let charges = (0..200).map(|_| replica.charge("", &limits, ("a", 1), now));
    let charged = futures_util::future::join_all(charges).await;
    let admitted = charged
        .iter()
        .filter(|charged| is_admitted(charged.as_ref().unwrap()));
    assert_eq!(admitted.count(), 50);
    assert_eq!(replica.read(limits[1], "a", now).await.remaining, 10);
}
