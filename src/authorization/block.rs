//! Whether a block of the catalog refuses the request.

use jiff::Timestamp;

use crate::authorization::quota::Asked;
use crate::catalog::blocks;
use crate::check::decision::{Denial, Reason};
use crate::check::request::PeerAddress;

/// Finds out whether the request is blocked at `now`.
///
/// # Errors
/// `blocked`.
pub fn check(asked: &Asked<'_, '_>, now: Timestamp) -> Result<(), Denial> {
    let catalog = asked.route.catalog();
    if catalog.blocks().all().is_empty() {
        return Ok(());
    }
    let application = asked.standing.application_id();
    let question = blocks::Asked {
        application: application.and_then(|id| catalog.index().application(id)),
        subject: asked.principal.identity().subject.as_deref(),
        address: match asked.request.source() {
            PeerAddress::Ip(address) => Some(address),
            PeerAddress::Other => None,
        },
        api: asked.route.api_index(),
    };
    match catalog.blocks().find(&question, now) {
        None => Ok(()),
        Some(block) => {
            let detail = format!("block `{}` refuses it", block.id);
            Err(Denial::new(Reason::Blocked, detail))
        }
    }
}
