//! Apis that claim the same: the same host and base path, or the same title and version.

use std::collections::HashMap;

use crate::catalog::build::Known;
use crate::catalog::build::report::{Report, Site};
use crate::catalog::model::{
    Api, BasePath, Direction, HostPattern, TemplateSegment, UnmatchedOperation,
};
use crate::catalog::source::document::ApiDocument;

/// Reports Apis whose claims contradict, and those that never get a request.
pub(super) fn check(
    documents: &[(Site<'_>, &ApiDocument)],
    apis: &[Option<Api>],
    known: &Known,
    report: &mut Report,
) {
    let built: Vec<(Site<'_>, &Api)> = documents
        .iter()
        .zip(apis)
        .filter_map(|((site, _), api)| Some((*site, api.as_ref()?)))
        .collect();
    check_titles(&built, report);
    check_titles_of_tokens(&built, known, report);
    check_routes(&built, report);
}

/// Tokens and subscriptions name an Api by title and version.
fn check_titles(apis: &[(Site<'_>, &Api)], report: &mut Report) {
    let mut seen: HashMap<(&str, String, &str), Site<'_>> = HashMap::with_capacity(apis.len());
    for (site, api) in apis {
        let key = (namespace(api), api.title.to_lowercase(), &*api.version);
        match seen.get(&key) {
            Some(first) => report.wrong(
                *site,
                "spec.title",
                format!(
                    "title and version are those of the api at {}; subscriptions could not tell them apart",
                    first.place("spec.title")
                ),
            ),
            None => {
                seen.insert(key, *site);
            }
        }
    }
}

/// A token names no namespace: where its subscriptions count, an Api is its title and version.
fn check_titles_of_tokens(apis: &[(Site<'_>, &Api)], known: &Known, report: &mut Report) {
    let mut same: HashMap<(String, &str), Vec<usize>> = HashMap::new();
    if known.token_subscriptions.is_empty() {
        return;
    }
    for (at, (_, api)) in apis.iter().enumerate() {
        let key = (api.title.to_lowercase(), &*api.version);
        same.entry(key).or_default().push(at);
    }
    let mut clashes: Vec<Vec<usize>> = same
        .into_values()
        .filter(|same| {
            same.iter()
                .filter_map(|at| apis.get(*at))
                .any(|(_, api)| takes_token_subscriptions(api, known))
        })
        .collect();
    clashes.sort();
    for clash in clashes {
        let mut clash = clash.iter().filter_map(|at| apis.get(*at));
        let Some((first, first_api)) = clash.next() else {
            continue;
        };
        for (site, api) in clash {
            // those of one namespace are refused already
            if namespace(api) != namespace(first_api) {
                report.wrong(*site, "spec.title", format!(
                    "title and version are those of the api at {}, in another namespace: a token that lists its subscriptions could not tell them apart",
                    first.place("spec.title"),
                ));
            }
        }
    }
}

fn namespace(api: &Api) -> &str {
    api.id.as_str().split('/').next().unwrap_or_default()
}

fn takes_token_subscriptions(api: &Api, known: &Known) -> bool {
    let of_operations = api
        .operations
        .iter()
        .filter_map(|operation| operation.authenticators.as_ref());
    of_operations
        .chain([&api.authenticators])
        .flatten()
        .any(|name| known.token_subscriptions.contains(name))
}

fn check_routes(apis: &[(Site<'_>, &Api)], report: &mut Report) {
    let mut places: HashMap<(Direction, &HostPattern, &BasePath), Vec<usize>> = HashMap::new();
    for (at, (_, api)) in apis.iter().enumerate() {
        for host in &api.hosts {
            let key = (api.direction, host, &api.base_path);
            places.entry(key).or_default().push(at);
        }
    }
    let mut clashes: Vec<(usize, usize, &HostPattern)> = Vec::new();
    // by Api: at how many of its hosts another takes everything, and which
    let mut hidden: HashMap<usize, (usize, usize)> = HashMap::new();
    for ((_, host, _), mut candidates) in places {
        candidates.sort_by_key(|at| precedence(apis, *at));
        for pair in candidates.windows(2) {
            if let [first, second] = pair
                && (precedence(apis, *first).0 == precedence(apis, *second).0
                    || precedence(apis, *second).0.0.is_none())
            {
                clashes.push((*first.min(second), *first.max(second), host));
            }
        }
        let mut in_order = candidates.iter();
        if let Some(taker) =
            in_order.find(|at| apis.get(**at).is_some_and(|(_, api)| takes_all(api)))
        {
            // without a precedence of both they clash, which is told above
            let is_ordered = |at: &&usize| precedence(apis, **at).0.0.is_some();
            for at in in_order.filter(is_ordered) {
                hidden.entry(*at).or_insert((0, *taker)).0 += 1;
            }
        }
    }
    clashes.sort();
    clashes.dedup_by_key(|(first, second, _)| (*first, *second));
    for (first, second, host) in clashes {
        if let (Some((first, _)), Some((second, api))) = (apis.get(first), apis.get(second)) {
            report.wrong(*second, "spec.hosts", format!(
                "host `{host}` and base path `{}/` are also those of the api at {}: give both a `precedence` of their own",
                api.base_path.as_str(), first.place("spec.hosts"),
            ));
        }
    }
    report_hidden(apis, hidden, report);
}

fn report_hidden(
    apis: &[(Site<'_>, &Api)],
    hidden: HashMap<usize, (usize, usize)>,
    report: &mut Report,
) {
    let mut hidden: Vec<_> = hidden.into_iter().collect();
    hidden.sort();
    for (at, (hosts, taker)) in hidden {
        if let (Some((site, api)), Some((taker, _))) = (apis.get(at), apis.get(taker))
            && api.hosts.len() == hosts
        {
            report.wrong(*site, "spec.precedence", format!(
                "its operations never match: the api at {} has the greater precedence and takes every request to the same hosts and base path",
                taker.place("spec.precedence"),
            ));
        }
    }
}

/// The order in which the router asks.
fn precedence(apis: &[(Site<'_>, &Api)], at: usize) -> (std::cmp::Reverse<Option<i32>>, usize) {
    let precedence = apis.get(at).and_then(|(_, api)| api.precedence);
    (std::cmp::Reverse(precedence), at)
}

/// Whether no request to its base path is left to an Api that is asked later.
fn takes_all(api: &Api) -> bool {
    let takes = |shape: &[TemplateSegment]| {
        let mut operations = api.operations.iter();
        operations.any(|operation| operation.methods.is_empty() && operation.path.segments == shape)
    };
    api.unmatched_operation == UnmatchedOperation::Allow
        || (api
            .operations
            .iter()
            .all(|operation| operation.methods.is_empty())
            && takes(&[])
            && takes(&[TemplateSegment::Rest]))
}
