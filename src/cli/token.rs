//! `portcullis token`: mints a test token with a private key of yours.

use std::path::PathBuf;

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
    /// How long it is valid; below zero, such as -10m, it has expired already.
    #[arg(long, default_value = "1h", allow_hyphen_values = true, value_parser = parse_seconds)]
    expires_in: i64,
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
    Err(Usage(unfit(&String::from_utf8_lossy(pem), asked)).into())
}

/// What to do about a file that holds no key which signs.
fn unfit(pem: &str, asked: Option<Algorithm>) -> String {
    let has = |label: &str| pem.contains(&format!("-----BEGIN {label}-----"));
    if has("EC PRIVATE KEY") {
        return "the key is in the older form of SEC1; write it as PKCS #8: openssl pkcs8 -topk8 -nocrypt -in OLD.pem -out NEW.pem".to_owned();
    }
    if has("ENCRYPTED PRIVATE KEY") {
        return "the key is encrypted; write it in the clear for a test: openssl pkcs8 -in OLD.pem -out NEW.pem".to_owned();
    }
    if has("PUBLIC KEY") || has("RSA PUBLIC KEY") || has("CERTIFICATE") {
        return "the file holds a public key, which cannot sign; give the private key that belongs to it".to_owned();
    }
    match asked {
        Some(algorithm) => {
            format!("the file holds no private key in PEM form that signs with {algorithm:?}")
        }
        None => {
            "the file holds no private key in PEM form: openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out key.pem makes one".to_owned()
        }
    }
}

fn claims(args: &TokenArgs) -> Map<String, Value> {
    let now = Clock::system().unix_seconds();
    // an expired token was issued before it expired
    let issued = now.saturating_add(args.expires_in.min(0)).min(now);
    let audience = match args.audience.as_slice() {
        [one] => one.as_str().into(),
        several => several.into(),
    };
    let mut claims = Map::from_iter([
        ("iss".to_owned(), args.issuer.as_str().into()),
        ("aud".to_owned(), audience),
        ("iat".to_owned(), issued.into()),
        ("exp".to_owned(), now.saturating_add(args.expires_in).into()),
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

/// A duration in seconds, below zero after a minus.
fn parse_seconds(text: &str) -> Result<i64, String> {
    let (sign, length) = text.strip_prefix('-').map_or((1, text), |rest| (-1, rest));
    HumanDuration::parse(length)
        .and_then(|duration| i64::try_from(duration.0.as_secs()).ok())
        .map(|seconds| sign * seconds)
        .ok_or_else(|| "a duration has a unit, such as 30s, 1h or -10m".to_owned())
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
