//! `portcullis token`: mints a test token with a private key of yours.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Map, Value};

use crate::cli::{Usage, print};
use crate::clock::Clock;
use crate::config::value::HumanDuration;

/// Mint a test token with a key of yours.
#[derive(Debug, Args)]
pub(super) struct TokenArgs {
    /// The private key: a PEM file (RSA, EC P-256 or P-384, or Ed25519).
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// The algorithm, such as `PS256`; left out, the usual one of the key.
    #[arg(long)]
    algorithm: Option<Algorithm>,
    /// The key id, for the header.
    #[arg(long)]
    kid: Option<String>,
    /// The issuer (`iss`).
    #[arg(long)]
    issuer: String,
    /// An audience (`aud`); may be repeated.
    #[arg(long, required = true)]
    audience: Vec<String>,
    /// The subject (`sub`).
    #[arg(long)]
    subject: Option<String>,
    /// The client (`azp`).
    #[arg(long)]
    client_id: Option<String>,
    /// The scopes, separated by spaces (`scope`).
    #[arg(long)]
    scope: Option<String>,
    /// How long it is valid.
    #[arg(long, default_value = "1h", value_parser = parse_duration)]
    expires_in: Duration,
    /// A further claim, `name=value`; the value is JSON, or else a text. May be repeated.
    #[arg(long = "claim", value_name = "NAME=VALUE", value_parser = parse_claim)]
    claims: Vec<(String, Value)>,
}

pub(super) fn run(args: &TokenArgs) -> anyhow::Result<()> {
    let pem = std::fs::read(&args.key)
        .with_context(|| format!("cannot read `{}`", args.key.display()))?;
    let (key, algorithm) = signing_key(&pem, args.algorithm)?;
    let mut header = Header::new(algorithm);
    header.kid.clone_from(&args.kid);
    let token = jsonwebtoken::encode(&header, &claims(args), &key)
        .context("the key cannot sign with this algorithm")?;
    print(&format!("{token}\n"))
}

/// Reads a private key from PEM.
type ReadKey = fn(&[u8]) -> jsonwebtoken::errors::Result<EncodingKey>;

/// The key in `pem`, with the algorithm asked for or the usual one of its kind.
fn signing_key(pem: &[u8], asked: Option<Algorithm>) -> anyhow::Result<(EncodingKey, Algorithm)> {
    let kinds: [(ReadKey, &[Algorithm]); 3] = [
        (EncodingKey::from_rsa_pem, &[Algorithm::RS256]),
        (
            EncodingKey::from_ec_pem,
            &[Algorithm::ES256, Algorithm::ES384],
        ),
        (EncodingKey::from_ed_pem, &[Algorithm::EdDSA]),
    ];
    for (read, usual) in kinds {
        let Ok(key) = read(pem) else { continue };
        let candidates = asked.as_ref().map_or(usual, std::slice::from_ref);
        let signs =
            |algorithm: &&Algorithm| jsonwebtoken::crypto::sign(b"", &key, **algorithm).is_ok();
        if let Some(algorithm) = candidates.iter().find(signs).copied() {
            return Ok((key, algorithm));
        }
    }
    Err(Usage(
        "the file holds no private key in PEM form that signs with such an algorithm".to_owned(),
    )
    .into())
}

fn claims(args: &TokenArgs) -> Map<String, Value> {
    let now = Clock::system().unix_seconds();
    let lifetime = i64::try_from(args.expires_in.as_secs()).unwrap_or(i64::MAX);
    let audience = match args.audience.as_slice() {
        [one] => one.as_str().into(),
        several => several.into(),
    };
    let mut claims = Map::from_iter([
        ("iss".to_owned(), args.issuer.as_str().into()),
        ("aud".to_owned(), audience),
        ("iat".to_owned(), now.into()),
        ("exp".to_owned(), now.saturating_add(lifetime).into()),
    ]);
    for (name, value) in [
        ("sub", &args.subject),
        ("azp", &args.client_id),
        ("scope", &args.scope),
    ] {
        if let Some(value) = value {
            claims.insert(name.to_owned(), value.as_str().into());
        }
    }
    claims.extend(args.claims.iter().cloned());
    claims
}

fn parse_duration(text: &str) -> Result<Duration, String> {
    HumanDuration::parse(text)
        .map(|duration| duration.0)
        .ok_or_else(|| "a duration has a unit, such as 30s or 1h".to_owned())
}

fn parse_claim(text: &str) -> Result<(String, Value), String> {
    let (name, value) = text
        .split_once('=')
        .ok_or("a claim is written name=value")?;
    Ok((
        name.to_owned(),
        serde_json::from_str(value).unwrap_or_else(|_| value.into()),
    ))
}
