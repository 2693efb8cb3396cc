//! A script that the server runs: sent by its digest, and whole where the server does not know it.

use aws_lc_rs::digest;
use redis::Cmd;

use crate::secret::hexadecimal;

/// A Lua script.
#[derive(Debug)]
pub struct Script {
    source: &'static str,
    /// What Redis knows it by: SHA-1, in hexadecimal digits.
    digest: String,
}

impl Script {
    /// The script with this source.
    #[must_use]
    pub fn new(source: &'static str) -> Self {
        let digest = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, source.as_bytes());
        Self {
            source,
            digest: hexadecimal(digest.as_ref()),
        }
    }

    /// The command that runs it, where the server knows it.
    pub(super) fn by_digest(&self, keys: &[String], args: &[Vec<u8>]) -> Cmd {
        filled("EVALSHA", &self.digest, keys, args)
    }

    /// The command that runs it and makes it known.
    pub(super) fn whole(&self, keys: &[String], args: &[Vec<u8>]) -> Cmd {
        filled("EVAL", self.source, keys, args)
    }
}

fn filled(command: &str, script: &str, keys: &[String], args: &[Vec<u8>]) -> Cmd {
    let mut cmd = redis::cmd(command);
    cmd.arg(script).arg(keys.len()).arg(keys).arg(args);
    cmd
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digest_is_sha_1() {
        // FIPS 180-4, the example of one block
        let script = Script::new("abc");
        assert_eq!(script.digest, "a9993e364706816aba3e25717850c26c9cd0d89d");
    }
}
