//! `portcullis check-config`.

use std::path::PathBuf;

use clap::Args;

use crate::app::{install_cryptography, load_catalog};
use crate::authentication::key_refresh::KeySources;
use crate::cli::print;
use crate::clock::Clock;
use crate::config::Config;
use crate::config::overrides::from_environment;

/// Check the configuration and the catalog; exit code 78 where something is wrong.
#[derive(Debug, Args)]
pub(super) struct CheckConfigArgs {
    /// The configuration.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
}

pub(super) fn run(args: &CheckConfigArgs) -> anyhow::Result<()> {
    install_cryptography();
    let loaded = Config::load(&args.config, from_environment())?;
    for warning in loaded.warnings.iter() {
        print(&format!("warning: {warning}\n"))?;
    }
    let (sync, _) = load_catalog(loaded, KeySources::offline(), Clock::system())?;
    let status = sync.status();
    print(&format!(
        "good: {} apis, {} applications, {} plans; revision {}\n",
        status.apis, status.applications, status.plans, status.revision
    ))
}
