//! `portcullis import`: makes our documents of what other gateways were configured with.
//!
//! What was made goes to standard output, or into files; what could not be carried over, and what is
//! left to do, goes to standard error. Nothing secret is read, and none is invented.

mod document;
mod fiware;
mod header_filter;
mod input;
mod openapi;
mod overlap;
mod report;
mod wso2;

use std::io::Write as _;
use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::cli::import::report::Report;

/// Make a configuration and a catalog of what another gateway was configured with.
#[derive(Debug, Args)]
pub(super) struct ImportArgs {
    #[command(subcommand)]
    from: From,
}

#[derive(Debug, Subcommand)]
enum From {
    /// FIWARE's endpoint-auth-service: the configuration of its filter (JSON, or the
    /// ServiceMeshExtension that holds it), or the answer of `GET /endpoint` as JSON.
    Fiware {
        /// The file.
        file: PathBuf,
        /// The answer of `GET /credentials` as JSON: the ids of the clients.
        #[arg(long, value_name = "FILE")]
        credentials: Option<PathBuf>,
        #[command(flatten)]
        target: Target,
    },
    /// The header-augmenting WASM filter: its configuration (JSON), or the EnvoyFilter that holds it.
    HeaderFilter {
        /// The file.
        file: PathBuf,
        /// Where the header service can be reached from here, with its path; left out, what the
        /// cluster's name tells.
        #[arg(long)]
        url: Option<String>,
        /// A host whose requests get the headers; may be repeated. Left out, every host, as before.
        #[arg(long)]
        host: Vec<String>,
        #[command(flatten)]
        target: Target,
    },
    /// A description of an API, OpenAPI 3.0 or 3.1 or Swagger 2.0: an Api of the catalog.
    Openapi(openapi::OpenapiArgs),
    /// WSO2's Mixer adapter for Istio: HTTPAPISpec, HTTPAPISpecBinding, handler, rule, the Secret with
    /// server.pem or that file itself.
    Wso2(wso2::Wso2Args),
}

/// Where the documents go.
#[derive(Debug, Args)]
struct Target {
    /// Write portcullis.yaml and catalog/*.yaml into this folder instead of standard output. Files
    /// that are there already are not touched, and the command fails.
    #[arg(long, value_name = "FOLDER")]
    write: Option<PathBuf>,
}

pub(super) fn run(args: &ImportArgs) -> anyhow::Result<()> {
    let mut report = Report::default();
    let (made, summary, target) = match &args.from {
        From::Fiware {
            file,
            credentials,
            target,
        } => {
            let imported = fiware::import(file, credentials.as_deref(), &mut report)?;
            (imported.made()?, imported.summary(), target)
        }
        From::HeaderFilter {
            file,
            url,
            host,
            target,
        } => {
            let asked = header_filter::Asked {
                url: url.as_deref(),
                hosts: host,
            };
            let imported = header_filter::import(file, &asked, &mut report)?;
            (imported.made()?, imported.summary(), target)
        }
        From::Openapi(args) => {
            let (made, summary) = openapi::import(args, &mut report)?;
            (made, summary, &args.target)
        }
        From::Wso2(args) => {
            let (made, summary) = wso2::import(args, &mut report)?;
            (made, summary, &args.target)
        }
    };
    made.give(target.write.as_deref())?;
    // standard output may be a pipe; what is to do is for people
    std::io::stderr()
        .lock()
        .write_all(report.text(&summary).as_bytes())?;
    Ok(())
}
