//! The command line: one file a command under `cli/`. It reads arguments and prints; what the
//! commands do is elsewhere.

mod check_config;
mod doctor;
mod explain;
mod import;
mod init;
mod key;
mod made;
mod name;
mod schema;
mod serve;
mod token;

use std::io::Write as _;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::config::quick::by_flags;
use crate::problem::Problems;

/// `EX_USAGE` of sysexits.h: a wrong flag.
const EXIT_USAGE: u8 = 64;
/// `EX_CONFIG` of sysexits.h: a wrong configuration or catalog.
const EXIT_CONFIG: u8 = 78;

/// A central authorization server for Envoy and Istio.
#[derive(Debug, Parser)]
#[command(name = "portcullis", version, about, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve checks.
    Serve(serve::ServeArgs),
    /// Check the configuration and the catalog, and say what is wrong with them.
    CheckConfig(check_config::CheckConfigArgs),
    /// Find mistakes in manifests of Istio and Kubernetes, without a cluster.
    Doctor(doctor::DoctorArgs),
    /// Decide a request without serving, and tell every stage: what it found, compared and decided.
    Explain(explain::ExplainArgs),
    /// Make a configuration and a catalog of what another gateway was configured with.
    Import(import::ImportArgs),
    /// Make everything that a first protected host needs.
    Init(init::InitArgs),
    /// Print the JSON schemas, or write the generated documents.
    Schema(schema::SchemaArgs),
    /// Work with API keys.
    Key(key::KeyArgs),
    /// Mint a test token with a key of yours.
    Token(token::TokenArgs),
    /// Print the version.
    Version,
}

/// Runs the command that the arguments name, and gives the process's exit code.
#[must_use]
pub fn run() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let _ = error.print();
            return if error.use_stderr() {
                ExitCode::from(EXIT_USAGE)
            } else {
                ExitCode::SUCCESS
            };
        }
    };
    let result = match cli.command {
        Command::Serve(args) => serve::run(args),
        Command::CheckConfig(args) => check_config::run(&args),
        Command::Doctor(args) => doctor::run(&args),
        Command::Explain(args) => explain::run(&args),
        Command::Import(args) => import::run(&args),
        Command::Init(args) => init::run(&args),
        Command::Schema(args) => schema::run(&args),
        Command::Key(args) => key::run(&args),
        Command::Token(args) => token::run(&args),
        Command::Version => print(&format!("portcullis {}\n", env!("CARGO_PKG_VERSION"))),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error),
    }
}

/// Tells what went wrong, and with which code the process ends.
fn fail(error: &anyhow::Error) -> ExitCode {
    let (text, code) = match error.downcast_ref::<Problems>() {
        Some(problems) => match by_flags(problems) {
            Some(text) => (text, EXIT_USAGE),
            None => (problems.to_string(), EXIT_CONFIG),
        },
        None if error.is::<Usage>() => (format!("error: {error:#}"), EXIT_USAGE),
        None => (format!("error: {error:#}"), 1),
    };
    let _ = writeln!(std::io::stderr(), "{text}");
    ExitCode::from(code)
}

/// Arguments that clap accepts and we do not.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Usage(String);

/// Writes `text` to standard output.
fn print(text: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())?;
    Ok(out.flush()?)
}
