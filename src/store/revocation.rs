//! What is revoked, as the admin API and logout tokens said it. It is read once: who uses it keeps it in
//! memory.

use rusqlite::{Connection, params};

use crate::authentication::revocation::entry::{Entry, EntryId};
use crate::store::error::StoreError;

/// The table; files of the first version get it when they are opened.
pub(super) const SCHEMA: &str = "
    CREATE TABLE revocation (id TEXT PRIMARY KEY, entry TEXT NOT NULL) STRICT;";

/// Every entry.
pub(super) fn all(connection: &Connection) -> Result<Vec<Entry>, StoreError> {
    let mut statement = connection.prepare("SELECT entry FROM revocation")?;
    let mut rows = statement.query([])?;
    let mut entries = Vec::new();
    while let Some(row) = rows.next()? {
        let text: String = row.get(0)?;
        let damaged = |_| StoreError::Damaged("an entry of what is revoked".to_owned());
        entries.push(serde_json::from_str(&text).map_err(damaged)?);
    }
    Ok(entries)
}

/// Writes an entry, in place of what was there.
pub(super) fn put(connection: &Connection, entry: &Entry) -> Result<(), StoreError> {
    let text =
        serde_json::to_string(entry).map_err(|error| StoreError::Damaged(error.to_string()))?;
    connection.execute(
        "INSERT INTO revocation (id, entry) VALUES (?1, ?2)
         ON CONFLICT (id) DO UPDATE SET entry = excluded.entry",
        params![entry.id().to_string(), text],
    )?;
    Ok(())
}

/// Removes entries, whether or not they are there.
pub(super) fn remove(connection: &mut Connection, ids: &[EntryId]) -> Result<(), StoreError> {
    let transaction = connection.transaction()?;
    for id in ids {
        transaction.execute("DELETE FROM revocation WHERE id = ?1", [id.to_string()])?;
    }
    Ok(transaction.commit()?)
}
