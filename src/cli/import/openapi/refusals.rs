//! Descriptions that are refused: what they close would be opened, what is left out judged as something else.

use crate::cli::import::input::Input;
use crate::cli::import::openapi::operations::Operation;
use crate::cli::import::overlap::Overlap;
use crate::cli::import::report::Report;
use crate::problem::Problems;

/// What was left out, and has to be denied.
#[derive(Debug)]
pub(super) struct LeftOut {
    place: String,
    path: String,
    /// None: all methods.
    method: Option<String>,
}

impl LeftOut {
    /// What stands at `place`.
    pub(super) fn new(place: String, path: &str, method: Option<&str>) -> Self {
        Self {
            place,
            path: path.to_owned(),
            method: method.map(str::to_ascii_lowercase),
        }
    }

    /// Whether its requests would be judged as `kept`.
    fn is_judged_as(&self, kept: &Operation, found: &[Operation]) -> bool {
        let is_for = self.method.as_ref().is_none_or(|one| *one == kept.method);
        // its own path decides before wider ones, in the same Api alone
        let decides = |overlap: &Overlap| {
            let mut own = found.iter().filter(|one| one.path == self.path);
            overlap.is_asked_later() && own.any(|one| one.is_anonymous() == kept.is_anonymous())
        };
        is_for
            && Overlap::of(&kept.path, &self.path)
                .is_some_and(|overlap| overlap.judges() && !decides(&overlap))
    }
}

/// Refuses what was left out where another operation would be judged in its place.
pub(super) fn refuse_wider(
    input: &Input,
    denied: &[LeftOut],
    found: &[Operation],
) -> Result<(), Problems> {
    let mut problems = Problems::new();
    for one in denied {
        if let Some(kept) = found.iter().find(|kept| one.is_judged_as(kept, found)) {
            let message = format!(
                "it cannot be carried over, and its requests would be judged as those of `{}`: change it, or take it out",
                kept.path
            );
            problems.extend(input.problem(&one.place, message));
        }
    }
    problems.into_result(())
}

/// Refuses operations that everybody may call where their path would take requests that are for another one,
/// which is closed. Those that a closed one takes are told.
pub(super) fn refuse_opened(
    input: &Input,
    open: &[Operation],
    closed: &[Operation],
    report: &mut Report,
) -> Result<(), Problems> {
    let mut problems = Problems::new();
    for one in open {
        let mut others = closed.iter().filter(|other| other.path != one.path);
        let opened = others.clone().find(|other| {
            Overlap::of(&one.path, &other.path).is_some_and(|overlap| overlap.is_wider())
        });
        if let Some(other) = opened {
            let message = format!(
                "everybody may call it, and it would take requests to `{}`, which not everybody may call: give it a security requirement, or another path",
                other.path
            );
            problems.extend(input.problem(&one.place, message));
        }
        let closes = others.find(|other| {
            let overlap = Overlap::of(&other.path, &one.path);
            other.method == one.method && overlap.is_some_and(|overlap| overlap.judges())
        });
        if let Some(other) = closes {
            report.changed(format!(
                "{}: its requests are judged as those of `{}`, which not everybody may call",
                one.place, other.path
            ));
        }
    }
    problems.into_result(())
}
