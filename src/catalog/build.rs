//! Makes a catalog of the documents of every source: whole, or not at all.
//!
//! Every rule that needs more than the form of one document is checked here: references,
//! duplicates, operations that can never match, Apis that overlap. All that is wrong is found at
//! once, each with the file and line of both parties, and belongs to the source that has to change:
//! where two sources disagree, to the one that the configuration names later.

mod api;
mod application;
mod block;
mod credential;
mod forms;
mod limit;
mod overlap;
pub(crate) mod path;
mod plan;
mod report;
mod source;
mod subscription;
mod upstream;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use crate::catalog::build::application::Credentials;
use crate::catalog::build::forms::Forms;
use crate::catalog::build::report::{Report, Site};
use crate::catalog::build::subscription::Subscriptions;
use crate::catalog::model::limit::{Block, Plan};
use crate::catalog::model::{Api, Application, BasePath, Direction, Origin};
use crate::catalog::source::SourceDocuments;
use crate::catalog::source::document::{
    ApiDocument, ApplicationDocument, BlockDocument, DocumentBody, Metadata, PlanDocument,
    SubscriptionDocument,
};
use crate::catalog::{Catalog, Contents};
use crate::header::HeaderName;
use crate::problem::Problem;
use crate::spiffe::config::Mesh;
use crate::upstream::provider::Abilities;

/// Reads a base path, as that of an Api.
///
/// # Errors
/// Says why it is none, or never matches.
pub fn base_path(text: &str) -> Result<BasePath, String> {
    path::base_path(text)
}

/// What the configuration has that documents can name, or must not touch.
#[derive(Debug, Clone, Default)]
pub struct Known {
    /// The authenticators, `anonymous` among them, each with the headers that it reads.
    pub authenticators: BTreeMap<Arc<str>, Vec<HeaderName>>,
    /// Those of them that take subscriptions from tokens, which name an Api by title and version.
    pub token_subscriptions: BTreeSet<Arc<str>>,
    /// Where those look that take whatever stands there for a key of theirs.
    pub key_places: BTreeMap<Arc<str>, Vec<String>>,
    /// Those authenticators that verify a token, which can be exchanged for another.
    pub token_authenticators: BTreeSet<Arc<str>>,
    /// The providers, each with what an Api may ask of it.
    pub providers: BTreeMap<Arc<str>, Abilities>,
    /// The directions that check listeners serve; none where that is not known.
    pub directions: Vec<Direction>,
    /// The header of the answer that carries the decision id.
    pub decision_header: Option<HeaderName>,
    /// Whose identities count.
    pub mesh: Mesh,
}

/// A catalog, and what is dangerous in it.
#[derive(Debug)]
pub struct Built {
    /// The catalog.
    pub catalog: Catalog,
    /// What is allowed, but should be seen.
    pub warnings: Vec<Problem>,
    /// What is wrong with documents that do not make their source invalid: what they were for is denied.
    pub replaced: Vec<Problem>,
}

/// What is wrong, each with the place of its source among the sources.
#[derive(Debug)]
pub struct Refused(pub Vec<(usize, Problem)>);

/// The documents of all sources by kind, and the ids that they declare.
#[derive(Debug, Default)]
struct Documents<'a> {
    apis: Vec<(Site<'a>, &'a ApiDocument)>,
    applications: Vec<(Site<'a>, &'a ApplicationDocument)>,
    subscriptions: Vec<(Site<'a>, &'a SubscriptionDocument)>,
    plans: Vec<(Site<'a>, &'a PlanDocument)>,
    blocks: Vec<(Site<'a>, &'a BlockDocument)>,
}

/// Where each id is declared: the place among the documents of its kind.
type Ids = HashMap<String, usize>;

/// The catalog of these sources, which stand in the order of the configuration.
///
/// # Errors
/// Everything that is wrong.
pub fn build(sources: &[&SourceDocuments], known: &Known) -> Result<Built, Refused> {
    build_forms(sources, known, Report::default)
}

/// What is wrong with these although some documents are missing, as they could not be read: a
/// reference that leads nowhere may lead to one of those, and is not told.
#[must_use]
pub fn problems_of_some(sources: &[&SourceDocuments], known: &Known) -> Vec<(usize, Problem)> {
    let built = build_forms(sources, known, Report::of_some);
    built
        .err()
        .map_or_else(Vec::new, |Refused(problems)| problems)
}

/// Builds with other forms of the documents that are not valid, as long as there are any.
fn build_forms(
    sources: &[&SourceDocuments],
    known: &Known,
    report: fn() -> Report,
) -> Result<Built, Refused> {
    let mut forms = Forms::default();
    loop {
        match build_with(sources, &forms, known, report()) {
            Ok((catalog, warnings)) => {
                return Ok(Built {
                    catalog,
                    warnings,
                    replaced: forms.into_replaced(sources),
                });
            }
            Err(report) => {
                if !forms.lose(sources, &report) {
                    return Err(report.into_refused());
                }
            }
        }
    }
}

fn build_with(
    sources: &[&SourceDocuments],
    forms: &Forms,
    known: &Known,
    mut report: Report,
) -> Result<(Catalog, Vec<Problem>), Box<Report>> {
    let documents = Documents::of(sources, forms);
    let api_ids = ids(
        "api",
        documents
            .apis
            .iter()
            .map(|(site, api)| (*site, &api.metadata)),
        &mut report,
    );
    let plan_ids = ids(
        "plan",
        documents
            .plans
            .iter()
            .map(|(site, plan)| (*site, &plan.metadata)),
        &mut report,
    );
    let application_ids = ids(
        "application",
        documents
            .applications
            .iter()
            .map(|(site, application)| (*site, &application.metadata)),
        &mut report,
    );
    let apis: Vec<Option<Api>> = documents
        .apis
        .iter()
        .map(|(site, document)| api::build(*site, document, known, &mut report))
        .collect();
    overlap::check(&documents.apis, &apis, known, &mut report);
    let mut subscriptions = Subscriptions::new(&documents.apis, &api_ids, &plan_ids);
    let mut applications = applications(&documents, &known.mesh, &mut subscriptions, &mut report);
    subscription::add_documents(
        &documents.subscriptions,
        &application_ids,
        &mut subscriptions,
        &mut report,
    );
    for (application, subscriptions) in applications
        .iter_mut()
        .zip(subscriptions.into_all(documents.applications.len()))
    {
        if let Some(application) = application {
            application.subscriptions = subscriptions;
        }
    }
    let plans = plans(&documents, &mut report);
    let blocks = blocks(&documents, (&api_ids, &application_ids), &mut report);
    let warnings = report.finish()?;
    let catalog = Catalog::new(Contents {
        apis: apis.into_iter().flatten().collect(),
        applications: applications.into_iter().flatten().collect(),
        plans: plans.into_iter().flatten().collect(),
        blocks: blocks.into_iter().flatten().collect(),
    });
    Ok((catalog, warnings))
}

fn plans(documents: &Documents<'_>, report: &mut Report) -> Vec<Option<Plan>> {
    let plans = documents.plans.iter();
    plans
        .map(|(site, document)| plan::build(*site, document, report))
        .collect()
}

fn applications<'a>(
    documents: &Documents<'a>,
    mesh: &Mesh,
    subscriptions: &mut Subscriptions<'a, '_>,
    report: &mut Report,
) -> Vec<Option<Application>> {
    let mut credentials = Credentials::default();
    let mut applications = Vec::with_capacity(documents.applications.len());
    for (at, (site, document)) in documents.applications.iter().enumerate() {
        let mut application = application::build(*site, document, (&mut credentials, mesh), report);
        let plan = document.spec.plan.as_deref().and_then(|plan| {
            let named = (&*document.metadata.namespace, plan);
            let path = || "spec.plan".to_owned();
            subscriptions.plan(named, (*site, &path), report)
        });
        if let Some(application) = &mut application {
            application.plan = plan;
        }
        applications.push(application);
        subscription::add_inline(at, *site, document, subscriptions, report);
    }
    applications
}

fn blocks(
    documents: &Documents<'_>,
    known: (&Ids, &Ids),
    report: &mut Report,
) -> Vec<Option<Block>> {
    let sites = documents.blocks.iter();
    let named = sites.map(|(site, block)| (*site, &block.metadata));
    ids("block", named, report);
    let blocks = documents.blocks.iter();
    blocks
        .map(|(site, document)| block::build(*site, document, known, report))
        .collect()
}

impl<'a> Documents<'a> {
    fn of(sources: &[&'a SourceDocuments], forms: &Forms) -> Self {
        let mut documents = Self::default();
        for (at, source) in sources.iter().enumerate() {
            for (place, document) in source.documents.iter().enumerate() {
                let lost = forms.lost((at, place));
                let site = Site {
                    source: at,
                    name: &source.source,
                    yaml: &document.yaml,
                    document: place,
                    denies: document.is_denied(lost),
                };
                if let Some(body) = document.form(lost) {
                    documents.add(site, body);
                }
            }
        }
        documents
    }

    fn add(&mut self, site: Site<'a>, body: &'a DocumentBody) {
        match body {
            DocumentBody::Api(api) => self.apis.push((site, api)),
            DocumentBody::Application(application) => self.applications.push((site, application)),
            DocumentBody::Subscription(subscription) => {
                self.subscriptions.push((site, subscription));
            }
            DocumentBody::Plan(plan) => self.plans.push((site, plan)),
            DocumentBody::Block(block) => self.blocks.push((site, block)),
        }
    }
}

/// The ids of one kind: well-formed, and each declared once.
fn ids<'a>(
    kind: &str,
    documents: impl Iterator<Item = (Site<'a>, &'a Metadata)>,
    report: &mut Report,
) -> Ids {
    let mut ids = Ids::new();
    let mut sites = Vec::new();
    for (at, (site, metadata)) in documents.enumerate() {
        sites.push(site);
        for (field, name) in [("name", &metadata.name), ("namespace", &metadata.namespace)] {
            if !is_name(name) {
                report.wrong(site, &format!("metadata.{field}"), format!("`{name}` is no name: lower-case letters, digits, hyphens and dots, with a letter or digit at both ends"));
            }
        }
        let id = format!("{}/{}", metadata.namespace, metadata.name);
        match ids.get(&id).and_then(|first| sites.get(*first)) {
            Some(first) => report.wrong(
                site,
                "metadata.name",
                format!(
                    "{kind} `{id}` is declared already at {}",
                    first.place("metadata.name")
                ),
            ),
            None => {
                ids.insert(id, at);
            }
        }
    }
    ids
}

/// Whether `name` is like a DNS name in lower case.
fn is_name(name: &str) -> bool {
    let ends = |byte: Option<u8>| {
        byte.is_some_and(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
    };
    name.len() <= 253
        && ends(name.bytes().next())
        && ends(name.bytes().last())
        && name
            .bytes()
            .all(|byte| ends(Some(byte)) || byte == b'-' || byte == b'.')
}

/// The id that `reference` means in `namespace`.
fn id_of(namespace: &str, reference: &str) -> String {
    if reference.contains('/') {
        reference.to_owned()
    } else {
        format!("{namespace}/{reference}")
    }
}

fn origin(site: Site<'_>) -> Origin {
    Origin {
        source: Arc::clone(site.name),
        file: Arc::clone(site.yaml.file()),
        line: site.yaml.first_line(),
    }
}

#[cfg(test)]
mod tests;
