//! Why Redis was not of use, told apart by what is to be done about it. No text here has a secret.

use redis::{ErrorKind, RedisError, ServerErrorKind};

/// How much of what a server says is told.
const TOLD_CHARACTERS: usize = 120;

/// Redis cannot be asked, or its answer is of no use.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct RedisUnavailable {
    /// What kind of failure it is.
    pub kind: RedisFailure,
    /// What happened.
    pub message: String,
}

/// What kind of failure it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RedisFailure {
    /// There is no connection now; a task makes one.
    NotConnected,
    /// It is not asked now, after failures in a row.
    NotAsked,
    /// No answer within the budget. What was asked for may still happen.
    TimedOut,
    /// The connection ended before the answer. What was asked for may have happened.
    Disconnected,
    /// The server is a replica, as after a failover.
    ReadOnly,
    /// The server reads its data and does not answer yet.
    Loading,
    /// The server is a replica without its primary, or the cluster is down.
    Down,
    /// Another node of the cluster has the key.
    Moved,
    /// The server has no memory left, or cannot write to its disk.
    Full,
    /// Under the key stands something of another type.
    WrongType,
    /// We may not: wrong password, or an ACL without the command or key.
    NotPermitted,
    /// The server refused for another reason.
    Refused,
    /// The answer has not the form that it must have.
    Unusable,
}

impl RedisFailure {
    /// Every kind.
    pub const ALL: [Self; 13] = [
        Self::NotConnected,
        Self::NotAsked,
        Self::TimedOut,
        Self::Disconnected,
        Self::ReadOnly,
        Self::Loading,
        Self::Down,
        Self::Moved,
        Self::Full,
        Self::WrongType,
        Self::NotPermitted,
        Self::Refused,
        Self::Unusable,
    ];

    /// The name in metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::NotConnected => "not_connected",
            Self::NotAsked => "not_asked",
            Self::TimedOut => "timed_out",
            Self::Disconnected => "disconnected",
            Self::ReadOnly => "read_only",
            Self::Loading => "loading",
            Self::Down => "down",
            Self::Moved => "moved",
            Self::Full => "full",
            Self::WrongType => "wrong_type",
            Self::NotPermitted => "not_permitted",
            Self::Refused => "refused",
            Self::Unusable => "unusable",
        }
    }

    /// Whether it says something of the server and not only of one key or call.
    pub(super) const fn is_of_the_server(self) -> bool {
        match self {
            Self::TimedOut
            | Self::Disconnected
            | Self::ReadOnly
            | Self::Loading
            | Self::Down
            | Self::Moved
            | Self::Full
            | Self::NotPermitted => true,
            Self::NotConnected
            | Self::NotAsked
            | Self::WrongType
            | Self::Refused
            | Self::Unusable => false,
        }
    }

    /// Whether another connection may lead to a server that is of use, as after a failover.
    pub(super) const fn wants_another_connection(self) -> bool {
        match self {
            Self::Disconnected | Self::ReadOnly | Self::Moved | Self::Down => true,
            Self::NotConnected
            | Self::NotAsked
            | Self::TimedOut
            | Self::Loading
            | Self::Full
            | Self::WrongType
            | Self::NotPermitted
            | Self::Refused
            | Self::Unusable => false,
        }
    }
}

impl RedisUnavailable {
    /// A failure of this kind.
    #[must_use]
    pub fn new(kind: RedisFailure, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
        }
    }

    /// An answer that has not the form that it must have.
    #[must_use]
    pub fn unusable(what: &str) -> Self {
        Self::new(
            RedisFailure::Unusable,
            format!("redis gave an answer of another form than {what}"),
        )
    }

    /// What an error of the client or the server means.
    pub(super) fn of(error: &RedisError) -> Self {
        let kind = kind_of(error);
        let message = match (kind, error.code()) {
            (RedisFailure::Disconnected, _) => "the connection to redis ended".to_owned(),
            (RedisFailure::Moved, _) => match error.redirect_node() {
                Some((node, slot)) => {
                    format!("the node `{node}` of the redis cluster has the keys (slot {slot})")
                }
                None => "another node of the redis cluster has the keys".to_owned(),
            },
            (RedisFailure::NotPermitted, None) => "redis refused the user or password".to_owned(),
            (_, Some(code)) => told(code, error.detail()),
            (_, None) => format!("redis cannot be used: {}", error.category()),
        };
        Self { kind, message }
    }
}

/// Whether the server does not know the script, which is sent whole then.
pub(super) fn is_script_unknown(error: &RedisError) -> bool {
    error.kind() == ErrorKind::Server(ServerErrorKind::NoScript)
}

fn kind_of(error: &RedisError) -> RedisFailure {
    if error.is_io_error() {
        return RedisFailure::Disconnected;
    }
    match error.code() {
        Some("READONLY") => RedisFailure::ReadOnly,
        Some("LOADING") => RedisFailure::Loading,
        Some("MASTERDOWN" | "CLUSTERDOWN" | "NOREPLICAS" | "TRYAGAIN") => RedisFailure::Down,
        Some("MOVED" | "ASK") => RedisFailure::Moved,
        Some("OOM" | "MISCONF") => RedisFailure::Full,
        Some("WRONGTYPE") => RedisFailure::WrongType,
        Some("NOAUTH" | "NOPERM" | "WRONGPASS") => RedisFailure::NotPermitted,
        Some(_) => RedisFailure::Refused,
        None if error.kind() == ErrorKind::AuthenticationFailed => RedisFailure::NotPermitted,
        None => RedisFailure::Unusable,
    }
}

/// What the server said, without what was sent to it: old servers repeat unknown commands.
fn told(code: &str, detail: Option<&str>) -> String {
    let detail = detail.unwrap_or_default();
    let detail = detail.split("with args").next().unwrap_or_default();
    let detail: String = detail
        .chars()
        .filter(|character| !character.is_control())
        .take(TOLD_CHARACTERS)
        .collect();
    format!("redis answered {code} {}", detail.trim())
        .trim_end()
        .to_owned()
}

#[cfg(test)]
mod tests {
    use redis::make_extension_error;

    use super::*;

    #[test]
    fn what_the_server_says_is_told_without_what_was_sent() {
        let error = make_extension_error(
            "ERR".to_owned(),
            Some("unknown command `HELLO`, with args beginning with: `hunter2`".to_owned()),
        );
        let failure = RedisUnavailable::of(&error);
        assert_eq!(failure.kind, RedisFailure::Refused);
        assert_eq!(
            failure.message,
            "redis answered ERR unknown command `HELLO`,"
        );
    }

    #[test]
    fn failures_are_told_apart() {
        for (code, kind) in [
            ("OOM", RedisFailure::Full),
            ("WRONGTYPE", RedisFailure::WrongType),
            ("WRONGPASS", RedisFailure::NotPermitted),
            ("BUSY", RedisFailure::Refused),
        ] {
            let error = make_extension_error(code.to_owned(), None);
            assert_eq!(RedisUnavailable::of(&error).kind, kind, "{code}");
        }
        let broken = std::io::Error::from(std::io::ErrorKind::BrokenPipe);
        let failure = RedisUnavailable::of(&broken.into());
        assert_eq!(failure.kind, RedisFailure::Disconnected);
    }

    #[test]
    fn names_are_distinct() {
        let names: std::collections::BTreeSet<_> =
            RedisFailure::ALL.iter().map(|kind| kind.name()).collect();
        assert_eq!(names.len(), RedisFailure::ALL.len());
    }
}
