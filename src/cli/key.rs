//! `portcullis key hash`: the digest of an API key, for the catalog.

use std::io::{Read as _, Write as _};
use std::path::PathBuf;

use aws_lc_rs::rand;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use clap::{Args, Subcommand};

use crate::authentication::api_key::KeyDigest;
use crate::cli::{Usage, print};
use crate::config::reader::Reader;
use crate::config::value::SecretSource;
use crate::secret::{MacKey, Secret};

/// Work with API keys.
#[derive(Debug, Args)]
pub(super) struct KeyArgs {
    #[command(subcommand)]
    command: KeyCommand,
}

#[derive(Debug, Subcommand)]
enum KeyCommand {
    /// Print the digest of a key, for the catalog: the key is read from standard input.
    Hash(HashArgs),
}

#[derive(Debug, Args)]
struct HashArgs {
    /// Make a new random key, and print it too.
    #[arg(long)]
    generate: bool,
    /// Use the pepper in this file, one of the authenticator's `peppers`. Keys that people chose need one.
    #[arg(long, value_name = "FILE")]
    pepper: Option<PathBuf>,
}

/// 128 random bits in base64url: what is shorter was hardly made by a machine.
const RANDOM_KEY_LENGTH: usize = 22;

pub(super) fn run(args: &KeyArgs) -> anyhow::Result<()> {
    let KeyCommand::Hash(args) = &args.command;
    let key = if args.generate { generate()? } else { read()? };
    if args.pepper.is_none() && key.expose().len() < RANDOM_KEY_LENGTH {
        let _ = writeln!(
            std::io::stderr(),
            "warning: the key looks like one that a person chose, which can be guessed from its digest: use --pepper"
        );
    }
    let digest = match &args.pepper {
        None => KeyDigest::of_key(key.expose()),
        Some(path) => {
            let pepper = SecretSource::File(path.clone()).load(&mut Reader::new("."))?;
            KeyDigest::of_key_with_pepper(key.expose(), &MacKey::new(pepper.expose()))
        }
    };
    if args.generate {
        print(&format!("key:    {}\n", key.expose()))?;
        return print(&format!("digest: {}\n", digest.to_text()));
    }
    print(&format!("{}\n", digest.to_text()))
}

/// A key of 256 random bits.
fn generate() -> anyhow::Result<Secret<String>> {
    let mut bytes = [0_u8; 32];
    rand::fill(&mut bytes).map_err(|_| anyhow::anyhow!("the system gave no randomness"))?;
    Ok(Secret::new(URL_SAFE_NO_PAD.encode(bytes)))
}

fn read() -> anyhow::Result<Secret<String>> {
    let mut key = String::new();
    std::io::stdin()
        .lock()
        .take(64 * 1024)
        .read_to_string(&mut key)?;
    let key = key.trim_end_matches(['\r', '\n']);
    if key.is_empty()
        || !key
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && byte != b',')
    {
        let hint = "a key has visible ASCII characters other than the comma; write it to standard input, or use --generate";
        return Err(Usage(hint.to_owned()).into());
    }
    Ok(Secret::new(key.to_owned()))
}
