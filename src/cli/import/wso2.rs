//! `portcullis import wso2`: what WSO2's Mixer adapter for Istio was configured with, as a configuration, Apis
//! and the objects that make Istio ask us.

mod apis;
mod istio;
mod objects;
mod patterns;
mod settings;

use std::path::PathBuf;

use clap::Args;

use crate::cli::import::Target;
use crate::cli::import::document::{Node, text, texts, yaml};
use crate::cli::import::report::{Report, counted};
use crate::cli::import::wso2::objects::Objects;
use crate::cli::import::wso2::settings::Settings;
use crate::cli::made::Made;

/// The name of the authenticator, and of the file of its key.
const AUTHENTICATOR: &str = "wso2";
const KEY_FILE: &str = "server.pem";

/// WSO2's Mixer adapter for Istio.
#[derive(Debug, Args)]
pub(super) struct Wso2Args {
    /// The files: the adapter's objects as YAML, and server.pem or the Secret that holds it.
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// A host by which clients name the APIs at the gateway, beside those of their Services; may be repeated.
    #[arg(long)]
    host: Vec<String>,
    /// The issuer of the tokens: their `iss`, which the adapter did not look at. Left out, what WSO2 API
    /// Manager 2.6 writes as it is shipped.
    #[arg(long, default_value = "https://localhost:9443/oauth2/token")]
    issuer: String,
    /// The audience of the tokens: their `aud`, which the adapter did not look at. Left out, what WSO2 API
    /// Manager 2.6 writes.
    #[arg(long, default_value = "http://org.wso2.apimgt/gateway")]
    audience: String,
    #[command(flatten)]
    pub(super) target: Target,
}

/// Makes documents of the files.
pub(super) fn import(args: &Wso2Args, report: &mut Report) -> anyhow::Result<(Made, String)> {
    let objects = Objects::read(&args.files)?;
    let settings = Settings::of(&objects, report);
    let apis = apis::documents(&objects, &args.host, &settings, report)?;
    let mut made = Made::default();
    made.add("portcullis.yaml", configuration(args, &settings)?);
    made.add("catalog/wso2.yaml", apis.join("---\n"));
    match &objects.key {
        Some(key) => made.add(KEY_FILE, key.clone()),
        None => report.remains(format!("copy {KEY_FILE}, the certificate that the Secret server-cert holds, beside portcullis.yaml")),
    }
    istio::add(&objects, &mut made, report)?;
    tell(args, report);
    Ok((made, counted(apis.len(), "api")))
}

fn configuration(args: &Wso2Args, settings: &Settings) -> anyhow::Result<String> {
    let mut authenticator = vec![
        ("type", text("jwt")),
        ("issuer", text(&args.issuer)),
        ("keys", Node::Map(vec![("pemFile", text(KEY_FILE))])),
        ("audiences", texts([&args.audience])),
        ("algorithms", texts(["RS256"])),
    ];
    let mut claims = vec![("clientId", text("consumerKey"))];
    if settings.subscriptions {
        claims.push(("subscriptions", text("subscribedAPIs")));
        claims.push(("application", text("application")));
    }
    authenticator.push(("claims", Node::Map(claims)));
    if settings.subscriptions {
        authenticator.push(("subscriptions", text("token")));
    }
    let source = Node::Map(vec![
        ("name", text("main")),
        ("type", text("file")),
        ("path", text("catalog")),
    ]);
    yaml(&Node::Map(vec![
        (
            "authenticators",
            Node::Map(vec![(AUTHENTICATOR, Node::Map(authenticator))]),
        ),
        (
            "catalog",
            Node::Map(vec![("sources", Node::List(vec![source]))]),
        ),
    ]))
}

fn tell(args: &Wso2Args, report: &mut Report) {
    report.changed(format!(
        "`iss` and `aud` of tokens are verified, which the adapter did not do: tokens of another issuer than `{}` or without the audience `{}` are denied (`--issuer`, `--audience`)",
        args.issuer, args.audience
    ));
    report.changed("a missing scope is 403, not 401; a missing credential is 401 with a challenge; where Portcullis cannot decide, the answer is 503");
    report.remains("plans: where tokens name one (`subscriptionTier`), add a Plan of that name to the catalog, `Unlimited` aside; they are denied without it");
    report.remains("opaque tokens, which the adapter sent to the key manager by SOAP: add an authenticator of type `introspection` with the key manager's introspection address, and name it in the Apis");
    report.remains(
        "the listeners are on loopback: in the cluster the chart writes them, with `peers`",
    );
    report.remains("when the new policy is applied, delete handler, instance, rule, HTTPAPISpec and HTTPAPISpecBinding; the Secret wso2server-secret, which holds a password, is needed no more");
}
