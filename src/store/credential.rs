//! Credentials: certificates and signing key of a client, changed half by half and never mixed.
//!
//! A new half takes effect at once where it belongs to the other half in effect. Where it belongs to
//! none, it waits, and the pair in effect stays; the latest half of each kind waits.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rusqlite::{Connection, OptionalExtension as _, Row, params};

use crate::secret::Secret;
use crate::store::encryption::{Place, Seal};
use crate::store::error::StoreError;
use crate::store::material::{CertificateChain, SigningKey};
use crate::store::{StoredCredential, Written};

const KEY: &str = "key";
const PENDING_KEY: &str = "pending_key";

/// The number of the next pair that is read.
static GENERATION: AtomicU64 = AtomicU64::new(1);

/// A row, with its keys encrypted.
#[derive(Debug, Default)]
struct Halves {
    chain: Option<String>,
    key: Option<Vec<u8>>,
    pending_chain: Option<String>,
    pending_key: Option<Vec<u8>>,
}

impl Halves {
    fn of(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            chain: row.get("chain")?,
            key: row.get("key")?,
            pending_chain: row.get("pending_chain")?,
            pending_key: row.get("pending_key")?,
        })
    }

    fn find(connection: &Connection, client_id: &str) -> Result<Option<Self>, StoreError> {
        let mut statement =
            connection.prepare_cached("SELECT * FROM credential WHERE client_id = ?1")?;
        Ok(statement.query_row([client_id], Self::of).optional()?)
    }

    fn update(&self, connection: &Connection, client_id: &str) -> Result<(), StoreError> {
        connection.execute(
            "UPDATE credential SET chain = ?2, key = ?3, pending_chain = ?4, pending_key = ?5
             WHERE client_id = ?1",
            params![
                client_id,
                self.chain,
                self.key,
                self.pending_chain,
                self.pending_key
            ],
        )?;
        Ok(())
    }
}

/// Every credential; the pairs of `known` that did not change stay the same ones.
pub(super) fn all(
    connection: &Connection,
    seal: Option<&Seal>,
    known: &BTreeMap<String, Option<Arc<StoredCredential>>>,
) -> Result<BTreeMap<String, Option<Arc<StoredCredential>>>, StoreError> {
    let mut statement = connection.prepare_cached("SELECT * FROM credential")?;
    let mut rows = statement.query([])?;
    let mut credentials = BTreeMap::new();
    while let Some(row) = rows.next()? {
        let client_id: String = row.get("client_id")?;
        let halves = Halves::of(row)?;
        let pair = match (&halves.chain, &halves.key) {
            (Some(chain), Some(key)) => {
                let key = unseal(seal, KEY, &client_id, key)?;
                let same = known.get(&client_id).cloned().flatten().filter(|known| {
                    known.certificates == chain.as_bytes() && known.key.expose() == key.expose()
                });
                Some(same.unwrap_or_else(|| {
                    Arc::new(StoredCredential {
                        certificates: chain.clone().into_bytes(),
                        key,
                        generation: GENERATION.fetch_add(1, Ordering::Relaxed),
                    })
                }))
            }
            _ => None,
        };
        credentials.insert(client_id, pair);
    }
    Ok(credentials)
}

/// Adds one.
pub(super) fn insert(
    connection: &Connection,
    seal: &Seal,
    client_id: &str,
    (chain, key): (Option<&CertificateChain>, Option<&SigningKey>),
) -> Result<Written, StoreError> {
    let added = connection.execute(
        "INSERT INTO credential (client_id) VALUES (?1) ON CONFLICT DO NOTHING",
        [client_id],
    )?;
    if added == 0 {
        return Ok(Written::Taken);
    }
    let mut halves = Halves::default();
    match (chain, key) {
        (Some(chain), Some(key)) => {
            halves.chain = Some(chain.pem().to_owned());
            halves.key = Some(sealed(seal, KEY, client_id, key)?);
        }
        (Some(chain), None) => halves.pending_chain = Some(chain.pem().to_owned()),
        (None, Some(key)) => halves.pending_key = Some(sealed(seal, PENDING_KEY, client_id, key)?),
        (None, None) => {}
    }
    halves.update(connection, client_id)?;
    Ok(if halves.key.is_some() {
        Written::Done
    } else {
        Written::Waiting
    })
}

/// Gives it other certificates.
pub(super) fn set_chain(
    connection: &Connection,
    seal: &Seal,
    client_id: &str,
    chain: &CertificateChain,
) -> Result<Written, StoreError> {
    let Some(mut halves) = Halves::find(connection, client_id)? else {
        return Ok(Written::Missing);
    };
    let pending = read_key(seal, PENDING_KEY, client_id, halves.pending_key.as_ref())?;
    let current = read_key(seal, KEY, client_id, halves.key.as_ref())?;
    let pem = Some(chain.pem().to_owned());
    let written = if let Some(key) = pending.filter(|key| chain.is_of(key)) {
        halves = Halves {
            chain: pem,
            key: Some(sealed(seal, KEY, client_id, &key)?),
            ..Halves::default()
        };
        Written::Done
    } else if current.is_some_and(|key| chain.is_of(&key)) {
        (halves.chain, halves.pending_chain) = (pem, None);
        Written::Done
    } else {
        halves.pending_chain = pem;
        Written::Waiting
    };
    halves.update(connection, client_id)?;
    Ok(written)
}

/// Gives it another key.
pub(super) fn set_key(
    connection: &Connection,
    seal: &Seal,
    client_id: &str,
    key: &SigningKey,
) -> Result<Written, StoreError> {
    let Some(mut halves) = Halves::find(connection, client_id)? else {
        return Ok(Written::Missing);
    };
    let is_of = |chain: &Option<String>| -> Result<bool, StoreError> {
        match chain {
            Some(chain) => Ok(read_chain(chain)?.is_of(key)),
            None => Ok(false),
        }
    };
    let written = if is_of(&halves.pending_chain)? {
        halves = Halves {
            chain: halves.pending_chain,
            key: Some(sealed(seal, KEY, client_id, key)?),
            ..Halves::default()
        };
        Written::Done
    } else if is_of(&halves.chain)? {
        halves.key = Some(sealed(seal, KEY, client_id, key)?);
        halves.pending_key = None;
        Written::Done
    } else {
        halves.pending_key = Some(sealed(seal, PENDING_KEY, client_id, key)?);
        Written::Waiting
    };
    halves.update(connection, client_id)?;
    Ok(written)
}

/// Removes one.
pub(super) fn delete(connection: &Connection, client_id: &str) -> Result<Written, StoreError> {
    let removed = connection.execute("DELETE FROM credential WHERE client_id = ?1", [client_id])?;
    Ok(if removed == 0 {
        Written::Missing
    } else {
        Written::Done
    })
}

fn sealed(
    seal: &Seal,
    column: &'static str,
    row: &str,
    key: &SigningKey,
) -> Result<Vec<u8>, StoreError> {
    seal.seal(Place { column, row }, key.pem().expose())
        .map_err(|_| StoreError::Damaged("a key cannot be encrypted".to_owned()))
}

fn unseal(
    seal: Option<&Seal>,
    column: &'static str,
    row: &str,
    sealed: &[u8],
) -> Result<Secret<Vec<u8>>, StoreError> {
    seal.ok_or(StoreError::NoKey)?
        .open(Place { column, row }, sealed)
        .ok_or_else(|| StoreError::Damaged(format!("the signing key of `{row}` cannot be read")))
}

fn read_key(
    seal: &Seal,
    column: &'static str,
    row: &str,
    sealed: Option<&Vec<u8>>,
) -> Result<Option<SigningKey>, StoreError> {
    let Some(sealed) = sealed else {
        return Ok(None);
    };
    let key = unseal(Some(seal), column, row, sealed)?;
    SigningKey::parse(key.expose())
        .map(Some)
        .map_err(|error| StoreError::Damaged(error.to_string()))
}

fn read_chain(pem: &str) -> Result<CertificateChain, StoreError> {
    CertificateChain::parse(pem.as_bytes()).map_err(|error| StoreError::Damaged(error.to_string()))
}
