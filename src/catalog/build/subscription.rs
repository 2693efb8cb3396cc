//! Subscriptions, in the documents of applications and in their own: each application has one to
//! an Api at most.

use std::collections::{BTreeMap, HashMap};

use jiff::Timestamp;
use semver::{Version, VersionReq};

use crate::catalog::build::report::{Report, Site, Spot};
use crate::catalog::build::{Ids, id_of};
use crate::catalog::model::{ApiIndex, PlanIndex, Subscription, SubscriptionState};
use crate::catalog::source::choice::SubscriptionStateDocument;
use crate::catalog::source::document::{ApiDocument, ApplicationDocument, SubscriptionDocument};
use crate::catalog::source::reference::{ApiReference, TitleReference};

/// The subscriptions so far, and what they may name.
#[derive(Debug)]
pub(super) struct Subscriptions<'a, 'i> {
    apis: &'i Ids,
    plans: &'i Ids,
    titles: HashMap<(&'a str, String), Vec<(ApiIndex, &'a str)>>,
    by_application: HashMap<usize, BTreeMap<ApiIndex, Subscription>>,
    declared: HashMap<(usize, ApiIndex), Spot<'a>>,
}

/// One subscription as a document says it.
struct Entry<'e> {
    namespace: &'e str,
    application: usize,
    api: &'e ApiReference,
    plan: Option<&'e str>,
    state: SubscriptionStateDocument,
    valid_until: Option<Timestamp>,
}

impl<'a, 'i> Subscriptions<'a, 'i> {
    /// None yet, to these Apis.
    pub(super) fn new(
        documents: &[(Site<'a>, &'a ApiDocument)],
        apis: &'i Ids,
        plans: &'i Ids,
    ) -> Self {
        let mut titles: HashMap<(&'a str, String), Vec<(ApiIndex, &'a str)>> = HashMap::new();
        for (at, (_, api)) in (0..).zip(documents) {
            let key = (&*api.metadata.namespace, api.spec.title.to_lowercase());
            let versions = titles.entry(key).or_default();
            versions.push((ApiIndex(at), &api.spec.version));
        }
        Self {
            apis,
            plans,
            titles,
            by_application: HashMap::new(),
            declared: HashMap::new(),
        }
    }

    /// The subscriptions of each of `count` applications.
    pub(super) fn into_all(
        mut self,
        count: usize,
    ) -> impl Iterator<Item = BTreeMap<ApiIndex, Subscription>> {
        (0..count).map(move |at| self.by_application.remove(&at).unwrap_or_default())
    }

    fn add(&mut self, entry: &Entry<'_>, spot: Spot<'a>, report: &mut Report) {
        let plan = entry.plan.and_then(|plan| {
            let path = || format!("{}.plan", spot.path());
            self.plan((entry.namespace, plan), (spot.site, &path), report)
        });
        let apis = self.find(entry).unwrap_or_else(|message| {
            report.dangling(spot.site, &format!("{}.api", spot.path()), message);
            Vec::new()
        });
        for api in apis {
            if let Some(first) = self.declared.get(&(entry.application, api)) {
                report.wrong(
                    spot.site,
                    &format!("{}.api", spot.path()),
                    format!(
                        "the application is subscribed to this api already at {}",
                        first.place()
                    ),
                );
                continue;
            }
            self.declared.insert((entry.application, api), spot);
            let subscription = Subscription {
                plan,
                state: state(entry.state),
                valid_until: entry.valid_until,
            };
            let own = self.by_application.entry(entry.application).or_default();
            own.insert(api, subscription);
        }
    }

    /// The plan that is called `plan` in `namespace`; reports where there is none.
    pub(super) fn plan(
        &self,
        (namespace, plan): (&str, &str),
        (site, path): (Site<'_>, &dyn Fn() -> String),
        report: &mut Report,
    ) -> Option<PlanIndex> {
        let id = id_of(namespace, plan);
        let at = self.plans.get(&id).and_then(|at| u32::try_from(*at).ok());
        if at.is_none() {
            report.dangling(site, &path(), format!("there is no plan `{id}`"));
        }
        at.map(PlanIndex)
    }

    fn find(&self, entry: &Entry<'_>) -> Result<Vec<ApiIndex>, String> {
        match entry.api {
            ApiReference::Name(name) => {
                let id = id_of(entry.namespace, name);
                let at = self
                    .apis
                    .get(&id)
                    .ok_or_else(|| format!("there is no api `{id}`"))?;
                let at = u32::try_from(*at).map_err(|_| "there are too many apis".to_owned())?;
                Ok(vec![ApiIndex(at)])
            }
            ApiReference::Title(reference) => self.find_by_title(entry.namespace, reference),
        }
    }

    fn find_by_title(
        &self,
        namespace: &str,
        reference: &TitleReference,
    ) -> Result<Vec<ApiIndex>, String> {
        let TitleReference { title, version } = reference;
        let range = Range::parse(version)
            .ok_or_else(|| format!("`{version}` is no version and no range such as >=1.0, <2"))?;
        let versions = self
            .titles
            .get(&(namespace, title.to_lowercase()))
            .ok_or_else(|| {
                format!("there is no api with the title `{title}` in namespace `{namespace}`")
            })?;
        let found: Vec<ApiIndex> = versions
            .iter()
            .filter(|(_, version)| range.has(version))
            .map(|(at, _)| *at)
            .collect();
        if found.is_empty() {
            let there: Vec<&str> = versions.iter().map(|(_, version)| *version).collect();
            return Err(format!(
                "no version of `{title}` is `{version}`; there are {}",
                there.join(", ")
            ));
        }
        Ok(found)
    }
}

/// Adds the subscriptions in the document of the application at `at`.
pub(super) fn add_inline<'a>(
    at: usize,
    site: Site<'a>,
    document: &ApplicationDocument,
    subscriptions: &mut Subscriptions<'a, '_>,
    report: &mut Report,
) {
    for (place, subscription) in document.spec.subscriptions.iter().enumerate() {
        let entry = Entry {
            namespace: &document.metadata.namespace,
            application: at,
            api: &subscription.api,
            plan: subscription.plan.as_deref(),
            state: subscription.state,
            valid_until: subscription.valid_until,
        };
        let spot = Spot {
            site,
            list: "spec.subscriptions",
            at: Some(place),
            leaf: "",
        };
        subscriptions.add(&entry, spot, report);
    }
}

/// Adds the subscriptions that are documents of their own.
pub(super) fn add_documents<'a>(
    documents: &[(Site<'a>, &SubscriptionDocument)],
    applications: &Ids,
    subscriptions: &mut Subscriptions<'a, '_>,
    report: &mut Report,
) {
    for (site, document) in documents {
        let spec = &document.spec;
        let namespace = &document.metadata.namespace;
        let id = id_of(namespace, &spec.application);
        let Some(application) = applications.get(&id) else {
            report.dangling(
                *site,
                "spec.application",
                format!("there is no application `{id}`"),
            );
            continue;
        };
        let entry = Entry {
            namespace,
            application: *application,
            api: &spec.api,
            plan: spec.plan.as_deref(),
            state: spec.state,
            valid_until: spec.valid_until,
        };
        let spot = Spot {
            site: *site,
            list: "spec",
            at: None,
            leaf: "",
        };
        subscriptions.add(&entry, spot, report);
    }
}

/// A version, or a range of versions.
enum Range<'r> {
    Exact(&'r str),
    Requirement(VersionReq),
}

impl<'r> Range<'r> {
    fn parse(text: &'r str) -> Option<Self> {
        if text.contains(['<', '>', '=', '^', '~', '*', ',']) {
            VersionReq::parse(text).ok().map(Self::Requirement)
        } else {
            (!text.trim().is_empty()).then_some(Self::Exact(text))
        }
    }

    fn has(&self, version: &str) -> bool {
        match self {
            Self::Exact(exact) => *exact == version,
            Self::Requirement(requirement) => {
                padded(version).is_some_and(|version| requirement.matches(&version))
            }
        }
    }
}

/// `1`, `v1.0` and the like as the version that they begin.
fn padded(version: &str) -> Option<Version> {
    let version = version.strip_prefix(['v', 'V']).unwrap_or(version);
    let end = version.find(['-', '+']).unwrap_or(version.len());
    let (numbers, rest) = version.split_at(end);
    let missing = 3_usize.checked_sub(numbers.split('.').count())?;
    Version::parse(&format!("{numbers}{}{rest}", ".0".repeat(missing))).ok()
}

const fn state(document: SubscriptionStateDocument) -> SubscriptionState {
    match document {
        SubscriptionStateDocument::Active => SubscriptionState::Active,
        SubscriptionStateDocument::OnHold => SubscriptionState::OnHold,
        SubscriptionStateDocument::Blocked => SubscriptionState::Blocked,
        SubscriptionStateDocument::Rejected => SubscriptionState::Rejected,
    }
}
