//! The respond stage: a [`Decision`] becomes a `CheckResponse`. The only place that makes one.
//
// INVARIANT: the status is OK exactly where there is an `ok_response`, and both are set together
// from a decision. Envoy allows whatever has status 0, an empty response included.

mod encode;

use std::time::Duration;

use crate::authentication::{Authenticator, Challenge};
use crate::authorization::quota::headers::whole_seconds;
use crate::catalog::model::Api;
use crate::check::codec::Outgoing;
use crate::check::decision::{Decision, Denial, Fault, Reason, Row};
use crate::check::response::encode::{Allow, Refusal};
use crate::header::HeaderName;
use crate::upstream::mutations::Mutations;
use crate::usage::Record;

/// What the answers of one Api have in common, prepared when it was published: its challenges.
#[derive(Debug, Clone, Default)]
pub struct ApiAnswers {
    realm: Box<str>,
    challenges: Vec<Challenge>,
}

/// Who is answered, and how.
pub struct Reply<'a> {
    /// The answers of the Api, where one was found.
    pub answers: Option<&'a ApiAnswers>,
    /// Whether the caller speaks gRPC.
    pub grpc: &'a dyn Fn() -> bool,
    /// The header that tells the decision's id.
    pub decision_header: Option<&'a HeaderName>,
    /// What is told about the decision.
    pub record: &'a Record<&'a str>,
}

impl ApiAnswers {
    /// Those of `api`, which has these authenticators.
    #[must_use]
    pub fn of<'a>(api: &Api, authenticators: impl IntoIterator<Item = &'a Authenticator>) -> Self {
        let mut challenges = Vec::new();
        for challenge in authenticators
            .into_iter()
            .flat_map(Authenticator::challenges)
        {
            if !challenges.contains(&challenge) {
                challenges.push(challenge);
            }
        }
        if challenges.is_empty() {
            // what else is asked for may be a workload's certificate (RFC 9110 section 15.5.2)
            challenges.push(Challenge::ClientCertificate);
        }
        let realm = api
            .title
            .chars()
            .filter(|char| !char.is_control() && !matches!(char, '"' | '\\'))
            .collect::<String>();
        Self {
            realm: realm.into(),
            challenges,
        }
    }

    /// The value of `WWW-Authenticate` (RFC 9110 section 11.6.1, RFC 6750 section 3).
    fn challenge(&self, denial: &Denial) -> String {
        let (row, scopes) = (denial.reason().row(), denial.required_scopes());
        let mut value = String::new();
        for challenge in &self.challenges {
            if !value.is_empty() {
                value.push_str(", ");
            }
            value.push_str(challenge.scheme());
            value.push_str(" realm=\"");
            value.push_str(&self.realm);
            value.push('"');
            if let Some(error) = challenge.error(row, denial.is_about_proof()) {
                value.push_str(", error=\"");
                value.push_str(error);
                value.push('"');
                if let Some(scopes) = scopes {
                    value.push_str(", scope=\"");
                    value.push_str(scopes);
                    value.push('"');
                }
            }
            if let Challenge::Dpop(algorithms) = challenge {
                value.push_str(", algs=\"");
                value.push_str(algorithms);
                value.push('"');
            }
        }
        value
    }
}

impl std::fmt::Debug for Reply<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reply")
            .field("record", &self.record)
            .finish_non_exhaustive()
    }
}

/// The encoded `CheckResponse` for `decision`.
#[must_use]
pub fn respond(decision: &Decision<'_>, reply: &Reply<'_>) -> Outgoing {
    match decision {
        Decision::Allow(grant) => allowed(grant.mutations(), grant.quota_headers(), reply),
        Decision::Deny(denial) => denied(denial, reply),
        Decision::Fail(fault) => failed(fault, reply),
    }
}

/// The encoded allow of a decision that an Api in shadow mode does not enforce: nothing is set,
/// and what is ours is still stripped.
#[must_use]
pub fn respond_shadowed(stripped: &Mutations<'_>, reply: &Reply<'_>) -> Outgoing {
    allowed(stripped, &[], reply)
}

fn allowed(
    mutations: &Mutations<'_>,
    quota: &[(&'static str, String)],
    reply: &Reply<'_>,
) -> Outgoing {
    let decision = reply.decision();
    // Envoy's access log may show the metadata: ids and names, no credential, no claim
    let allow = Allow {
        mutations,
        decision,
        quota,
    };
    encode::allow(&allow, reply.record.metadata())
}

fn denied(denial: &Denial, reply: &Reply<'_>) -> Outgoing {
    let row = denial.reason().row();
    let challenge_due = row.http == 401 || denial.reason() == Reason::ScopeInsufficient;
    let answers = reply
        .answers
        .filter(|answers| challenge_due && !answers.challenges.is_empty());
    let challenge = answers.map(|answers| answers.challenge(denial));
    let quota = denial.quota().map_or(&[][..], |quota| &quota.headers);
    let refusal = Refused {
        challenge,
        retry_after: denial.retry_after(),
        quota,
    };
    refused(row, &refusal, reply)
}

fn failed(fault: &Fault, reply: &Reply<'_>) -> Outgoing {
    let refusal = Refused {
        challenge: None,
        retry_after: fault.reason().retry_after(),
        quota: &[],
    };
    refused(fault.reason().row(), &refusal, reply)
}

/// What a refusal says beside its row.
struct Refused<'a> {
    challenge: Option<String>,
    retry_after: Option<Duration>,
    quota: &'a [(&'static str, String)],
}

fn refused(row: Row, refusal: &Refused<'_>, reply: &Reply<'_>) -> Outgoing {
    let retry_after = refusal.retry_after;
    let retry_after = retry_after.map(|wait| whole_seconds(wait).max(1).to_string());
    let challenge = refusal.challenge.as_deref();
    let mut headers = Vec::with_capacity(7 + refusal.quota.len());
    headers.extend(challenge.map(|text| ("www-authenticate", text)));
    headers.extend(retry_after.as_deref().map(|text| ("retry-after", text)));
    headers.extend(
        refusal
            .quota
            .iter()
            .map(|(name, text)| (*name, text.as_str())),
    );
    headers.push(("cache-control", "no-store"));
    headers.extend(reply.decision());
    let status = (row.grpc as i32).to_string();
    let body = if (reply.grpc)() {
        headers.push(("grpc-status", &status));
        headers.push(("grpc-message", row.title));
        String::new()
    } else {
        headers.push(("content-type", "application/problem+json"));
        problem(row, reply.record.decision_id.as_str())
    };
    let refusal = Refusal {
        grpc_code: row.grpc as i32,
        reason: row.name,
        http_status: row.http,
        headers: &headers,
        body: &body,
    };
    encode::refuse(&refusal, reply.record.metadata())
}

impl<'a> Reply<'a> {
    /// The header that tells the decision's id.
    fn decision(&self) -> Option<(&'a str, &'a str)> {
        let id = self.record.decision_id.as_str();
        self.decision_header.map(|name| (name.as_str(), id))
    }
}

/// The body of a refusal (RFC 9457): fixed texts and the decision's id, nothing of the request.
fn problem(row: Row, decision_id: &str) -> String {
    format!(
        r#"{{"type":"urn:portcullis:denial:{}","title":"{}","status":{},"decisionId":"{decision_id}"}}"#,
        row.code, row.title, row.http
    )
}

impl Challenge {
    /// The `error` that it tells of a denial, where it is of a scheme that has any.
    fn error(&self, row: Row, about_proof: bool) -> Option<&'static str> {
        match (self, about_proof) {
            (Self::Bearer, false) | (Self::Dpop(_), false) => row.challenge_error,
            (Self::Dpop(_), true) => Some("invalid_dpop_proof"),
            (Self::Bearer, true) | (Self::Basic | Self::ApiKey | Self::ClientCertificate, _) => {
                None
            }
        }
    }

    const fn scheme(&self) -> &'static str {
        match self {
            Self::Bearer => "Bearer",
            Self::Dpop(_) => "DPoP",
            Self::Basic => "Basic",
            Self::ApiKey => "ApiKey",
            Self::ClientCertificate => "ClientCertificate",
        }
    }
}
