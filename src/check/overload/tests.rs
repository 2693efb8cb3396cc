//! Tests of the controller, which is told the time and the rests of workers.

use super::*;

/// Checks, with a clock and a count of rests that the test moves.
struct Fixture {
    overload: Overload,
    rests: Arc<AtomicU64>,
    begin: Instant,
}

fn fixture() -> Fixture {
    let rests = Arc::new(AtomicU64::new(0));
    let read = Arc::clone(&rests);
    let begin = Instant::now();
    let overload = Overload::new(move || read.load(Ordering::Relaxed), 2, begin, TEST_TARGET);
    Fixture {
        overload,
        rests,
        begin,
    }
}

fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

impl Fixture {
    fn rest(&self) {
        self.rests.fetch_add(1, Ordering::Relaxed);
    }

    /// Whether a check is refused that arrives at `at` and whose turn comes after it `waited`.
    fn refuses(&self, at: u64, waited: u64) -> bool {
        let arrival = self.overload.arrive(self.begin + ms(at));
        self.overload
            .refuses(arrival, self.begin + ms(at) + ms(waited))
    }

    /// A queue has been standing for an interval.
    fn overloaded() -> Self {
        let fixture = fixture();
        assert!(!fixture.refuses(0, 50));
        assert!(fixture.refuses(0, 150));
        fixture
    }
}

#[test]
fn a_burst_is_served_however_long_it_waits() {
    let fixture = fixture();
    for burst in 0..10 {
        fixture.rest();
        for waited in 0..=110 {
            // the first that is late begins the interval
            assert!(!fixture.refuses(burst * 1000, waited), "{burst}, {waited}");
        }
    }
}

#[test]
fn in_a_standing_queue_the_late_are_refused() {
    let fixture = fixture();
    let early: Vec<Arrival> = (0..4)
        .map(|at| fixture.overload.arrive(fixture.begin + ms(at)))
        .collect();
    let refused = [11, 110, 111, 112].into_iter().zip(early);
    let refused = refused.map(|(at, arrival)| {
        let turn = fixture.begin + ms(at);
        fixture.overload.refuses(arrival, turn)
    });
    assert_eq!(refused.collect::<Vec<_>>(), [false, false, true, true]);
}

#[test]
fn in_a_standing_queue_as_many_are_let_in_as_there_is_room_for() {
    let fixture = Fixture::overloaded();
    let now = fixture.begin + ms(151);
    let arrive = || fixture.overload.arrive(now);
    let (first, second, third) = (arrive(), arrive(), arrive());
    assert_eq!(
        [&first, &second, &third].map(Arrival::is_refused),
        [false, false, true]
    );
    assert!(fixture.overload.refuses(third, now));
    // who has been let in is served, however late; and leaves room for another
    assert!(!fixture.overload.refuses(first, now + ms(5000)));
    let (fourth, fifth) = (arrive(), arrive());
    assert_eq!([&fourth, &fifth].map(Arrival::is_refused), [false, true]);
    // also where the check was given up before its turn
    drop((second, fourth, fifth));
    assert!(!arrive().is_refused());
}

#[test]
fn a_rest_ends_the_overload_at_once() {
    let fixture = Fixture::overloaded();
    fixture.rest();
    let now = fixture.begin + ms(151);
    for _ in 0..100 {
        let arrival = fixture.overload.arrive(now);
        assert!(!arrival.is_refused());
        assert!(!fixture.overload.refuses(arrival, now + ms(50)));
    }
}

#[test]
fn places_that_are_left_after_a_rest_are_free_for_the_next_overload() {
    let fixture = Fixture::overloaded();
    let now = fixture.begin + ms(151);
    let held = fixture.overload.arrive(now);
    fixture.rest();
    assert!(!fixture.refuses(200, 50));
    assert!(fixture.refuses(200, 150));
    drop(held);
    let held: Vec<Arrival> = (0..3).map(|_| fixture.overload.arrive(now)).collect();
    let refused: Vec<bool> = held.iter().map(Arrival::is_refused).collect();
    assert_eq!(refused, [false, false, true]);
}

#[test]
fn the_time_before_the_first_late_check_does_not_count() {
    let fixture = fixture();
    assert!(!fixture.refuses(0, 0));
    assert!(!fixture.refuses(5000, 11));
    assert!(!fixture.refuses(5000, 110));
    assert!(fixture.refuses(5000, 111));
}

#[test]
fn times_that_go_back_are_harmless() {
    let fixture = fixture();
    assert!(!fixture.refuses(1000, 50));
    // threads read the clock and come here in another order
    assert!(!fixture.refuses(500, 50));
    let before = fixture.begin.checked_sub(ms(10)).unwrap_or(fixture.begin);
    let arrival = fixture.overload.arrive(fixture.begin);
    assert!(!fixture.overload.refuses(arrival, before));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_runtime_that_sleeps_has_rested() {
    let overload = Overload::of(&Handle::current(), TEST_TARGET);
    let before = (overload.shared.rests)();
    for _ in 0..2 {
        crate::task::Tasks::new().detached(async {});
        tokio::time::sleep(ms(20)).await;
    }
    assert!((overload.shared.rests)() > before);
}
