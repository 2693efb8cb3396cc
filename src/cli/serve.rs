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

/// Serve checks, by a configuration file or, for a first try, by an issuer. The short form opens the
/// ports of the defaults too: admin on 127.0.0.1:9002, metrics and probes on 127.0.0.1:9090.
#[derive(Debug, Args)]
pub(super) struct ServeArgs {
    /// The configuration.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Without a file: trust tokens of this issuer for every host.
    #[arg(long, value_name = "URL")]
    issuer: Option<String>,
    /// An audience that tokens must have; may be repeated.
    #[arg(long)]
    audience: Vec<String>,
    /// A header for the upstream, such as x-user={principal.subject}; may be repeated.
    #[arg(long, value_name = "NAME={TEMPLATE}")]
    header: Vec<String>,
    /// Allow an issuer on plain HTTP: for a try on one machine.
    #[arg(long)]
    allow_http_issuer: bool,
    /// Where checks are answered, instead of 127.0.0.1:9001.
    #[arg(long, value_name = "ADDRESS")]
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

/// What to write, where neither form is complete.
const FORMS: &str = "serve --config FILE, or serve --issuer URL --audience NAME";

fn load(args: ServeArgs) -> anyhow::Result<Loaded> {
    let short_flags = args.short_flags();
    match (args.config, args.issuer) {
        (Some(path), _) if short_flags.is_empty() => Ok(Config::load(&path, from_environment())?),
        (Some(path), _) => {
            let (flags, path) = (short_flags.join(", "), path.display());
            let what = format!(
                "{flags}: only without --config; leave it out, or say the same in `{path}`"
            );
            Err(Usage(what).into())
        }
        (None, Some(_)) if args.audience.is_empty() => Err(Usage(
            "--issuer needs --audience: which audience the tokens must have".to_owned(),
        )
        .into()),
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
            let missing = match short_flags.as_slice() {
                [] => "nothing says what to serve".to_owned(),
                flags => format!("{}: only with --issuer", flags.join(", ")),
            };
            Err(Usage(format!("{missing}; write {FORMS}")).into())
        }
    }
}

impl ServeArgs {
    /// The flags of the short form that are given.
    fn short_flags(&self) -> Vec<&'static str> {
        let given = [
            ("--issuer", self.issuer.is_some()),
            ("--audience", !self.audience.is_empty()),
            ("--header", !self.header.is_empty()),
            ("--allow-http-issuer", self.allow_http_issuer),
            ("--listen", self.listen.is_some()),
        ];
        let given = given.into_iter().filter(|(_, given)| *given);
        given.map(|(flag, _)| flag).collect()
    }
}
