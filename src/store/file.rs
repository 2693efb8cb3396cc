//! The SQLite file: opening, locking, schema, and transactions.

use std::fs::{File, OpenOptions, TryLockError};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, OptionalExtension as _, Transaction, params};

use crate::authentication::revocation::entry::{Entry, EntryId};
use crate::config::reader::Reader;
use crate::config::value::SecretSource;
use crate::secret::Secret;
use crate::store::encryption::{MIN_SECRET_BYTES, Place, Seal};
use crate::store::error::StoreError;
use crate::store::{Contents, StoreConfig, Written, credential, endpoint, revocation};

/// Says that a SQLite file is a store of ours: `ptcs`.
const APPLICATION_ID: i64 = 0x7074_6373;
/// The version of the schema.
const VERSION: i64 = 2;
/// The version that has nothing of what is revoked.
const WITHOUT_REVOCATIONS: i64 = 1;
const SCHEMA: &str = "
    CREATE TABLE meta (name TEXT PRIMARY KEY, value BLOB NOT NULL) STRICT;
    CREATE TABLE endpoint (
        id TEXT PRIMARY KEY,
        domain TEXT NOT NULL,
        path TEXT NOT NULL,
        host TEXT NOT NULL,
        base_path TEXT NOT NULL,
        port INTEGER NOT NULL,
        target_port INTEGER NOT NULL,
        use_https INTEGER NOT NULL,
        client_id TEXT NOT NULL,
        idp_id TEXT NOT NULL,
        idp_address TEXT NOT NULL,
        grant_type TEXT NOT NULL,
        UNIQUE (host, base_path)
    ) STRICT;
    CREATE TABLE credential (
        client_id TEXT PRIMARY KEY,
        chain TEXT,
        key BLOB,
        pending_chain TEXT,
        pending_key BLOB
    ) STRICT;";

/// What the encryption key is known by: this, encrypted.
const KNOWN: &[u8] = b"portcullis";
const KNOWN_AT: Place<'_> = Place {
    column: "value",
    row: "known",
};
/// How long SQLite waits for a command that reads beside us.
const BUSY: Duration = Duration::from_secs(2);

/// The open file.
#[derive(Debug)]
pub(super) struct StoreFile {
    connection: Connection,
    seal: Option<Seal>,
    /// Held until the end.
    _lock: File,
}

impl StoreFile {
    /// Opens the file for this process alone.
    pub(super) fn open(
        config: &StoreConfig,
        reader: &mut Reader,
    ) -> Result<(Self, Contents, Vec<Entry>), StoreError> {
        let path = reader.resolve(&config.path);
        let secret = secret(config.encryption_key.as_ref(), reader)?;
        let lock = lock(&path)?;
        // SQLite would let everybody read it
        private(&path)?;
        let mut connection = Connection::open_with_flags(
            &path,
            OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX,
        )?;
        connection.busy_timeout(BUSY)?;
        if connection.is_readonly(rusqlite::MAIN_DB)? {
            return Err(StoreError::ReadOnly);
        }
        let is_new = is_new(&connection)?;
        let version = if is_new { 0 } else { check(&connection)? };
        connection.pragma_update(None, "journal_mode", "WAL")?;
        // what was answered with success is on the disk
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.pragma_update(None, "secure_delete", true)?;
        let transaction = connection.transaction()?;
        if is_new {
            transaction.execute_batch(SCHEMA)?;
            transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
        }
        if version < VERSION {
            transaction.execute_batch(revocation::SCHEMA)?;
            transaction.pragma_update(None, "user_version", VERSION)?;
        }
        let seal = match secret {
            Some(secret) => Some(known_seal(&transaction, &secret)?),
            None => None,
        };
        let contents = contents(&transaction, seal.as_ref(), &Contents::default())?;
        let revoked = revocation::all(&transaction)?;
        transaction.commit()?;
        let file = Self {
            connection,
            seal,
            _lock: lock,
        };
        Ok((file, contents, revoked))
    }

    /// What the file holds, for those who only look.
    pub(super) fn read(
        config: &StoreConfig,
        reader: &mut Reader,
    ) -> Result<(Contents, Vec<Entry>), StoreError> {
        let path = reader.resolve(&config.path);
        let secret = secret(config.encryption_key.as_ref(), reader)?;
        if !path.exists() {
            let folder = path
                .parent()
                .filter(|folder| !folder.as_os_str().is_empty());
            if folder.is_some_and(|folder| !folder.is_dir()) {
                return Err(StoreError::Unopened("its folder does not exist".to_owned()));
            }
            return Ok(<_>::default());
        }
        let connection = Connection::open_with_flags(
            &path,
            OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX,
        )?;
        connection.busy_timeout(BUSY)?;
        if is_new(&connection)? {
            return Ok(<_>::default());
        }
        let version = check(&connection)?;
        let seal = match secret {
            Some(secret) => read_seal(&connection, &secret)?,
            None => None,
        };
        let revoked = if version > WITHOUT_REVOCATIONS {
            revocation::all(&connection)?
        } else {
            Vec::new()
        };
        let contents = contents(&connection, seal.as_ref(), &Contents::default())?;
        Ok((contents, revoked))
    }

    /// Keeps that something is revoked.
    pub(super) fn put_revocation(&mut self, entry: &Entry) -> Result<(), StoreError> {
        revocation::put(&self.connection, entry)
    }

    /// Forgets that these were revoked.
    pub(super) fn remove_revocations(&mut self, ids: &[EntryId]) -> Result<(), StoreError> {
        revocation::remove(&mut self.connection, ids)
    }

    /// Writes whole or not at all; gives what is there then.
    pub(super) fn write(
        &mut self,
        now: &Contents,
        write: impl FnOnce(&Connection) -> Result<Written, StoreError>,
    ) -> Result<(Written, Contents), StoreError> {
        let transaction = self.connection.transaction()?;
        let written = write(&transaction)?;
        // read before it is final: what cannot be read back is not written
        let contents = contents(&transaction, self.seal.as_ref(), now)?;
        transaction.commit()?;
        Ok((written, contents))
    }

    /// Lets the file grow to so many pages.
    #[cfg(test)]
    pub(super) fn limit_pages(&self, pages: i64) -> rusqlite::Result<()> {
        self.connection
            .pragma_update_and_check(None, "max_page_count", pages, |_| Ok(()))
    }

    /// Like [`StoreFile::write`], where keys are encrypted.
    pub(super) fn write_secrets(
        &mut self,
        now: &Contents,
        write: impl FnOnce(&Connection, &Seal) -> Result<Written, StoreError>,
    ) -> Result<(Written, Contents), StoreError> {
        let seal = self.seal.as_ref().ok_or(StoreError::NoKey)?;
        let transaction = self.connection.transaction()?;
        let written = write(&transaction, seal)?;
        let contents = contents(&transaction, Some(seal), now)?;
        transaction.commit()?;
        Ok((written, contents))
    }
}

fn contents(
    connection: &Connection,
    seal: Option<&Seal>,
    known: &Contents,
) -> Result<Contents, StoreError> {
    Ok(Contents {
        endpoints: endpoint::all(connection)?,
        credentials: credential::all(connection, seal, &known.credentials)?,
    })
}

fn secret(
    source: Option<&SecretSource>,
    reader: &mut Reader,
) -> Result<Option<Secret<Vec<u8>>>, StoreError> {
    let Some(source) = source else {
        return Ok(None);
    };
    let secret = source.load(reader).map_err(StoreError::KeyUnread)?;
    if secret.expose().len() < MIN_SECRET_BYTES {
        return Err(StoreError::WeakKey(MIN_SECRET_BYTES));
    }
    Ok(Some(secret))
}

/// Keeps other processes away, until it is dropped or this process ends.
fn lock(path: &Path) -> Result<File, StoreError> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".lock");
    let file = private(Path::new(&beside))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(StoreError::InUse),
        Err(TryLockError::Error(error)) => Err(unopened(&error)),
    }
}

/// The file at `path`, which only its owner reads where it is made now.
fn private(path: &Path) -> Result<File, StoreError> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    options
        .mode(0o600)
        .open(path)
        .map_err(|error| unopened(&error))
}

fn unopened(error: &std::io::Error) -> StoreError {
    use std::io::ErrorKind;
    if error.kind() == ErrorKind::StorageFull {
        StoreError::Full
    } else if error.kind() == ErrorKind::ReadOnlyFilesystem {
        StoreError::ReadOnly
    } else {
        StoreError::Unopened(error.to_string())
    }
}

fn is_new(connection: &Connection) -> Result<bool, StoreError> {
    let tables: i64 =
        connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    Ok(tables == 0)
}

/// That it is a store, of a version that we know, and whole; gives the version.
fn check(connection: &Connection) -> Result<i64, StoreError> {
    let number = |name: &str| -> Result<i64, StoreError> {
        Ok(connection.pragma_query_value(None, name, |row| row.get(0))?)
    };
    if number("application_id")? != APPLICATION_ID {
        return Err(StoreError::Foreign);
    }
    let version = number("user_version")?;
    match version {
        VERSION | WITHOUT_REVOCATIONS => {}
        newer if newer > VERSION => return Err(StoreError::Newer(newer)),
        other => return Err(StoreError::Damaged(format!("schema {other}"))),
    }
    let found: String = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
    if found == "ok" {
        Ok(version)
    } else {
        Err(StoreError::Damaged(found))
    }
}

/// The seal of the store; it is known from then on where it was not.
fn known_seal(transaction: &Transaction<'_>, secret: &Secret<Vec<u8>>) -> Result<Seal, StoreError> {
    if let Some(seal) = read_seal(transaction, secret)? {
        return Ok(seal);
    }
    let broken = |_| StoreError::Damaged("the encryption does not work".to_owned());
    let mut salt = [0; 32];
    aws_lc_rs::rand::fill(&mut salt).map_err(broken)?;
    let seal = Seal::derive(secret, &salt).map_err(broken)?;
    let known = seal.seal(KNOWN_AT, KNOWN).map_err(broken)?;
    let insert = "INSERT INTO meta (name, value) VALUES (?1, ?2)";
    transaction.execute(insert, params!["salt", salt.as_slice()])?;
    transaction.execute(insert, params!["known", known])?;
    Ok(seal)
}

/// The seal of a store that has one.
fn read_seal(
    connection: &Connection,
    secret: &Secret<Vec<u8>>,
) -> Result<Option<Seal>, StoreError> {
    let read = |name: &str| -> Result<Option<Vec<u8>>, StoreError> {
        let query = "SELECT value FROM meta WHERE name = ?1";
        Ok(connection
            .query_row(query, [name], |row| row.get(0))
            .optional()?)
    };
    let (Some(salt), Some(known)) = (read("salt")?, read("known")?) else {
        return Ok(None);
    };
    let seal = Seal::derive(secret, &salt).map_err(|_| StoreError::WrongKey)?;
    match seal.open(KNOWN_AT, &known) {
        Some(found) if found.expose() == KNOWN => Ok(Some(seal)),
        _ => Err(StoreError::WrongKey),
    }
}
