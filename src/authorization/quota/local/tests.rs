use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::authorization::quota::testing::{counter, limit, limit_of, time};
use crate::catalog::model::limit::{Limit, Window};

fn admitted(charged: &Charged) -> bool {
    match charged {
        Charged::Admitted(_) => true,
        Charged::Exceeded { .. } => false,
    }
}

/// The plainest thing that counts as the rules say: it forgets nothing and drops nothing.
#[derive(Debug, Default)]
struct Model {
    /// On the calendar: how much in the window that began then.
    charges: BTreeMap<(usize, u64), u128>,
    /// Sliding: what is in the bucket, in units times nanoseconds of a window, and when.
    buckets: BTreeMap<usize, (u128, u64)>,
}

impl Model {
    fn used(&self, key: usize, rule: &Rule, now: u64) -> u128 {
        let start = rule.window.calendar(time(now)).start;
        self.charges.get(&(key, start)).copied().unwrap_or_default()
    }

    fn level(&self, key: usize, rule: &Rule, now: u64) -> u128 {
        let (level, at) = self.buckets.get(&key).copied().unwrap_or_default();
        level.saturating_sub(u128::from(now - at) * u128::from(rule.amount))
    }

    fn window(rule: &Rule) -> u128 {
        u128::from(rule.window.seconds().unwrap()) * u128::from(NANOSECONDS)
    }

    fn fits(&self, (key, rule, cost): (usize, &Rule, u64), now: u64) -> bool {
        let cost = u128::from(cost);
        match rule.alignment {
            WindowAlignment::Calendar => {
                self.used(key, rule, now) + cost <= u128::from(rule.amount)
            }
            WindowAlignment::Sliding => {
                let window = Self::window(rule);
                self.level(key, rule, now) + cost * window <= u128::from(rule.capacity()) * window
            }
        }
    }

    fn charge(&mut self, asked: &[(usize, &Rule, u64)], now: u64) -> bool {
        let all = asked.iter();
        if !all
            .clone()
            .all(|one| !one.1.enforced || self.fits(*one, now))
        {
            return false;
        }
        for (key, rule, cost) in all {
            match rule.alignment {
                WindowAlignment::Calendar => {
                    let start = rule.window.calendar(time(now)).start;
                    *self.charges.entry((*key, start)).or_default() += u128::from(*cost);
                }
                WindowAlignment::Sliding => {
                    let window = Self::window(rule);
                    let before = self.level(*key, rule, now);
                    let full = u128::from(rule.capacity()) * window;
                    let after = (before + u128::from(*cost) * window).min(full.max(before));
                    self.buckets.insert(*key, (after, now));
                }
            }
        }
        true
    }
}

fn rules() -> Vec<Limit> {
    let calendar = |amount, window, enforced| {
        limit_of(Rule {
            amount,
            window,
            alignment: WindowAlignment::Calendar,
            burst: None,
            enforced,
        })
    };
    let sliding = |amount, window, burst| {
        limit_of(Rule {
            amount,
            window,
            alignment: WindowAlignment::Sliding,
            burst,
            enforced: true,
        })
    };
    vec![
        calendar(5, Window::Second, true),
        calendar(40, Window::Minute, true),
        calendar(300, Window::Hour, true),
        calendar(3, Window::Minute, false),
        sliding(3, Window::Second, None),
        sliding(7, Window::Minute, Some(20)),
        sliding(100, Window::Hour, Some(2)),
        calendar(100_000, Window::Month, true),
    ]
}

/// One million charges of one to three counters, at a clock that moves by nothing, by little and by
/// much: every one is admitted or refused as the model says, and what is left agrees.
#[test]
fn a_million_charges_come_to_what_the_model_says() {
    let mut random = fastrand::Rng::with_seed(20_261_122);
    let limits = rules();
    let counters = LocalCounters::new(1_000_000);
    let mut model = Model::default();
    let mut now = 1_790_000_000 * NANOSECONDS;
    let mut outcomes = [0_u32; 2];
    for round in 0..1_000_000_u32 {
        now += match random.u8(..) {
            0..=99 => 0,
            100..=249 => random.u64(..NANOSECONDS / 20),
            250..=254 => random.u64(..3 * NANOSECONDS),
            255 => random.u64(..900 * NANOSECONDS),
        };
        let mut asked: Vec<(usize, u64)> = Vec::new();
        for _ in 0..random.usize(1..=3) {
            let key = random.usize(..limits.len() * 3);
            if asked.iter().all(|(other, _)| *other != key) {
                asked.push((key, random.u64(1..=3)));
            }
        }
        let names: Vec<String> = asked
            .iter()
            .map(|(key, _)| (key / limits.len()).to_string())
            .collect();
        let charged: Vec<Counter<'_>> = asked
            .iter()
            .zip(&names)
            .map(|((key, cost), name)| {
                let limit = &limits[key % limits.len()];
                counter(limit, name, *cost)
            })
            .collect();
        let meant: Vec<(usize, &Rule, u64)> = asked
            .iter()
            .map(|(key, cost)| (*key, &limits[key % limits.len()].rule, *cost))
            .collect();
        let charge = Charge {
            request: "",
            counters: &charged,
        };
        let is = admitted(&counters.charge(&charge, time(now)));
        assert_eq!(is, model.charge(&meant, now), "round {round}: {meant:?}");
        outcomes[usize::from(is)] += 1;
        if round % 1000 == 0 {
            counters.sweep(time(now));
        }
    }
    let [refused, admitted] = outcomes;
    assert!(refused > 100_000 && admitted > 100_000, "{outcomes:?}");
}

#[test]
fn a_million_keys_that_callers_choose_take_no_more_room_than_was_allowed() {
    let limits = [limit(10, Window::Day)];
    let counters = LocalCounters::new(20_000);
    let customer = counter(&limits[0], "paying customer", 1);
    let customers = [Counter {
        is_open: true,
        ..customer
    }];
    let now = time(1_790_000_000 * NANOSECONDS);
    let charge = |counters: &LocalCounters, list: &[Counter<'_>]| {
        counters.charge(
            &Charge {
                request: "",
                counters: list,
            },
            now,
        )
    };
    for _ in 0..9 {
        assert!(admitted(&charge(&counters, &customers)));
    }
    let mut others = 0;
    for number in 0..1_000_000_u32 {
        let name = number.to_string();
        let one = [Counter {
            is_open: true,
            ..counter(&limits[0], &name, 1)
        }];
        others += u32::from(admitted(&charge(&counters, &one)));
    }
    // each of those that have a counter of their own once, and the shared one ten times
    assert_eq!(others, 9_999 + 10);
    assert_eq!(counters.len(), 10_000 + 1);
    assert_eq!(counters.shared(), 990_001);
    // another limit has room for as many, whatever became of this one
    let other = [limit(10, Window::Hour)];
    for number in 0..10_000_u32 {
        let name = number.to_string();
        let one = [Counter {
            is_open: true,
            ..counter(&other[0], &name, 1)
        }];
        assert!(admitted(&charge(&counters, &one)));
    }
    assert_eq!(counters.len(), 20_000 + 1);
    // the customer's counter is still its own
    assert!(admitted(&charge(&counters, &customers)));
    assert!(!admitted(&charge(&counters, &customers)));
    counters.sweep(time((1_790_000_000 + 86_400) * NANOSECONDS));
    assert!(counters.is_empty());
}

#[test]
fn a_counter_takes_no_more_than_128_bytes() {
    let entry = size_of::<(KeyedDigest, Cell)>() + 1;
    // a table is filled to seven sixteenths at least
    assert!(entry * 16 / 7 <= 128, "{entry}");
}

#[test]
fn a_request_that_is_asked_again_is_charged_once_and_another_with_other_counters_anew() {
    let limits = [
        limit(2, Window::Day),
        limit_of(Rule {
            amount: 100,
            ..limit(2, Window::Hour).rule
        }),
    ];
    let counters = LocalCounters::new(10);
    let now = time(1_790_000_000 * NANOSECONDS);
    let first = [counter(&limits[0], "shop", 1)];
    let charge = |request, list: &[Counter<'_>]| {
        counters.charge(
            &Charge {
                request,
                counters: list,
            },
            now,
        )
    };
    let left = |charged: Charged| match charged {
        Charged::Admitted(levels) => levels[0].remaining,
        Charged::Exceeded { .. } => panic!("exceeded"),
    };
    for _ in 0..5 {
        assert_eq!(left(charge("7", &first)), 1);
    }
    let both = [
        counter(&limits[0], "shop", 1),
        counter(&limits[1], "shop", 1),
    ];
    assert_eq!(left(charge("7", &both)), 0);
    assert!(!admitted(&charge("8", &first)));
    // one that was admitted stays so, one that was refused is not remembered
    assert!(admitted(&charge("7", &first)));
    assert!(!admitted(&charge("8", &first)));
    assert!(!admitted(&charge("", &first)));
}

#[test]
fn what_one_limit_refuses_is_charged_to_none() {
    let limits = [limit(10, Window::Day), limit(1, Window::Hour)];
    let counters = LocalCounters::new(10);
    let now = time(1_790_000_000 * NANOSECONDS);
    let both = [
        counter(&limits[0], "shop", 1),
        counter(&limits[1], "shop", 1),
    ];
    let charge = Charge {
        request: "",
        counters: &both,
    };
    assert!(admitted(&counters.charge(&charge, now)));
    let Charged::Exceeded { at, levels } = counters.charge(&charge, now) else {
        panic!()
    };
    assert_eq!(at, 1);
    assert_eq!((levels[0].remaining, levels[1].remaining), (9, 0));
    assert!(
        levels[1]
            .wait
            .is_some_and(|wait| wait <= Duration::from_secs(3600))
    );
    let read = counters.read(&both, now);
    assert_eq!((read[0].remaining, read[1].remaining), (9, 0));
}

#[test]
fn a_clock_that_is_set_back_neither_freezes_a_limit_nor_gives_more_than_one_window() {
    let hour = 3600 * NANOSECONDS;
    let start = 1_790_000_000 * NANOSECONDS;
    for (sliding, window) in [
        (false, Window::Second),
        (true, Window::Second),
        (false, Window::Day),
    ] {
        let rule = limit(3, window).rule;
        let alignment = if sliding {
            WindowAlignment::Sliding
        } else {
            WindowAlignment::Calendar
        };
        let limits = [limit_of(Rule { alignment, ..rule })];
        let counters = LocalCounters::new(10);
        let list = [counter(&limits[0], "shop", 1)];
        let take = |now| {
            let charge = Charge {
                request: "",
                counters: &list,
            };
            (0..10)
                .filter(|_| admitted(&counters.charge(&charge, time(now))))
                .count()
        };
        assert_eq!(take(start), 3);
        let back = take(start - hour);
        assert!(back <= 3, "{back}");
        // two seconds on, a limit of a second has begun anew
        let later = take(start - hour + 2 * NANOSECONDS);
        if window == Window::Second {
            assert_eq!(later, 3);
        }
        assert!(take(start + hour) <= 3);
    }
}

#[test]
fn amounts_at_the_edge_do_not_wrap() {
    let most = crate::catalog::model::limit::MAX_AMOUNT;
    let now = time(u64::MAX);
    for alignment in [WindowAlignment::Calendar, WindowAlignment::Sliding] {
        let rule = Rule {
            amount: most,
            alignment,
            ..limit(1, Window::Year).rule
        };
        let limits = [limit_of(rule)];
        let counters = LocalCounters::new(10);
        let list = [counter(&limits[0], "shop", most)];
        let charge = Charge {
            request: "",
            counters: &list,
        };
        assert!(admitted(&counters.charge(&charge, now)));
        assert!(!admitted(&counters.charge(&charge, now)), "{alignment:?}");
    }
    let none = [limit(0, Window::Ever)];
    let counters = LocalCounters::new(10);
    let list = [counter(&none[0], "shop", 1)];
    let Charged::Exceeded { levels, .. } = counters.charge(
        &Charge {
            request: "",
            counters: &list,
        },
        now,
    ) else {
        panic!()
    };
    assert_eq!((levels[0].wait, levels[0].reset), (None, None));
}

proptest! {
    /// Whoever waits as long as is said, is admitted; a nanosecond less is too short.
    #[test]
    fn the_wait_that_is_told_is_the_shortest(
        amount in 1_u64..1000, burst in 1_u64..2000, cost in 1_u64..50, steps in 1_usize..200,
        sliding: bool,
    ) {
        let alignment = if sliding { WindowAlignment::Sliding } else { WindowAlignment::Calendar };
        let rule = Rule {
            amount,
            alignment,
            burst: sliding.then_some(burst),
            ..limit(1, Window::Minute).rule
        };
        let limits = [limit_of(rule)];
        let counters = LocalCounters::new(10);
        let list = [counter(&limits[0], "shop", cost)];
        let mut now = 1_790_000_000 * NANOSECONDS;
        for _ in 0..steps {
            let charge = Charge { request: "", counters: &list };
            match counters.charge(&charge, time(now)) {
                Charged::Admitted(_) => {}
                Charged::Exceeded { levels, .. } => {
                    let Some(wait) = levels[0].wait else {
                        prop_assert!(cost > rule.capacity());
                        break;
                    };
                    let wait = u64::try_from(wait.as_nanos()).unwrap();
                    prop_assert!(wait > 0);
                    prop_assert!(!admitted(&counters.charge(&charge, time(now + wait - 1))));
                    now += wait;
                    prop_assert!(admitted(&counters.charge(&charge, time(now))));
                }
            }
        }
    }
}
