//! Portcullis and the server that only answers OK, side by side.

use bytes::Bytes;

use super::baseline::Role;
use super::client::Expected;
use super::document::number;
use super::gate::{self, HEADERS_SET, Others, TOKEN_HOST};
use super::requests::{browser, encode};
use super::support::issuer::Issuer;
use super::support::portcullis::Portcullis;
use super::target::{Baseline, Target, in_turn};

/// What Portcullis answers to a good token.
pub(crate) const ALLOW: Expected = Expected::Allow {
    headers: HEADERS_SET,
};
/// What the other server answers to everything.
pub(crate) const EMPTY_ALLOW: Expected = Expected::Allow { headers: 0 };

/// How many Apis there are beside the one that takes tokens.
pub(crate) const OTHERS: Others = Others(1000);

/// The two servers, and how often they are measured in turn.
#[derive(Debug)]
pub(crate) struct Pair {
    pub(crate) portcullis: Portcullis,
    pub(crate) empty: Baseline,
    pub(crate) issuer: Issuer,
    pub(crate) rounds: usize,
}

impl Pair {
    /// Starts both; `--rounds` says how often they are measured.
    pub(crate) fn start() -> Self {
        let issuer = Issuer::start();
        Self {
            portcullis: gate::portcullis(&issuer, OTHERS).start(),
            empty: Baseline::start(Role::Empty),
            issuer,
            rounds: number("--rounds", 5),
        }
    }

    /// Portcullis, and the other server.
    pub(crate) fn targets(&self) -> (Target, Target) {
        (Target::portcullis(&self.portcullis), self.empty.target())
    }

    /// A browser's request with a good token of this subject.
    pub(crate) fn token_request(&self, subject: &str) -> Bytes {
        let bearer = format!(
            "Bearer {}",
            gate::token(&self.issuer).subject(subject).sign()
        );
        encode(browser(TOKEN_HOST, Some(("authorization", &bearer))))
    }

    /// Measures both in turn by a client that does not look at answers, and finds by the metrics that
    /// Portcullis has allowed `checks` checks each time.
    ///
    /// # Panics
    /// Where it has not.
    pub(crate) fn counted<T>(&self, checks: usize, measure: impl Fn(Target) -> T) -> Vec<(T, T)> {
        let (ours, theirs) = self.targets();
        let before = self.allows();
        let measured = in_turn(self.rounds, || measure(ours), || measure(theirs));
        assert_eq!(
            self.allows() - before,
            self.rounds * checks,
            "every check is allowed"
        );
        measured
    }

    /// How many checks Portcullis has allowed so far.
    pub(crate) fn allows(&self) -> usize {
        let metrics = self.portcullis.metrics();
        let allows = metrics.lines().filter(|line| {
            line.starts_with("portcullis_checks_total") && line.contains("decision=\"allow\"")
        });
        let counts = allows.map(|line| line.rsplit(' ').next()?.parse::<usize>().ok());
        counts.map(|count| count.expect("a count")).sum()
    }
}
