//! Why the store cannot be opened or written.

use rusqlite::{Error, ErrorCode};

use crate::config::reader::ReadError;

/// Why the store cannot be opened or written.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another process has it open.
    #[error("another process uses it: one replica alone can have a store")]
    InUse,
    /// The encryption key is not the one that it was written with.
    #[error(
        "the encryption key is not the one that it was written with: restore that key, or remove the file and enter its contents again"
    )]
    WrongKey,
    /// It holds keys and no encryption key is configured, or a key is to be written.
    #[error("signing keys need `store.encryptionKey`, which is not configured")]
    NoKey,
    /// The encryption key is too short.
    #[error("`store.encryptionKey` needs {0} bytes or more: `openssl rand -base64 32` makes one")]
    WeakKey(usize),
    /// The encryption key cannot be read.
    #[error("`store.encryptionKey`: {0}")]
    KeyUnread(ReadError),
    /// It is no SQLite file, is damaged, or says what nothing can mean.
    #[error("it is damaged ({0}): restore it from a backup, or remove it and begin anew")]
    Damaged(String),
    /// It is a SQLite file of another program.
    #[error("it is a database of another program")]
    Foreign,
    /// A newer version wrote it.
    #[error("a newer version of portcullis wrote it (schema {0}): use that version")]
    Newer(i64),
    /// There is no room.
    #[error("the disk is full: nothing was changed")]
    Full,
    /// It cannot be written.
    #[error("it cannot be written: the file, its folder or the disk is read-only")]
    ReadOnly,
    /// The file or its folder cannot be had.
    #[error("it cannot be opened: {0}")]
    Unopened(String),
    /// Something else of SQLite.
    #[error("{0}")]
    Other(Error),
}

impl From<Error> for StoreError {
    fn from(error: Error) -> Self {
        let text = error.to_string();
        let Some(code) = error.sqlite_error_code() else {
            let is_unreadable = matches!(
                error,
                Error::FromSqlConversionFailure(..)
                    | Error::InvalidColumnType(..)
                    | Error::IntegralValueOutOfRange(..)
            );
            return if is_unreadable {
                Self::Damaged(text)
            } else {
                Self::Other(error)
            };
        };
        if code == ErrorCode::DatabaseCorrupt || code == ErrorCode::NotADatabase {
            Self::Damaged(text)
        } else if code == ErrorCode::DiskFull {
            Self::Full
        } else if code == ErrorCode::ReadOnly {
            Self::ReadOnly
        } else if code == ErrorCode::DatabaseBusy || code == ErrorCode::DatabaseLocked {
            Self::InUse
        } else if code == ErrorCode::CannotOpen || code == ErrorCode::PermissionDenied {
            Self::Unopened(text)
        } else {
            Self::Other(error)
        }
    }
}
