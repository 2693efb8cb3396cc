//! What a check comes to: the bytes for Envoy and the record of the decision. This is where an Api
//! in shadow mode turns a refusal into an allow, never inside a stage.

use std::sync::Arc;

use bytes::Bytes;

use crate::catalog::model::Enforcement;
use crate::check::decision::{Decision, Fault, FaultReason};
use crate::check::request::DownstreamRequest;
use crate::check::response::{Reply, respond, respond_shadowed};
use crate::check::{Asking, Checker, Judged};
use crate::routing::Route;
use crate::snapshot::Snapshot;
use crate::upstream::headers;
use crate::usage::Record;

/// The answer to a check.
#[derive(Debug)]
pub struct Answer {
    /// The encoded `CheckResponse`.
    pub message: Bytes,
    /// What is told about the decision.
    pub record: Record,
}

impl Checker {
    /// The answer to what `request` has been judged to be.
    pub(super) fn respond(
        &self,
        snapshot: &Snapshot,
        request: &DownstreamRequest,
        judged: &Judged<'_>,
        asking: &Asking,
    ) -> Answer {
        let Judged { decision, route } = judged;
        let route = route.as_ref();
        let shadow = route.is_some_and(|route| route.api.enforcement == Enforcement::Shadow);
        let mut record = Record::new(decision, Arc::clone(&asking.listener), route, Some(request));
        record.shadow = shadow;
        record.duration = asking.started.elapsed();
        let reply = Reply {
            answers: route.map(Route::answers),
            grpc: request.is_grpc(),
            decision_header: self.decision_header.as_ref(),
            record: &record,
        };
        let message = match decision {
            Decision::Deny(_) | Decision::Fail(_) if shadow => {
                respond_shadowed(&headers::strip(route, snapshot, request), &reply)
            }
            Decision::Allow(_) | Decision::Deny(_) | Decision::Fail(_) => respond(decision, &reply),
        };
        Answer { message, record }
    }

    /// The answer to a decision that was made without a request.
    pub(super) fn unread(&self, decision: Decision, grpc: bool, asking: &Asking) -> Answer {
        let mut record = Record::new(&decision, Arc::clone(&asking.listener), None, None);
        record.duration = asking.started.elapsed();
        let decision_header = self.decision_header.as_ref();
        let reply = Reply {
            answers: None,
            grpc,
            decision_header,
            record: &record,
        };
        let message = respond(&decision, &reply);
        Answer { message, record }
    }

    /// The answer to a check that we could not judge.
    pub(super) fn failed(&self, reason: FaultReason, why: &'static str, asking: &Asking) -> Answer {
        let fault = Fault::new(reason, why);
        self.unread(Decision::Fail(fault), false, asking)
    }
}
