use std::sync::atomic::{AtomicU32, Ordering};

use tokio::sync::Notify;

use super::*;

fn key(number: u32) -> KeyedDigest {
    KeyedDigest::of(&[&number.to_be_bytes()])
}

fn fetches() -> Fetches<u32> {
    Fetches::new(Some(Tasks::new()), Duration::from_secs(5))
}

fn flight(joined: Joined<u32>) -> Flight<u32> {
    match joined {
        Joined::Flying(flight) => flight,
        other @ (Joined::Known(_) | Joined::Failed(_)) => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_thousand_who_ask_at_once_cause_one_fetch_and_all_get_its_value() {
    let (fetches, calls, gate) = (
        fetches(),
        Arc::new(AtomicU32::new(0)),
        Arc::new(Notify::new()),
    );
    let mut flights = Vec::new();
    for _ in 0..1000 {
        let (calls, gate) = (Arc::clone(&calls), Arc::clone(&gate));
        flights.push(flight(fetches.join(
            (key(1), Why::Missing),
            || None,
            || async move {
                calls.fetch_add(1, Ordering::Relaxed);
                gate.notified().await;
                Ok(Arc::new(7))
            },
        )));
    }
    gate.notify_one();
    for flight in flights {
        assert_eq!(*flight.landed().await.unwrap(), 7);
    }
    assert_eq!(calls.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn who_stops_waiting_stops_nobody_else() {
    let (fetches, gate) = (fetches(), Arc::new(Notify::new()));
    let waiting = Arc::clone(&gate);
    let first = flight(fetches.join(
        (key(1), Why::Missing),
        || None,
        || async move {
            waiting.notified().await;
            Ok(Arc::new(7))
        },
    ));
    let second = flight(fetches.join(
        (key(1), Why::Missing),
        || None,
        || async { panic!("a second fetch") },
    ));
    drop(first);
    gate.notify_one();
    assert_eq!(*second.landed().await.unwrap(), 7);
}

#[tokio::test]
async fn what_a_flight_made_known_is_not_fetched_again() {
    let joined = fetches().join(
        (key(1), Why::Missing),
        || Some(Arc::new(3)),
        || async { panic!("fetched") },
    );
    assert!(matches!(joined, Joined::Known(value) if *value == 3));
}

#[tokio::test(start_paused = true)]
async fn a_failure_is_remembered_for_a_while_that_doubles() {
    let (fetches, calls) = (fetches(), Arc::new(AtomicU32::new(0)));
    let fail = |fetches: &Fetches<u32>| {
        let calls = Arc::clone(&calls);
        fetches.join(
            (key(1), Why::Missing),
            || None,
            || async move {
                calls.fetch_add(1, Ordering::Relaxed);
                Err(FetchError::new(FailureKind::Refused, "no"))
            },
        )
    };
    let mut fetched_at = Vec::new();
    let begin = Instant::now();
    while begin.elapsed() < Duration::from_secs(40) {
        if let Joined::Flying(flight) = fail(&fetches) {
            fetched_at.push(begin.elapsed());
            assert!(flight.landed().await.is_err() && fetches.is_failing(key(1)));
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let waits: Vec<f64> = fetched_at
        .windows(2)
        .map(|pair| (pair[1] - pair[0]).as_secs_f64())
        .collect();
    assert_eq!(
        waits.len(),
        usize::try_from(calls.load(Ordering::Relaxed)).unwrap() - 1
    );
    for (wait, (least, most)) in waits
        .iter()
        .zip([(1.0, 1.7), (2.0, 3.2), (4.0, 6.2), (8.0, 12.2)])
    {
        assert!((least..most).contains(wait), "{waits:?}");
    }
    assert!(waits.len() >= 4);
}

#[tokio::test(start_paused = true)]
async fn a_fetch_that_hangs_or_panics_ends_as_a_failure() {
    let fetches = fetches();
    let hanging = flight(fetches.join(
        (key(1), Why::Missing),
        || None,
        || async {
            std::future::pending::<()>().await;
            Ok(Arc::new(1))
        },
    ));
    assert_eq!(
        hanging.landed().await.unwrap_err().message,
        "no answer in time"
    );
    let panicking =
        flight(fetches.join((key(2), Why::Missing), || None, || async { panic!("boom") }));
    assert_eq!(
        panicking.landed().await.unwrap_err().message,
        "the fetch panicked"
    );
}

#[tokio::test]
async fn more_flights_than_allowed_are_not_started_and_nothing_is_fetched_without_tasks() {
    let fetches = fetches();
    let joined = |number: usize| {
        let key = KeyedDigest::of(&[&number.to_be_bytes()]);
        fetches.join(
            (key, Why::Missing),
            || None,
            || async {
                std::future::pending::<()>().await;
                Ok(Arc::new(1))
            },
        )
    };
    for number in 0..MAX_FLIGHTS {
        flight(joined(number));
    }
    assert!(
        matches!(joined(MAX_FLIGHTS), Joined::Failed(error) if error.kind == FailureKind::NotAsked)
    );
    let offline = Fetches::<u32>::new(None, Duration::from_secs(1));
    let joined = offline.join(
        (key(1), Why::Missing),
        || None,
        || async { panic!("fetched") },
    );
    assert!(matches!(joined, Joined::Failed(error) if error.kind == FailureKind::NotAsked));
}
