//! FIWARE's endpoints: which host and path gets a token, of which client and from where.

use rusqlite::{Connection, Row, params};
use uuid::Uuid;

use crate::store::Written;
use crate::store::error::StoreError;

/// An endpoint, valid in all its parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// Its id.
    pub id: Uuid,
    /// The host, as it was registered.
    pub domain: String,
    /// The path, as it was registered.
    pub path: String,
    /// The host in normal form.
    pub host: String,
    /// The path without a final slash: `/` for the whole host.
    pub base_path: String,
    /// The port that the application sends to.
    pub port: u16,
    /// The port of the target.
    pub target_port: u16,
    /// Whether the target is reached by TLS.
    pub use_https: bool,
    /// Whose token it gets.
    pub client_id: String,
    /// The party id of the identity provider: the audience of the assertion.
    pub idp_id: String,
    /// Where tokens are asked for.
    pub idp_address: String,
    /// The grant type of that request.
    pub grant_type: String,
}

impl Endpoint {
    /// Whether it has the host and base path of `other`.
    #[must_use]
    pub fn is_at(&self, other: &Self) -> bool {
        (&self.host, &self.base_path) == (&other.host, &other.base_path)
    }

    fn of(row: &Row<'_>) -> rusqlite::Result<Self> {
        let id: String = row.get("id")?;
        Ok(Self {
            id: Uuid::parse_str(&id).map_err(|error| {
                let kind = rusqlite::types::Type::Text;
                rusqlite::Error::FromSqlConversionFailure(0, kind, Box::new(error))
            })?,
            domain: row.get("domain")?,
            path: row.get("path")?,
            host: row.get("host")?,
            base_path: row.get("base_path")?,
            port: row.get("port")?,
            target_port: row.get("target_port")?,
            use_https: row.get("use_https")?,
            client_id: row.get("client_id")?,
            idp_id: row.get("idp_id")?,
            idp_address: row.get("idp_address")?,
            grant_type: row.get("grant_type")?,
        })
    }
}

/// What a client id is.
pub const CLIENT_ID_RULE: &str =
    "a client id has letters, digits, `.`, `_`, `:` and `-`, 128 at most, and is not `.` or `..`";

/// Whether `text` is a client id.
#[must_use]
pub fn is_client_id(text: &str) -> bool {
    (1..=128).contains(&text.len())
        && !matches!(text, "." | "..")
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"._:-".contains(&byte))
}

/// Every endpoint, by host and base path.
pub(super) fn all(connection: &Connection) -> Result<Vec<Endpoint>, StoreError> {
    let mut statement =
        connection.prepare_cached("SELECT * FROM endpoint ORDER BY host, base_path")?;
    let endpoints = statement.query_map([], Endpoint::of)?;
    Ok(endpoints.collect::<Result<_, _>>()?)
}

/// Adds one.
pub(super) fn insert(connection: &Connection, endpoint: &Endpoint) -> Result<Written, StoreError> {
    let added = connection.execute(
        "INSERT INTO endpoint (id, domain, path, host, base_path, port, target_port, use_https,
             client_id, idp_id, idp_address, grant_type)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)
         ON CONFLICT DO NOTHING",
        params![
            endpoint.id.to_string(),
            endpoint.domain,
            endpoint.path,
            endpoint.host,
            endpoint.base_path,
            endpoint.port,
            endpoint.target_port,
            endpoint.use_https,
            endpoint.client_id,
            endpoint.idp_id,
            endpoint.idp_address,
            endpoint.grant_type,
        ],
    )?;
    Ok(if added == 0 {
        Written::Taken
    } else {
        Written::Done
    })
}

/// Removes one.
pub(super) fn delete(connection: &Connection, id: Uuid) -> Result<Written, StoreError> {
    let removed = connection.execute("DELETE FROM endpoint WHERE id = ?1", [id.to_string()])?;
    Ok(if removed == 0 {
        Written::Missing
    } else {
        Written::Done
    })
}
