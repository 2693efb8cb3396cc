//! `portcullis schema`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::cli::print;
use crate::config::reference;

/// Print a JSON schema, or write the generated documents.
#[derive(Debug, Args)]
pub(super) struct SchemaArgs {
    /// Which schema to print.
    #[arg(value_enum, default_value = "config")]
    kind: SchemaKind,
    /// Write every generated document into this folder instead.
    #[arg(long, value_name = "FOLDER")]
    write: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum SchemaKind {
    /// That of the configuration.
    Config,
    /// That of the catalog's documents.
    Catalog,
}

pub(super) fn run(args: &SchemaArgs) -> anyhow::Result<()> {
    if let Some(folder) = &args.write {
        return reference::write_references(folder);
    }
    let schema = match args.kind {
        SchemaKind::Config => reference::config_schema(),
        SchemaKind::Catalog => reference::catalog_schema(),
    };
    print(&format!("{schema:#}\n"))
}
