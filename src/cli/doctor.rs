//! `portcullis doctor`: looks through manifests for what makes Envoy or Istio not ask us, ask us in
//! vain, or let pass what we were not asked about.
//!
//! It reads files alone and never a cluster. What it finds is a [`kind::Kind`]; each of them has a row
//! in `docs/guides/doctor.md`, which `doctor --list` writes.

mod envoy_filters;
mod files;
mod kind;
mod located;
mod manifests;
mod mesh;
mod obsolete;
mod own;
mod policies;
mod providers;
mod report;
mod rules;
mod scope;
mod selectors;
mod workloads;

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::cli::doctor::files::Sources;
use crate::cli::doctor::manifests::Manifests;
use crate::cli::doctor::report::Findings;
use crate::cli::{Usage, print};

/// Find mistakes in manifests of Istio and Kubernetes; exit code 1 where there is an error among them.
#[derive(Debug, Args)]
pub(super) struct DoctorArgs {
    /// Files and folders of manifests, YAML or JSON. A folder that holds a Helm chart is refused:
    /// give what `helm template` prints.
    #[arg(value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// A file that holds the mesh config, where it is not among them.
    #[arg(long, value_name = "FILE")]
    mesh: Option<PathBuf>,
    /// How findings are printed.
    #[arg(long, value_enum, default_value = "text")]
    output: Output,
    /// Print every kind of finding instead of looking for any.
    #[arg(long)]
    list: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Output {
    /// Lines, for people.
    Text,
    /// One JSON object.
    Json,
}

pub(super) fn run(args: &DoctorArgs) -> anyhow::Result<()> {
    if args.list {
        return print(&match args.output {
            Output::Text => report::table(),
            Output::Json => report::table_as_json(),
        });
    }
    if args.paths.is_empty() {
        return Err(Usage("name files or folders of manifests".to_owned()).into());
    }
    let sources = Sources::read(&args.paths, args.mesh.as_deref())?;
    let manifests = Manifests::of(&sources);
    let mut findings = Findings::default();
    mesh::examine(&manifests, &mut findings);
    providers::examine(&manifests, &mut findings);
    policies::examine(&manifests, &mut findings);
    rules::examine(&manifests, &mut findings);
    selectors::examine(&manifests, &mut findings);
    envoy_filters::examine(&manifests, &mut findings);
    own::examine(&manifests, &mut findings);
    obsolete::examine(&manifests, &mut findings);
    findings.sort();
    print(&match args.output {
        Output::Text => findings.text(&manifests.seen),
        Output::Json => findings.json(&manifests.seen),
    })?;
    match findings.errors() {
        0 => Ok(()),
        1 => anyhow::bail!("1 finding is an error"),
        count => anyhow::bail!("{count} findings are errors"),
    }
}
