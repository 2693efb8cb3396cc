//! Which of several SVIDs is ours.

use crate::spiffe::SpiffeId;
use crate::spiffe::config::{OnMissing, SpiffeConfig};

/// Which of several SVIDs is ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Selection {
    pub(super) wanted: Wanted,
    on_missing: OnMissing,
}

/// What it is known by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Wanted {
    /// It is the first.
    First,
    /// By its SPIFFE ID.
    Id(SpiffeId),
    /// By the hint that it has.
    Hint(Box<str>),
}

/// What is known of one of them.
pub(super) struct Candidate<'c> {
    pub(super) id: String,
    pub(super) hint: Option<&'c str>,
}

/// Which one it is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Chosen {
    /// The one at this place.
    At(usize),
    /// The one that is asked for is not there, and the first stands for it.
    FirstInstead,
    /// None.
    None,
}

impl Selection {
    /// What `config` says, in which nothing is wrong.
    pub(super) fn of(config: &SpiffeConfig) -> Self {
        let id = config.id.as_deref();
        let wanted = match (id.and_then(|id| SpiffeId::parse(id).ok()), &config.hint) {
            (Some(id), _) => Wanted::Id(id),
            (None, Some(hint)) => Wanted::Hint(hint.as_str().into()),
            (None, None) => Wanted::First,
        };
        Self {
            wanted,
            on_missing: config.on_missing,
        }
    }

    /// Which of `candidates` is ours.
    pub(super) fn choose<'c>(
        &self,
        mut candidates: impl ExactSizeIterator<Item = Candidate<'c>>,
    ) -> Chosen {
        if candidates.len() == 0 {
            return Chosen::None;
        }
        let found = match &self.wanted {
            Wanted::First => Some(0),
            Wanted::Id(id) => candidates.position(|one| one.id == id.as_str()),
            Wanted::Hint(hint) => candidates.position(|one| one.hint == Some(hint)),
        };
        match (found, self.on_missing) {
            (Some(at), _) => Chosen::At(at),
            (None, OnMissing::First) => Chosen::FirstInstead,
            (None, OnMissing::Fail) => Chosen::None,
        }
    }
}

impl std::fmt::Display for Selection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.wanted {
            Wanted::First => f.write_str("the first"),
            Wanted::Id(id) => write!(f, "`{id}`"),
            Wanted::Hint(hint) => write!(f, "the one with hint `{hint}`"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(config: &SpiffeConfig) -> Chosen {
        let candidates = [
            ("spiffe://td/a", None),
            ("spiffe://td/b", Some("internal")),
            ("spiffe://td/c", Some("external")),
        ];
        let candidates = candidates.iter();
        Selection::of(config).choose(candidates.map(|(id, hint)| Candidate {
            id: (*id).to_owned(),
            hint: *hint,
        }))
    }

    #[test]
    fn s6_an_svid_is_chosen_by_exact_id_by_hint_or_as_the_first() {
        let config = SpiffeConfig::default();
        assert_eq!(chosen(&config), Chosen::At(0));
        let by_id = |id: &str| SpiffeConfig {
            id: Some(id.into()),
            ..SpiffeConfig::default()
        };
        assert_eq!(chosen(&by_id("spiffe://TD/b")), Chosen::At(1));
        assert_eq!(chosen(&by_id("spiffe://td/B")), Chosen::None);
        let by_hint = |hint: &str, on_missing| SpiffeConfig {
            hint: Some(hint.into()),
            on_missing,
            ..SpiffeConfig::default()
        };
        assert_eq!(chosen(&by_hint("external", OnMissing::Fail)), Chosen::At(2));
        assert_eq!(chosen(&by_hint("none", OnMissing::Fail)), Chosen::None);
        let instead = chosen(&by_hint("none", OnMissing::First));
        assert_eq!(instead, Chosen::FirstInstead);
        let nothing = std::iter::empty::<Candidate<'_>>();
        assert_eq!(Selection::of(&config).choose(nothing), Chosen::None);
    }
}
