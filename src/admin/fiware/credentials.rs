//! `/credentials`: certificates and signing keys of iSHARE clients. They are written and never told.

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;
use serde_json::json;
use zeroize::Zeroizing;

use crate::admin::answer::{AdminProblem, answer};
use crate::admin::fiware::endpoints::form;
use crate::admin::fiware::{Change, FiwareState, bad, empty};
use crate::store::Written;
use crate::store::endpoint::{CLIENT_ID_RULE, is_client_id};
use crate::store::material::{CertificateChain, MaterialError, SigningKey};

/// The body of a new credential; one half may come later.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct NewCredential {
    certificate_chain: Option<String>,
    signing_key: Option<String>,
}

pub(super) async fn list(State(state): State<FiwareState>) -> Response {
    answer(StatusCode::OK, &json!(state.store.client_ids()))
}

pub(super) async fn add(
    State(state): State<FiwareState>,
    Path(client_id): Path<String>,
    body: Bytes,
) -> Result<Response, AdminProblem> {
    check_id(&client_id)?;
    let new: NewCredential = serde_json::from_slice(&body)
        .map_err(|error| bad(format!("the body is no credential: {}", form(&error))))?;
    let chain = new.certificate_chain.as_deref();
    let chain = chain.map(|chain| read_chain(&state, chain.as_bytes()));
    let chain = chain.transpose()?;
    let key = new.signing_key.map(Zeroizing::new);
    let key = key.as_ref().map(|key| read_key(key.as_bytes()));
    let key = key.transpose()?;
    match (&chain, &key) {
        (None, None) => return Err(bad("`certificateChain` and `signingKey` are missing")),
        (Some(chain), Some(key)) if !chain.is_of(key) => {
            return Err(bad(MaterialError::Mismatch.to_string()));
        }
        _ => {}
    }
    let id = client_id.clone();
    let add =
        move |store: &crate::store::Store| store.add_credential(&id, chain.as_ref(), key.as_ref());
    match state.write(Change::Credentials, add).await? {
        Written::Taken => Err(AdminProblem::new(
            StatusCode::CONFLICT,
            "the client has a credential already: change its halves, or remove it first",
        )),
        written @ (Written::Done | Written::Waiting | Written::Missing) => {
            told(&client_id, written, "a credential was added");
            Ok(empty(StatusCode::CREATED))
        }
    }
}

pub(super) async fn set_chain(
    State(state): State<FiwareState>,
    Path(client_id): Path<String>,
    body: Bytes,
) -> Result<Response, AdminProblem> {
    check_id(&client_id)?;
    let chain = read_chain(&state, &body)?;
    let id = client_id.clone();
    let written = state
        .write(Change::Credentials, move |store| {
            store.set_chain(&id, &chain)
        })
        .await?;
    changed(
        &client_id,
        written,
        "the certificates of a client were changed",
    )
}

pub(super) async fn set_key(
    State(state): State<FiwareState>,
    Path(client_id): Path<String>,
    body: Bytes,
) -> Result<Response, AdminProblem> {
    check_id(&client_id)?;
    let key = read_key(&body)?;
    let id = client_id.clone();
    let written = state
        .write(Change::Credentials, move |store| store.set_key(&id, &key))
        .await?;
    changed(
        &client_id,
        written,
        "the signing key of a client was changed",
    )
}

pub(super) async fn remove(
    State(state): State<FiwareState>,
    Path(client_id): Path<String>,
) -> Result<Response, AdminProblem> {
    check_id(&client_id)?;
    let id = client_id.clone();
    let written = state
        .write(Change::Credentials, move |store| {
            store.remove_credential(&id)
        })
        .await?;
    changed(&client_id, written, "a credential was removed")
}

fn changed(client_id: &str, written: Written, what: &str) -> Result<Response, AdminProblem> {
    match written {
        Written::Missing => Err(AdminProblem::new(
            StatusCode::NOT_FOUND,
            "there is no such client",
        )),
        written @ (Written::Done | Written::Waiting | Written::Taken) => {
            told(client_id, written, what);
            Ok(empty(StatusCode::NO_CONTENT))
        }
    }
}

fn told(client_id: &str, written: Written, what: &str) {
    let waits = written == Written::Waiting;
    tracing::info!(
        client.id = client_id,
        waits_for_other_half = waits,
        "{what}"
    );
}

fn check_id(client_id: &str) -> Result<(), AdminProblem> {
    if is_client_id(client_id) {
        Ok(())
    } else {
        Err(bad(CLIENT_ID_RULE))
    }
}

fn read_chain(state: &FiwareState, text: &[u8]) -> Result<CertificateChain, AdminProblem> {
    let chain = CertificateChain::parse(text).and_then(|chain| {
        chain.check_dates(state.clock.now())?;
        Ok(chain)
    });
    chain.map_err(|error| bad(format!("the certificate chain: {error}")))
}

fn read_key(text: &[u8]) -> Result<SigningKey, AdminProblem> {
    SigningKey::parse(text).map_err(|error| bad(format!("the signing key: {error}")))
}
