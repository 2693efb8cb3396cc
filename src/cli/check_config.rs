//! `portcullis check-config`.

use std::fmt;
use std::path::PathBuf;

use clap::Args;
use tracing::field::Field;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::{Context, SubscriberExt as _};

use crate::app::{install_cryptography, load_catalog};
use crate::authentication::config::Lasting;
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
    // its files are read, and nobody is asked
    let _settings = crate::app::quota::settings(&loaded)?;
    let _shown = crate::app::tls::read(&loaded, &Clock::system())?;
    // what the catalog warns of is logged where it is built
    let log_warnings = tracing_subscriber::registry().with(Warnings);
    let (sync, _) = tracing::subscriber::with_default(log_warnings, || {
        load_catalog(loaded, Lasting::offline(Clock::system()))
    })?;
    let status = sync.status();
    for replaced in status.replaced.iter() {
        print(&format!("warning: {replaced}\n"))?;
    }
    print(&format!(
        "good: {}, {}, {}; revision {}\n",
        counted(status.apis, "api"),
        counted(status.applications, "application"),
        counted(status.plans, "plan"),
        status.revision
    ))
}

fn counted(count: usize, noun: &str) -> String {
    match count {
        1 => format!("1 {noun}"),
        _ => format!("{count} {noun}s"),
    }
}

/// Prints the field `warning` of what is logged at that level.
struct Warnings;

impl<S: Subscriber> Layer<S> for Warnings {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        if *event.metadata().level() == Level::WARN {
            event.record(&mut |field: &Field, value: &dyn fmt::Debug| {
                if field.name() == "warning" {
                    // the command's own end tells whether standard output takes anything
                    let _ = print(&format!("warning: {value:?}\n"));
                }
            });
        }
    }
}
