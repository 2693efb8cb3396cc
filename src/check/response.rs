//! The respond stage: a [`Decision`] becomes a `CheckResponse`. The only place that makes one.
//
// INVARIANT: the status is OK exactly where there is an `ok_response`, and both are set together
// from a decision. Envoy allows whatever has status 0, an empty response included.

use bytes::Bytes;
use envoy_types::pb::envoy::config::core::v3::header_value_option::HeaderAppendAction;
use envoy_types::pb::envoy::config::core::v3::{HeaderValue as EnvoyHeader, HeaderValueOption};
use envoy_types::pb::envoy::service::auth::v3::check_response::HttpResponse;
use envoy_types::pb::envoy::service::auth::v3::{
    CheckResponse, DeniedHttpResponse, OkHttpResponse,
};
use envoy_types::pb::envoy::r#type::v3::HttpStatus;
use envoy_types::pb::google::protobuf::value::Kind;
use envoy_types::pb::google::protobuf::{Struct, Value};
use envoy_types::pb::google::rpc::Status;
use prost::Message as _;

use crate::authentication::{Authenticator, Challenge};
use crate::catalog::model::Api;
use crate::check::decision::{Decision, Denial, Fault, Reason, Row};
use crate::header::{HeaderName, HeaderValue};
use crate::upstream::mutations::Mutations;
use crate::usage::Record;

/// What the answers of one Api have in common, prepared when it was published: its challenges.
#[derive(Debug, Clone, Default)]
pub struct ApiAnswers {
    realm: Box<str>,
    challenges: Vec<Challenge>,
}

/// Who is answered, and how.
#[derive(Debug)]
pub struct Reply<'a> {
    /// The answers of the Api, where one was found.
    pub answers: Option<&'a ApiAnswers>,
    /// Whether the caller speaks gRPC.
    pub grpc: bool,
    /// The header that tells the decision's id.
    pub decision_header: Option<&'a HeaderName>,
    /// What is told about the decision.
    pub record: &'a Record,
}

impl ApiAnswers {
    /// Those of `api`, which has these authenticators.
    #[must_use]
    pub fn of<'a>(api: &Api, authenticators: impl IntoIterator<Item = &'a Authenticator>) -> Self {
        let mut challenges = Vec::new();
        for challenge in authenticators
            .into_iter()
            .filter_map(Authenticator::challenge)
        {
            if !challenges.contains(&challenge) {
                challenges.push(challenge);
            }
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
    fn challenge(&self, row: Row, scopes: Option<&str>) -> String {
        let mut value = String::new();
        for challenge in &self.challenges {
            if !value.is_empty() {
                value.push_str(", ");
            }
            value.push_str(challenge.scheme());
            value.push_str(" realm=\"");
            value.push_str(&self.realm);
            value.push('"');
            if let (Challenge::Bearer, Some(error)) = (challenge, row.challenge_error) {
                value.push_str(", error=\"");
                value.push_str(error);
                value.push('"');
                if let Some(scopes) = scopes {
                    value.push_str(", scope=\"");
                    value.push_str(scopes);
                    value.push('"');
                }
            }
        }
        value
    }
}

/// The encoded `CheckResponse` for `decision`.
#[must_use]
pub fn respond(decision: &Decision, reply: &Reply<'_>) -> Bytes {
    let response = match decision {
        Decision::Allow(grant) => allowed(grant.mutations(), reply),
        Decision::Deny(denial) => denied(denial, reply),
        Decision::Fail(fault) => failed(fault, reply),
    };
    response.encode_to_vec().into()
}

/// The encoded allow of a decision that an Api in shadow mode does not enforce: nothing is set,
/// and what is ours is still stripped.
#[must_use]
pub fn respond_shadowed(stripped: &Mutations, reply: &Reply<'_>) -> Bytes {
    allowed(stripped, reply).encode_to_vec().into()
}

fn allowed(mutations: &Mutations, reply: &Reply<'_>) -> CheckResponse {
    let decision_id = reply
        .decision_header
        .map(|name| header(name.as_str(), reply.record.decision_id.as_str()));
    CheckResponse {
        status: Some(Status {
            code: 0,
            message: String::new(),
            details: Vec::new(),
        }),
        http_response: Some(HttpResponse::OkResponse(OkHttpResponse {
            headers: mutations.set_headers().iter().map(checked_header).collect(),
            headers_to_remove: mutations
                .removed_headers()
                .iter()
                .map(|name| name.as_str().to_owned())
                .collect(),
            response_headers_to_add: mutations
                .response_headers()
                .iter()
                .map(checked_header)
                .chain(decision_id)
                .collect(),
            query_parameters_to_remove: mutations
                .removed_query()
                .iter()
                .map(|name| name.clone().into_string())
                .collect(),
            ..OkHttpResponse::default()
        })),
        dynamic_metadata: Some(metadata(reply.record)),
    }
}

fn denied(denial: &Denial, reply: &Reply<'_>) -> CheckResponse {
    let row = denial.reason().row();
    let mut headers = Vec::new();
    let challenge_due = row.http == 401 || denial.reason() == Reason::ScopeInsufficient;
    if let Some(answers) = reply
        .answers
        .filter(|answers| challenge_due && !answers.challenges.is_empty())
    {
        headers.push(header(
            "www-authenticate",
            &answers.challenge(row, denial.required_scopes()),
        ));
    }
    if let Some(wait) = denial.reason().retry_after() {
        headers.push(header("retry-after", &wait.as_secs().to_string()));
    }
    refused(row, headers, reply)
}

fn failed(fault: &Fault, reply: &Reply<'_>) -> CheckResponse {
    let retry_after = fault.reason().retry_after();
    let headers = retry_after.map(|wait| header("retry-after", &wait.as_secs().max(1).to_string()));
    refused(fault.reason().row(), headers.into_iter().collect(), reply)
}

fn refused(row: Row, mut headers: Vec<HeaderValueOption>, reply: &Reply<'_>) -> CheckResponse {
    headers.push(header("cache-control", "no-store"));
    if let Some(name) = reply.decision_header {
        headers.push(header(name.as_str(), reply.record.decision_id.as_str()));
    }
    let body = if reply.grpc {
        headers.push(header("grpc-status", &(row.grpc as i32).to_string()));
        headers.push(header("grpc-message", row.title));
        String::new()
    } else {
        headers.push(header("content-type", "application/problem+json"));
        problem(row, reply.record.decision_id.as_str())
    };
    CheckResponse {
        status: Some(Status {
            code: row.grpc as i32,
            message: row.name.to_owned(),
            details: Vec::new(),
        }),
        http_response: Some(HttpResponse::DeniedResponse(DeniedHttpResponse {
            status: Some(HttpStatus {
                code: i32::from(row.http),
            }),
            headers,
            body,
        })),
        dynamic_metadata: Some(metadata(reply.record)),
    }
}

/// The body of a refusal (RFC 9457): fixed texts and the decision's id, nothing of the request.
fn problem(row: Row, decision_id: &str) -> String {
    format!(
        r#"{{"type":"urn:portcullis:denial:{}","title":"{}","status":{},"decisionId":"{decision_id}"}}"#,
        row.code, row.title, row.http
    )
}

fn checked_header((name, value): &(HeaderName, HeaderValue)) -> HeaderValueOption {
    header(name.as_str(), value.as_str())
}

/// A header that overwrites: `append` stays unset, which old Envoys read as "set", and
/// `append_action` says the same to new ones.
fn header(name: &str, value: &str) -> HeaderValueOption {
    HeaderValueOption {
        header: Some(EnvoyHeader {
            key: name.to_owned(),
            value: value.to_owned(),
            ..EnvoyHeader::default()
        }),
        append_action: HeaderAppendAction::OverwriteIfExistsOrAdd.into(),
        ..HeaderValueOption::default()
    }
}

/// What Envoy's access log may show of the decision: ids and names, no credential, no claim.
fn metadata(record: &Record) -> Struct {
    let text = |value: &str| Value {
        kind: Some(Kind::StringValue(value.to_owned())),
    };
    Struct {
        fields: record
            .metadata()
            .map(|(name, value)| (name.to_owned(), text(value)))
            .collect(),
    }
}

impl Challenge {
    const fn scheme(self) -> &'static str {
        match self {
            Self::Bearer => "Bearer",
            Self::Basic => "Basic",
            Self::ApiKey => "ApiKey",
        }
    }
}
