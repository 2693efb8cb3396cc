//! `portcullis import`: makes our documents of what other gateways were configured with.
//!
//! What was made goes to standard output, or into files; what could not be carried over, and what is
//! left to do, goes to standard error. Nothing secret is read, and none is invented.

mod document;
mod fiware;
mod header_filter;
mod input;
mod report;

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::{Args, Subcommand};

use crate::cli::import::document::Imported;
use crate::cli::import::report::Report;
use crate::cli::print;

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
    let (imported, target) = match &args.from {
        From::Fiware {
            file,
            credentials,
            target,
        } => {
            let imported = fiware::import(file, credentials.as_deref(), &mut report)?;
            (imported, target)
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
            (imported, target)
        }
    };
    match &target.write {
        Some(folder) => write(folder, &imported)?,
        None => print(&imported.text()?)?,
    }
    // standard output may be a pipe; what is to do is for people
    std::io::stderr()
        .lock()
        .write_all(report.text(&imported).as_bytes())?;
    Ok(())
}

fn write(folder: &Path, imported: &Imported) -> anyhow::Result<()> {
    let catalog = folder.join("catalog");
    fs::create_dir_all(&catalog).with_context(|| format!("cannot make `{}`", catalog.display()))?;
    let files = [
        (folder.join("portcullis.yaml"), imported.configuration()?),
        (catalog.join(imported.file), imported.catalog()?),
    ];
    for (path, _) in &files {
        anyhow::ensure!(!path.exists(), "`{}` is there already", path.display());
    }
    for (path, text) in files {
        let file = OpenOptions::new().write(true).create_new(true).open(&path);
        file.and_then(|mut file| file.write_all(text.as_bytes()))
            .with_context(|| format!("cannot write `{}`", path.display()))?;
    }
    Ok(())
}
