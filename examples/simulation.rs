//! What 1 to 1,000 replicas admit and ask of Redis, by a simulation of each way to count.
//!
//! `make simulate` writes its tables into `docs/SCALING.md`, `make simulate-verify` fails where they
//! say something else. Only the standard library is used and the seed is fixed, so that it gives the
//! same everywhere. It knows no latency: what is asked of Redis is answered at once.

#![expect(
    clippy::print_stdout,
    clippy::expect_used,
    clippy::panic,
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    reason = "a program for whoever reads its tables: what fails ends it, and numbers are small"
)]

use std::collections::HashMap;
use std::fmt::Write as _;
use std::fs;
use std::hash::{BuildHasherDefault, Hasher};

const DOCUMENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/SCALING.md");

const SUBSCRIPTIONS: usize = 1_000_000;
const CHECKS_PER_SECOND: u64 = 10_000;
const SECONDS: u64 = 120;
/// What every subscription may do in a minute, and what all together.
const AMOUNT: f64 = 1000.0;
const AMOUNT_OF_ALL: f64 = 480_000.0;
const MINUTE: u64 = 60_000;
/// As configured by default.
const PARTS: f64 = 100.0;
const LIFETIME: u64 = 1000;
/// As in `src/authorization/quota/lease.rs`.
const FEW: f64 = 4.0;
const REFUSAL: u64 = 100;
const REPLICAS: [u32; 7] = [1, 3, 10, 30, 100, 300, 1000];

/// A check: when, whose, and a number that says which replica is asked.
#[derive(Clone, Copy)]
struct Check {
    millisecond: u64,
    subscription: u32,
    choice: u32,
}

#[derive(Clone, Copy, PartialEq)]
enum Window {
    Calendar,
    Bucket,
}

/// So many in a minute; a bucket holds a tenth of them.
#[derive(Clone, Copy)]
struct Plan {
    window: Window,
    amount: f64,
}

#[derive(Clone, Copy, PartialEq)]
enum Mode {
    Local,
    Exact,
    Lease,
}

/// What happens to the half of the replicas, a region, in the middle of a window.
#[derive(Clone, Copy, PartialEq)]
enum Event {
    Nothing,
    /// They are gone, and their shares with them.
    Lost,
    /// They cannot reach Redis for a quarter of a minute, and deny.
    ApartDeny,
    /// They cannot, and count their part of every limit.
    ApartLocal,
}

#[derive(Default, Clone, Copy)]
struct Counter {
    used: f64,
    since: u64,
}

#[derive(Default, Clone, Copy)]
struct Share {
    available: f64,
    taken: f64,
    asked: u64,
    refused_until: u64,
}

#[derive(Default)]
struct Outcome {
    admitted: HashMap<(u32, u64), u64>,
    all: u64,
    asked: u64,
    lost: f64,
    failed: u64,
}

/// Numbers that look random (SplitMix64).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// Keys are numbers already.
#[derive(Default)]
struct Mixed(u64);

impl Hasher for Mixed {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64((*byte).into());
        }
    }

    fn write_u64(&mut self, number: u64) {
        self.0 = (self.0 ^ number)
            .wrapping_mul(0x9e37_79b9_7f4a_7c15)
            .rotate_left(29);
    }

    fn write_u32(&mut self, number: u32) {
        self.write_u64(number.into());
    }
}

type Map<K, V> = HashMap<K, V, BuildHasherDefault<Mixed>>;

/// Checks whose subscriptions follow Zipf's law: the second asks half as often as the first, the
/// third a third as often.
fn traffic() -> Vec<Check> {
    let mut random = Random(42);
    let mut sum = 0.0;
    let upto: Vec<f64> = (1..=SUBSCRIPTIONS)
        .map(|rank| {
            sum += 1.0 / rank as f64;
            sum
        })
        .collect();
    let checks = (0..CHECKS_PER_SECOND * SECONDS).map(|number| {
        let place = random.unit() * sum;
        Check {
            millisecond: number * 1000 / CHECKS_PER_SECOND,
            subscription: upto.partition_point(|upto| *upto < place) as u32,
            choice: (random.next() >> 32) as u32,
        }
    });
    checks.collect()
}

impl Counter {
    /// How much is left of it at `now`; what is over has drained, or is of another window.
    fn left(&mut self, Plan { window, amount }: Plan, now: u64) -> f64 {
        match window {
            Window::Calendar => {
                if self.since / MINUTE != now / MINUTE {
                    self.used = 0.0;
                }
                self.since = now;
                amount - self.used
            }
            Window::Bucket => {
                let drained = (now - self.since) as f64 * amount / MINUTE as f64;
                self.used = (self.used - drained).max(0.0);
                self.since = now;
                (amount / 10.0 - self.used + 1e-6).floor()
            }
        }
    }

    fn charge(&mut self, plan: Plan, now: u64) -> bool {
        let fits = self.left(plan, now) >= 1.0;
        self.used += f64::from(u8::from(fits));
        fits
    }
}

/// One run: the counters of Redis, of each replica alone, and the shares that are out.
struct Run {
    mode: Mode,
    plan: Plan,
    event: Event,
    replicas: u32,
    shared: Map<u32, Counter>,
    own: Map<(u32, u32), Counter>,
    shares: Map<(u32, u32), Share>,
    swept: u64,
    outcome: Outcome,
}

impl Run {
    fn of(checks: &[Check], (mode, plan): (Mode, Plan), replicas: u32, event: Event) -> Outcome {
        let mut run = Self {
            mode,
            plan,
            event,
            replicas,
            shared: Map::default(),
            own: Map::default(),
            shares: Map::default(),
            swept: 0,
            outcome: Outcome::default(),
        };
        for check in checks {
            run.check(*check);
        }
        run.outcome
    }

    fn check(&mut self, check: Check) {
        let now = check.millisecond;
        if self.mode == Mode::Lease && now >= self.swept + LIFETIME {
            self.swept = now;
            self.sweep(now);
        }
        let replica = self.replica(check);
        let is_admitted = match self.mode {
            Mode::Local => self.alone(check, replica, self.plan.amount),
            Mode::Exact | Mode::Lease if self.is_apart(replica, now) => {
                if self.event == Event::ApartLocal {
                    self.alone(
                        check,
                        replica,
                        (self.plan.amount / f64::from(self.replicas)).floor(),
                    )
                } else {
                    self.outcome.failed += 1;
                    false
                }
            }
            Mode::Exact => {
                self.outcome.asked += 1;
                let counter = self.shared.entry(check.subscription).or_default();
                counter.charge(self.plan, now)
            }
            Mode::Lease => self.leased(check, replica),
        };
        if is_admitted {
            self.outcome.all += 1;
            let key = (check.subscription, now / MINUTE);
            *self.outcome.admitted.entry(key).or_default() += 1;
        }
    }

    /// Who is asked: where a region is lost, the others.
    fn replica(&mut self, check: Check) -> u32 {
        let half = self.replicas / 2;
        if self.event == Event::Lost && check.millisecond >= MINUTE / 2 {
            if self.outcome.lost == 0.0 && self.mode == Mode::Lease {
                let gone = self
                    .shares
                    .iter()
                    .filter(|((_, replica), _)| *replica < half);
                self.outcome.lost = gone.map(|(_, share)| share.available).sum();
                self.shares.retain(|(_, replica), _| *replica >= half);
            }
            return half + check.choice % (self.replicas - half);
        }
        check.choice % self.replicas
    }

    fn is_apart(&self, replica: u32, now: u64) -> bool {
        matches!(self.event, Event::ApartDeny | Event::ApartLocal)
            && replica < self.replicas / 2
            && (MINUTE / 2..MINUTE * 3 / 4).contains(&now)
    }

    fn alone(&mut self, check: Check, replica: u32, amount: f64) -> bool {
        let counter = self.own.entry((check.subscription, replica)).or_default();
        let plan = Plan {
            amount,
            ..self.plan
        };
        counter.charge(plan, check.millisecond)
    }

    fn leased(&mut self, check: Check, replica: u32) -> bool {
        let (now, plan) = (check.millisecond, self.plan);
        let share = self
            .shares
            .entry((check.subscription, replica))
            .or_default();
        let in_window = plan.window == Window::Bucket || share.asked / MINUTE == now / MINUTE;
        let holds = share.taken > 0.0 && now < share.asked + LIFETIME && in_window;
        if !holds && share.available > 0.0 {
            // what was not spent is given back, where its window holds still
            if plan.window == Window::Calendar && in_window {
                self.outcome.asked += 1;
                let counter = self.shared.entry(check.subscription).or_default();
                counter.used -= share.available;
            }
            share.available = 0.0;
        }
        if share.available < 1.0 {
            if now < share.refused_until {
                return false;
            }
            let before = if holds { share.taken } else { 0.0 };
            take(&mut self.shared, share, check, (plan, before));
            self.outcome.asked += 1;
            if share.available < 1.0 {
                share.refused_until = now + REFUSAL;
                return false;
            }
        }
        share.available -= 1.0;
        if share.taken >= FEW && share.available < (share.taken / 4.0).floor() {
            let before = share.taken;
            take(&mut self.shared, share, check, (plan, before));
            self.outcome.asked += 1;
        }
        true
    }

    /// Gives back what was not spent in its lifetime; a bucket has drained meanwhile.
    fn sweep(&mut self, now: u64) {
        let (window, shared, outcome) = (self.plan.window, &mut self.shared, &mut self.outcome);
        self.shares.retain(|(subscription, _), share| {
            let holds = now < share.asked + LIFETIME || now < share.refused_until;
            let in_window = share.asked / MINUTE == now / MINUTE;
            if !holds && share.available > 0.0 && window == Window::Calendar && in_window {
                outcome.asked += 1;
                if let Some(counter) = shared.get_mut(subscription) {
                    counter.used -= share.available;
                }
            }
            holds
        });
    }
}

/// Takes a share: twice what was used up before, at most a part of the amount and a tenth of what is
/// left; one at least.
fn take(
    shared: &mut Map<u32, Counter>,
    share: &mut Share,
    check: Check,
    (plan, before): (Plan, f64),
) {
    let now = check.millisecond;
    let counter = shared.entry(check.subscription).or_default();
    let left = counter.left(plan, now);
    let wanted = (before * 2.0).min((plan.amount / PARTS).max(1.0));
    let taken = wanted.min((left / 10.0).floor()).max(1.0);
    if taken <= left {
        counter.used += taken;
        share.available += taken;
        share.taken = taken;
        share.asked = now;
    }
}

/// By how much more or less than `ideal` was admitted, in percent of it, over subscriptions and minutes.
fn differences(outcome: &Outcome, ideal: &Outcome) -> (f64, f64) {
    let (mut over, mut under) = (0, 0);
    let keys = ideal.admitted.keys().chain(
        outcome
            .admitted
            .keys()
            .filter(|key| !ideal.admitted.contains_key(key)),
    );
    for key in keys {
        let was = outcome.admitted.get(key).copied().unwrap_or(0);
        let should = ideal.admitted.get(key).copied().unwrap_or(0);
        over += was.saturating_sub(should);
        under += should.saturating_sub(was);
    }
    let percent = |count: u64| count as f64 * 100.0 / ideal.all as f64;
    (percent(over), percent(under))
}

fn rate(asked: u64) -> u64 {
    asked / SECONDS
}

fn sizes(checks: &[Check], plan: Plan) -> String {
    let mut table = String::from(
        "| replicas | local: too many | exact: requests to Redis/s | lease: requests to Redis/s \
         | lease: too many | lease: too few |\n|--:|--:|--:|--:|--:|--:|\n",
    );
    let ideal = Run::of(checks, (Mode::Exact, plan), 1, Event::Nothing);
    for replicas in REPLICAS {
        let run = |mode| Run::of(checks, (mode, plan), replicas, Event::Nothing);
        let (local, lease) = (run(Mode::Local), run(Mode::Lease));
        let (over, under) = differences(&lease, &ideal);
        let (too_many, _) = differences(&local, &ideal);
        writeln!(
            table,
            "| {replicas} | {too_many:.1} % | {} | {} | {over:.2} % | {under:.2} % |",
            rate(ideal.asked),
            rate(lease.asked),
        )
        .expect("a string takes it");
    }
    table
}

fn regions(checks: &[Check]) -> String {
    let mut table = String::from(
        "| half of 100 replicas | mode | too many | too few | faults | units lost with shares |\n\
         |---|---|--:|--:|--:|--:|\n",
    );
    let plan = Plan {
        window: Window::Calendar,
        amount: AMOUNT,
    };
    let ideal = Run::of(checks, (Mode::Exact, plan), 1, Event::Nothing);
    for (name, event) in [
        ("are lost", Event::Lost),
        (
            "are apart for 15 s, `onStoreFailure: deny`",
            Event::ApartDeny,
        ),
        (
            "are apart for 15 s, `onStoreFailure: local`",
            Event::ApartLocal,
        ),
    ] {
        for (mode, mode_name) in [(Mode::Exact, "exact"), (Mode::Lease, "lease")] {
            let outcome = Run::of(checks, (mode, plan), 100, event);
            let (over, under) = differences(&outcome, &ideal);
            writeln!(
                table,
                "| {name} | {mode_name} | {over:.2} % | {under:.2} % | {:.2} % | {} |",
                outcome.failed as f64 * 100.0 / checks.len() as f64,
                outcome.lost,
            )
            .expect("a string takes it");
        }
    }
    table
}

/// The document with `text` in the place called `name`.
fn replaced(document: &str, name: &str, text: &str) -> String {
    let (begin, end) = (
        format!("<!-- {name}: written by `make simulate` -->\n"),
        format!("<!-- end of {name} -->"),
    );
    let found = document.split_once(&begin).and_then(|(before, rest)| {
        let (_, after) = rest.split_once(&end)?;
        Some(format!("{before}{begin}{text}{end}{after}"))
    });
    found.unwrap_or_else(|| panic!("{DOCUMENT} has no place for {name}"))
}

fn main() {
    let asked: Vec<String> = std::env::args().skip(1).collect();
    let asked = |flag: &str| asked.iter().any(|argument| argument == flag);
    let checks = traffic();
    let of_all = checks.iter().map(|check| Check {
        subscription: 0,
        ..*check
    });
    let of_all: Vec<Check> = of_all.collect();
    let plan = |window, amount| Plan { window, amount };
    let tables = [
        ("calendar", sizes(&checks, plan(Window::Calendar, AMOUNT))),
        ("bucket", sizes(&checks, plan(Window::Bucket, AMOUNT))),
        (
            "together",
            sizes(&of_all, plan(Window::Calendar, AMOUNT_OF_ALL)),
        ),
        ("regions", regions(&checks)),
    ];
    for (name, table) in &tables {
        println!("{name}:\n\n{table}");
    }
    if asked("--write") || asked("--verify") {
        let before = fs::read_to_string(DOCUMENT).expect("the document can be read");
        let after = tables.iter().fold(before.clone(), |text, (name, table)| {
            replaced(&text, name, table)
        });
        if asked("--write") {
            fs::write(DOCUMENT, after).expect("the document can be written");
        } else {
            assert!(
                before == after,
                "docs/SCALING.md says something else: make simulate"
            );
        }
    }
}
