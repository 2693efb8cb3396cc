//! What a check comes to: the bytes for Envoy, and a record of the decision. This is where an Api
//! in shadow mode turns a refusal into an allow, never inside a stage.

use crate::catalog::model::Enforcement;
use crate::check::codec::Outgoing;
use crate::check::decision::{Decision, Fault, FaultReason};
use crate::check::request::DownstreamRequest;
use crate::check::response::{Reply, respond, respond_shadowed};
use crate::check::{Asking, Checker, Judged};
use crate::routing::Route;
use crate::snapshot::Snapshot;
use crate::upstream::headers;
use crate::usage::{DecisionId, Record, RequestRecord};

/// The answer to a check: the encoded `CheckResponse`.
#[derive(Debug)]
pub struct Answer(pub Outgoing);

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
        let mut record = self.record(decision, route, asking);
        record.request = Some(RequestRecord::of(request));
        record.shadow = shadow;
        let reply = Reply {
            answers: route.map(Route::answers),
            grpc: &|| request.is_grpc(),
            decision_header: self.decision_header.as_ref(),
            record: &record,
        };
        let message = match decision {
            Decision::Deny(_) | Decision::Fail(_) if shadow => {
                respond_shadowed(&headers::strip(route, snapshot, request), &reply)
            }
            Decision::Allow(_) | Decision::Deny(_) | Decision::Fail(_) => respond(decision, &reply),
        };
        let permits = route.filter(|_| record.is_permitted()).map(Route::permits);
        self.recorder.record(&record, permits);
        Answer(message)
    }

    /// The answer to a decision that was made without a request.
    pub(super) fn unread(&self, decision: Decision<'_>, grpc: bool, asking: &Asking) -> Answer {
        let record = self.record(&decision, None, asking);
        let reply = Reply {
            answers: None,
            grpc: &|| grpc,
            decision_header: self.decision_header.as_ref(),
            record: &record,
        };
        let message = respond(&decision, &reply);
        self.recorder.record(&record, None);
        Answer(message)
    }

    /// The answer to a check that we could not judge.
    pub(super) fn failed(&self, reason: FaultReason, why: &'static str, asking: &Asking) -> Answer {
        let fault = Fault::new(reason, why);
        self.unread(Decision::Fail(fault), false, asking)
    }

    fn record<'a>(
        &self,
        decision: &'a Decision<'_>,
        route: Option<&Route<'a>>,
        asking: &'a Asking,
    ) -> Record<&'a str> {
        let id = DecisionId::new(self.recorder.now());
        let mut record = Record::new(id, decision, route, &asking.listener);
        record.duration = asking.started.elapsed();
        record
    }
}
