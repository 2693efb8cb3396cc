//! `portcullis token`: mints a test token with a private key of yours.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;
use serde_json::{Map, Value};

use crate::authentication::algorithm::Algorithm;
use crate::cli::{Usage, print};
use crate::clock::Clock;
use crate::config::value::HumanDuration;
use crate::signing::SigningKey;

/// Mint a test token with a key of yours.
#[derive(Debug, Args)]
pub(super) struct TokenArgs {
    /// The private key: a PEM file (RSA, EC P-256 or P-384, or Ed25519).
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// The algorithm, such as `PS256`; left out, the usual one of the key.
    #[arg(long, value_parser = parse_algorithm)]
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
    let key =
        SigningKey::from_pem(&pem, args.algorithm).map_err(|error| Usage(error.to_string()))?;
    let token = key.sign(&claims(args), |header| header.kid.clone_from(&args.kid))?;
    print(&format!("{token}\n"))
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

fn parse_algorithm(text: &str) -> Result<Algorithm, String> {
    Algorithm::parse(text)
        .ok_or_else(|| "an algorithm is one such as RS256, ES256 or EdDSA".to_owned())
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
