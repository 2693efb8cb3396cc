//! `portcullis init istio`: the templates beside this file, filled in.

use url::Url;

use crate::catalog::model::HostPattern;
use crate::cli::Usage;
use crate::cli::init::{IstioArgs, Mode};
use crate::cli::made::Made;
use crate::cli::name::{is_label, slug};
use crate::spiffe::TrustDomain;

const FILES: [(&str, &str); 5] = [
    ("portcullis.yaml", include_str!("portcullis.yaml")),
    ("catalog/first.yaml", include_str!("first.yaml")),
    ("1-istiod-values.yaml", include_str!("istiod-values.yaml")),
    (
        "2-portcullis-values.yaml",
        include_str!("portcullis-values.yaml"),
    ),
    ("4-policy.yaml", include_str!("policy.yaml")),
];

/// What is asked for, checked and quoted.
#[derive(Debug)]
pub(super) struct Asked {
    /// What stands in the templates, and what takes its place.
    places: Vec<(&'static str, String)>,
    mode: Mode,
}

impl Asked {
    /// Checks the arguments.
    ///
    /// # Errors
    /// The first that cannot be.
    pub(super) fn of(args: &IstioArgs) -> Result<Self, Usage> {
        HostPattern::parse(&args.host).map_err(|reason| wrong("--host", &args.host, &reason))?;
        let issuer = Url::parse(&args.issuer).ok();
        if !issuer.is_some_and(|url| url.scheme() == "https" && url.has_host()) {
            return Err(wrong(
                "--issuer",
                &args.issuer,
                "it must be an https address",
            ));
        }
        for (flag, name) in [
            ("--namespace", &args.namespace),
            ("--gateway-namespace", &args.gateway_namespace),
            ("--gateway-service-account", &args.gateway_service_account),
        ] {
            if !is_label(name) {
                let reason = "it has lower-case letters, digits and hyphens only";
                return Err(wrong(flag, name, reason));
            }
        }
        let trust_domain = TrustDomain::parse(&args.trust_domain)
            .map_err(|reason| wrong("--trust-domain", &args.trust_domain, &reason.to_string()))?;
        let label = args.gateway_label.split_once('=');
        let (label, value) = label
            .filter(|(name, value)| !name.is_empty() && !value.is_empty())
            .ok_or_else(|| wrong("--gateway-label", &args.gateway_label, "write name=value"))?;
        let audience = args.audience.as_ref().unwrap_or(&args.host);
        let mode = match args.mode {
            Mode::Sidecar => "sidecar",
            Mode::Spiffe => "spiffe",
        };
        let namespace_label = match args.mode {
            Mode::Sidecar => "istio-injection=enabled",
            Mode::Spiffe => "istio-injection=disabled",
        };
        Ok(Self {
            places: vec![
                ("@HOST@", quoted(&args.host)),
                ("@ISSUER@", quoted(&args.issuer)),
                ("@AUDIENCE@", quoted(audience)),
                ("@CLIENT@", quoted(&args.client_id)),
                ("@LABEL@", quoted(label)),
                ("@VALUE@", quoted(value)),
                ("@API@", slug(&args.host)),
                ("@NAMESPACE@", args.namespace.clone()),
                ("@GATEWAYS@", args.gateway_namespace.clone()),
                ("@ACCOUNT@", args.gateway_service_account.clone()),
                ("@TRUST@", trust_domain.to_string()),
                ("@MODE@", mode.to_owned()),
                ("@INJECTION@", namespace_label.to_owned()),
            ],
            mode: args.mode,
        })
    }

    /// The files, in the order of what is to do.
    pub(super) fn made(&self) -> Made {
        let mut made = Made::default();
        for (path, template) in FILES {
            if path == "4-policy.yaml" && self.mode == Mode::Spiffe {
                let rule = include_str!("destination-rule.yaml");
                made.add("3-destination-rule.yaml", self.filled(rule));
            }
            made.add(path, self.filled(template));
        }
        made
    }

    fn filled(&self, template: &str) -> String {
        // one pass, so that what was filled in is not looked at again
        let (mut text, mut rest) = (String::new(), template);
        while let Some((before, after)) = rest.split_once('@') {
            text.push_str(before);
            let place = after.split_once('@').and_then(|(name, after)| {
                let place = format!("@{name}@");
                let value = self.places.iter().find(|(known, _)| *known == place)?;
                Some((&value.1, after))
            });
            (text, rest) = match place {
                Some((value, after)) => (text + value, after),
                None => (text + "@", after),
            };
        }
        text + rest
    }
}

/// A text of YAML: as it is where that is safe, else in quotes.
fn quoted(text: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-./_".contains(&byte);
    let is_address = text.starts_with("https://") && text.bytes().skip(6).all(is_plain);
    let begins = text.starts_with(|char: char| char.is_ascii_alphabetic());
    let is_word = matches!(
        text,
        "true" | "false" | "null" | "yes" | "no" | "on" | "off" | "y" | "n"
    );
    if is_address || begins && !is_word && text.bytes().all(is_plain) {
        text.to_owned()
    } else {
        serde_json::Value::from(text).to_string()
    }
}

fn wrong(flag: &str, value: &str, reason: &str) -> Usage {
    Usage(format!("{flag}: `{value}`: {reason}"))
}
