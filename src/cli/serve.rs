//! `portcullis serve`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use crate::app::{App, install_cryptography};
use crate::cli::Usage;
use crate::clock::Clock;
use crate::config::Config;
use crate::config::load::Loaded;
use crate::config::overrides::from_environment;
use crate::config::quick::Quick;

/// Serve checks, by a configuration file or, for a first try, by an issuer.
#[derive(Debug, Args)]
pub(super) struct ServeArgs {
    /// The configuration.
    #[arg(long, value_name = "FILE", required_unless_present = "issuer")]
    config: Option<PathBuf>,
    /// Without a file: trust tokens of this issuer for every host.
    #[arg(
        long,
        value_name = "URL",
        conflicts_with = "config",
        requires = "audience"
    )]
    issuer: Option<String>,
    /// An audience that tokens must have; may be repeated.
    #[arg(long, requires = "issuer")]
    audience: Vec<String>,
    /// A header for the upstream, such as x-user={principal.subject}; may be repeated.
    #[arg(long, value_name = "NAME={TEMPLATE}", requires = "issuer")]
    header: Vec<String>,
    /// Allow an issuer on plain HTTP: for a try on one machine.
    #[arg(long, requires = "issuer")]
    allow_http_issuer: bool,
    /// Where checks are answered, instead of 127.0.0.1:9001.
    #[arg(long, value_name = "ADDRESS", requires = "issuer")]
    listen: Option<String>,
    /// Write the address of each listener into this file, as JSON, once all of them listen.
    #[arg(long, value_name = "FILE")]
    ports_file: Option<PathBuf>,
}

pub(super) fn run(args: ServeArgs) -> anyhow::Result<()> {
    let ports_file = args.ports_file.clone();
    let loaded = load(args)?;
    let log_level = loaded.config.telemetry.log.install()?;
    install_cryptography();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let result = runtime.block_on(async {
        let app = App::start(loaded, log_level, Clock::system()).await?;
        if let Some(path) = ports_file {
            app.write_addresses(&path)?;
        }
        app.run().await
    });
    // a pipe that nobody reads may hold a write of the log: that must not hold the process
    runtime.shutdown_timeout(Duration::from_secs(1));
    result
}

fn load(args: ServeArgs) -> anyhow::Result<Loaded> {
    match (args.config, args.issuer) {
        (Some(path), _) => Ok(Config::load(&path, from_environment())?),
        (None, Some(issuer)) => {
            let quick = Quick {
                issuer,
                audiences: args.audience,
                headers: args.header,
                allow_http_issuer: args.allow_http_issuer,
                listen: args.listen,
            };
            Ok(quick.into_loaded()?)
        }
        (None, None) => {
            Err(Usage("give --config FILE, or --issuer and --audience".to_owned()).into())
        }
    }
}
