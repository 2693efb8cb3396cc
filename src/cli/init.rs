//! `portcullis init`: everything that a first protected host needs, with what to do with each part.

mod istio;

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use crate::cli::init::istio::Asked;

/// Make everything that a first protected host needs.
#[derive(Debug, Args)]
pub(super) struct InitArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// A host behind Istio's ingress gateway: mesh config, policy, values of the chart, configuration, catalog.
    Istio(IstioArgs),
}

/// A host behind Istio's ingress gateway.
#[derive(Debug, Args)]
struct IstioArgs {
    /// The host, as clients name it: `api.example`.
    #[arg(long)]
    host: String,
    /// The issuer of its clients' tokens, as their `iss` names it: an https address.
    #[arg(long, value_name = "URL")]
    issuer: String,
    /// The audience (`aud`) that the tokens must have; left out, the host.
    #[arg(long)]
    audience: Option<String>,
    /// The client id of the first application, as the issuer knows it.
    #[arg(long, default_value = "first-client")]
    client_id: String,
    /// The namespace of Portcullis.
    #[arg(long, default_value = "portcullis")]
    namespace: String,
    /// A label of the gateway's pods.
    #[arg(
        long,
        value_name = "NAME=VALUE",
        default_value = "istio=ingressgateway"
    )]
    gateway_label: String,
    /// The namespace of the gateway.
    #[arg(long, default_value = "istio-system")]
    gateway_namespace: String,
    /// The service account of the gateway.
    #[arg(long, default_value = "istio-ingressgateway-service-account")]
    gateway_service_account: String,
    /// The mesh's trust domain (`meshConfig.trustDomain`).
    #[arg(long, default_value = "cluster.local")]
    trust_domain: String,
    /// How the gateway reaches Portcullis by mutual TLS.
    #[arg(long, value_enum, default_value = "sidecar")]
    mode: Mode,
    /// Write the files into this folder instead of standard output. Files that are there already are not
    /// touched, and the command fails.
    #[arg(long, value_name = "DIR")]
    output: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Mode {
    /// A sidecar beside Portcullis ends it.
    Sidecar,
    /// Portcullis ends it, with an SVID of SPIRE's.
    Spiffe,
}

pub(super) fn run(args: &InitArgs) -> anyhow::Result<()> {
    let What::Istio(args) = &args.what;
    let asked = Asked::of(args)?;
    asked.made().give(args.output.as_deref())
}
