//! `portcullis import openapi`: an Api of a description in OpenAPI 3.0, 3.1 or Swagger 2.0.

mod operations;
mod places;
mod refusals;
mod security;

use std::path::PathBuf;

use clap::Args;
use serde_json::Value;

use crate::catalog::source::document::API_VERSION;
use crate::cli::Usage;
use crate::cli::import::Target;
use crate::cli::import::document::{Node, text, texts, yaml};
use crate::cli::import::input::Input;
use crate::cli::import::openapi::operations::{Operation, operations};
use crate::cli::import::openapi::places::{Place, place};
use crate::cli::import::openapi::refusals::refuse_opened;
use crate::cli::import::openapi::security::Schemes;
use crate::cli::import::report::{Report, counted};
use crate::cli::made::Made;
use crate::cli::name::{is_label, slug};
use crate::problem::Problems;

/// A description of an API, OpenAPI 3.0 or 3.1 or Swagger 2.0: an Api of the catalog.
#[derive(Debug, Args)]
pub(super) struct OpenapiArgs {
    /// The file, YAML or JSON.
    file: PathBuf,
    /// A host of the Api, in place of those of its servers; may be repeated.
    #[arg(long)]
    host: Vec<String>,
    /// The name of the Api; left out, what its title and version give.
    #[arg(long)]
    name: Option<String>,
    /// The authenticator that stands for every security scheme; left out, each scheme stands for one of
    /// its own name.
    #[arg(long)]
    authenticator: Option<String>,
    /// Let operations without security (`security: []`) be called by everybody, as their description says.
    /// Left out, such a description is refused.
    #[arg(long)]
    allow_anonymous: bool,
    #[command(flatten)]
    pub(super) target: Target,
}

/// Which words a description is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dialect {
    /// OpenAPI 3.
    Openapi,
    /// Swagger 2.0.
    Swagger,
}

/// Makes an Api of a file.
pub(super) fn import(args: &OpenapiArgs, report: &mut Report) -> anyhow::Result<(Made, String)> {
    let input = Input::read(&args.file)?;
    let [document] = input.documents.as_slice() else {
        return Err(input.problem("", "one description is expected").into());
    };
    let dialect = dialect(&input, document)?;
    let title = info(&input, document, "title")?;
    let version = info(&input, document, "version")?;
    let name = match &args.name {
        Some(name) => name.clone(),
        None => slug(&format!("{title}-{version}")),
    };
    if !is_label(&name.replace('.', "-")) {
        let reason = "a name has lower-case letters, digits, hyphens and dots";
        return Err(Usage(format!("--name: `{name}`: {reason}")).into());
    }
    let place = place(&input, document, dialect, &args.host, report)?;
    let schemes = Schemes::of(document, dialect, args.authenticator.as_deref());
    schemes.tell(report);
    let all = operations(&input, document, &schemes, report)?;
    let (open, closed): (Vec<_>, Vec<_>) = all.into_iter().partition(|one| one.is_anonymous());
    refuse_anonymous(&input, &open, args.allow_anonymous, report)?;
    refuse_opened(&input, &open, &closed, report)?;
    let count = open.len() + closed.len();
    let apis = Apis {
        name: &name,
        title,
        version,
        place,
        schemes,
    };
    let documents = apis.documents(&open, &closed)?;
    if documents.is_empty() {
        let reason = "no operation of it can be carried over";
        return Err(input.problem("paths", reason).into());
    }
    tell_rest(&apis.schemes, report);
    let (apis, count) = (counted(documents.len(), "api"), counted(count, "operation"));
    let mut made = Made::default();
    made.add(format!("catalog/{name}.yaml"), documents.join("---\n"));
    Ok((made, format!("{apis}, {count}")))
}

/// What the documents have in common.
struct Apis<'a> {
    name: &'a str,
    title: &'a str,
    version: &'a str,
    place: Place,
    schemes: Schemes<'a>,
}

impl Apis<'_> {
    /// One Api of the operations that everybody may call, and one of the others, which is asked first.
    fn documents(&self, open: &[Operation], closed: &[Operation]) -> anyhow::Result<Vec<String>> {
        let mut documents = Vec::new();
        let has_both = !open.is_empty() && !closed.is_empty();
        let first = |number| has_both.then_some(("precedence", Node::Number(number)));
        if !open.is_empty() {
            let mut more = vec![
                ("authenticators", texts(["anonymous"])),
                ("subscription", text("none")),
            ];
            more.extend(first(0));
            documents.push(self.document("-open", open, more)?);
        }
        if !closed.is_empty() {
            let mut more = vec![("authenticators", texts(self.schemes.names()))];
            more.extend(first(1));
            documents.push(self.document("", closed, more)?);
        }
        Ok(documents)
    }

    fn document(
        &self,
        suffix: &str,
        operations: &[Operation],
        more: Vec<(&'static str, Node)>,
    ) -> anyhow::Result<String> {
        let mut spec = vec![
            ("title", text(format!("{}{suffix}", self.title))),
            ("version", text(self.version)),
            ("hosts", texts(&self.place.hosts)),
            ("basePath", text(&self.place.base_path)),
        ];
        spec.extend(more);
        let operations = operations.iter().map(|one| one.node(&self.schemes));
        spec.push(("operations", Node::List(operations.collect())));
        let name = text(format!("{}{suffix}", self.name));
        yaml(&Node::Map(vec![
            ("apiVersion", text(API_VERSION)),
            ("kind", text("Api")),
            ("metadata", Node::Map(vec![("name", name)])),
            ("spec", Node::Map(spec)),
        ]))
    }
}

/// A text of `info`.
fn info<'d>(input: &Input, document: &'d Value, key: &str) -> Result<&'d str, Problems> {
    let place = format!("info.{key}");
    match document.pointer(&format!("/info/{key}")) {
        Some(Value::String(text)) => Ok(text),
        Some(_) => Err(input.problem(&place, "it must be a text: write it in quotes")),
        None => Err(input.problem(&place, "it is missing")),
    }
}

fn tell_rest(schemes: &Schemes, report: &mut Report) {
    report.changed(
        "parameters, bodies and answers are not looked at; what no operation describes is denied",
    );
    report.remains("the Api asks for a subscription: add Applications and Subscriptions, or write `subscription: none`");
    let names: Vec<String> = schemes
        .names()
        .iter()
        .map(|name| format!("`{name}`"))
        .collect();
    report.remains(format!(
        "the configuration must have the authenticators {}",
        names.join(", ")
    ));
}

fn dialect(input: &Input, document: &Value) -> Result<Dialect, Problems> {
    // a number is written `2.0` in some files
    let version = |key: &str| {
        let version = document.get(key)?;
        Some(
            version
                .as_str()
                .map_or_else(|| version.to_string(), str::to_owned),
        )
    };
    match (version("openapi"), version("swagger")) {
        (Some(version), None) if version.starts_with("3.0") || version.starts_with("3.1") => {
            Ok(Dialect::Openapi)
        }
        (None, Some(version)) if version == "2.0" => Ok(Dialect::Swagger),
        (None, None) => Err(input.problem(
            "",
            "this is no description of an API; expected `openapi: 3.0.x`, `openapi: 3.1.x` or `swagger: \"2.0\"`",
        )),
        (_, _) => Err(input.problem("", "this version is not known; expected OpenAPI 3.0 or 3.1, or Swagger 2.0")),
    }
}

fn refuse_anonymous(
    input: &Input,
    open: &[Operation],
    allowed: bool,
    report: &mut Report,
) -> Result<(), Problems> {
    let mut problems = Problems::new();
    for operation in open {
        if allowed {
            report.changed(format!("{}: everybody may call it", operation.place));
        } else {
            problems.extend(input.problem(
                &operation.place,
                "everybody may call it (`security: []`, or `{}` in it): give it a security requirement, or say `--allow-anonymous`",
            ));
        }
    }
    problems.into_result(())
}
