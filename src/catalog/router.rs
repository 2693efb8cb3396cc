//! Finds the Api and the operation of a request: by host, then by the longest base path, then by
//! method and path below it.
//!
//! The cost depends on the request and on one Api, never on how many Apis there are. A host that
//! an Api names exactly hides wildcards for that host, and the longest base path hides shorter
//! ones: a request never falls through to a wider Api. Apis with the same host and base path are
//! asked in the order of their precedence, and the first that has an operation for it takes it; a
//! path that one of them has an operation for is never taken by a later one as unmatched.

use std::collections::HashMap;

use crate::catalog::model::{
    Api, ApiIndex, Direction, HostPattern, Operation, OperationIndex, TemplateSegment,
    UnmatchedOperation,
};

/// The routing table of a catalog.
#[derive(Debug)]
pub struct Router {
    inbound: Hosts,
    outbound: Hosts,
    operations: Vec<Operations>,
}

/// What a request is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Match {
    /// The Api.
    pub api: ApiIndex,
    /// The operation; none where the Api lets unmatched ones pass.
    pub operation: Option<OperationIndex>,
}

/// Why a request is for nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoMatch {
    /// No Api claims the host.
    Host,
    /// The host is claimed, but no Api lies at the path.
    Path,
    /// This Api lies there and has no such operation.
    Operation(ApiIndex),
}

#[derive(Debug, Default)]
struct Hosts {
    exact: HashMap<Box<str>, BasePaths>,
    suffixes: HashMap<Box<str>, BasePaths>,
    any: Option<BasePaths>,
}

#[derive(Debug, Default)]
struct BasePaths {
    candidates: HashMap<Box<str>, Vec<ApiIndex>>,
    /// The number of slashes in the longest base path.
    depth: usize,
}

/// The operations of one Api, by path segment.
#[derive(Debug)]
struct Operations {
    base_path: Box<str>,
    root: Node,
    unmatched: UnmatchedOperation,
}

#[derive(Debug, Default)]
struct Node {
    literals: HashMap<Box<str>, Node>,
    parameter: Option<Box<Node>>,
    rest: Methods,
    here: Methods,
}

/// The operations of one path template, by method.
#[derive(Debug, Default)]
struct Methods {
    named: Vec<(Box<str>, OperationIndex)>,
    any: Option<OperationIndex>,
}

impl Router {
    /// The table of these Apis.
    #[must_use]
    pub(super) fn new(apis: &[Api]) -> Self {
        let mut router = Self {
            inbound: Hosts::default(),
            outbound: Hosts::default(),
            operations: apis.iter().map(Operations::new).collect(),
        };
        let mut by_precedence: Vec<(ApiIndex, &Api)> = (0..).map(ApiIndex).zip(apis).collect();
        by_precedence.sort_by_key(|(_, api)| std::cmp::Reverse(api.precedence));
        for (at, api) in by_precedence {
            let hosts = match api.direction {
                Direction::Inbound => &mut router.inbound,
                Direction::Outbound => &mut router.outbound,
            };
            for host in &api.hosts {
                hosts.base_paths_mut(host).add(api.base_path.as_str(), at);
            }
        }
        router
    }

    /// Finds the Api and operation for `host`, `path` (without query, in normal form) and `method`.
    ///
    /// # Errors
    /// Says how far the search came.
    pub fn find(
        &self,
        direction: Direction,
        host: &str,
        path: &str,
        method: &str,
    ) -> Result<Match, NoMatch> {
        let hosts = match direction {
            Direction::Inbound => &self.inbound,
            Direction::Outbound => &self.outbound,
        };
        let base_paths = hosts.find(host).ok_or(NoMatch::Host)?;
        let candidates = base_paths.find(path).ok_or(NoMatch::Path)?;
        let (mut claimed, mut without) = (None, None);
        for api in candidates {
            match self.look(*api, path, method)? {
                Looked::Found(found) if found.operation.is_some() || claimed.is_none() => {
                    return Ok(found);
                }
                // the path is another Api's: only an operation for it can take the request
                Looked::Found(_) => {}
                Looked::OtherMethod => claimed = claimed.or(Some(*api)),
                Looked::Nothing => without = without.or(Some(*api)),
            }
        }
        Err(claimed
            .or(without)
            .map_or(NoMatch::Path, NoMatch::Operation))
    }

    /// Finds the operation of the Api at `api`, which something else has chosen.
    ///
    /// # Errors
    /// [`NoMatch::Path`] where the path does not lie below the Api's base path,
    /// [`NoMatch::Operation`] where it has no such operation.
    pub fn find_operation(
        &self,
        api: ApiIndex,
        path: &str,
        method: &str,
    ) -> Result<Match, NoMatch> {
        match self.look(api, path, method)? {
            Looked::Found(found) => Ok(found),
            Looked::OtherMethod | Looked::Nothing => Err(NoMatch::Operation(api)),
        }
    }

    fn look(&self, api: ApiIndex, path: &str, method: &str) -> Result<Looked, NoMatch> {
        let at = usize::try_from(api.0).ok();
        let operations = at
            .and_then(|at| self.operations.get(at))
            .ok_or(NoMatch::Path)?;
        let below = below(path, &operations.base_path).ok_or(NoMatch::Path)?;
        if let Some(methods) = operations.find(below) {
            let operation = methods.find(method);
            return Ok(operation.map_or(Looked::OtherMethod, |operation| {
                Looked::Found(Match {
                    api,
                    operation: Some(operation),
                })
            }));
        }
        // a final slash must not lead around the rules of the operation before it
        let without_slash = below.strip_suffix('/').filter(|path| !path.is_empty());
        let is_variant = without_slash.is_some_and(|path| operations.find(path).is_some());
        Ok(match operations.unmatched {
            UnmatchedOperation::Allow if is_variant => Looked::OtherMethod,
            UnmatchedOperation::Allow => Looked::Found(Match {
                api,
                operation: None,
            }),
            UnmatchedOperation::Deny => Looked::Nothing,
        })
    }
}

/// What an Api has at a path.
enum Looked {
    /// What the request is for.
    Found(Match),
    /// An operation, but not for the method; or one at the path without its final slash.
    OtherMethod,
    /// Nothing.
    Nothing,
}

impl Hosts {
    fn base_paths_mut(&mut self, host: &HostPattern) -> &mut BasePaths {
        match host {
            HostPattern::Exact(host) => self.exact.entry(host.clone()).or_default(),
            HostPattern::Suffix(suffix) => self.suffixes.entry(suffix.clone()).or_default(),
            HostPattern::Any => self.any.get_or_insert_default(),
        }
    }

    /// The most specific claim to `host`: itself, then the longest suffix, then any host.
    fn find(&self, host: &str) -> Option<&BasePaths> {
        if let Some(found) = self.exact.get(host) {
            return Some(found);
        }
        let mut rest = host;
        while let Some((_, suffix)) = rest.split_once('.') {
            if let Some(found) = self.suffixes.get(suffix) {
                return Some(found);
            }
            rest = suffix;
        }
        self.any.as_ref()
    }
}

impl BasePaths {
    fn add(&mut self, base_path: &str, api: ApiIndex) {
        self.depth = self.depth.max(base_path.matches('/').count());
        self.candidates
            .entry(base_path.into())
            .or_default()
            .push(api);
    }

    /// The Apis of the longest base path that `path` lies below, by whole segments.
    fn find(&self, path: &str) -> Option<&[ApiIndex]> {
        let slashes = path
            .match_indices('/')
            .map(|(at, _)| at)
            .skip(1)
            .chain([path.len()]);
        let ends: Vec<usize> = std::iter::once(0)
            .chain(slashes)
            .take(self.depth + 1)
            .collect();
        ends.iter()
            .rev()
            .find_map(|end| self.candidates.get(path.get(..*end)?))
            .map(Vec::as_slice)
    }
}

impl Operations {
    fn new(api: &Api) -> Self {
        let mut root = Node::default();
        for (at, operation) in (0..).map(OperationIndex).zip(&api.operations) {
            root.add(&operation.path.segments, operation, at);
        }
        Self {
            base_path: api.base_path.as_str().into(),
            root,
            unmatched: api.unmatched_operation,
        }
    }

    /// The most specific path template for `below`. It decides alone: if it does not have the
    /// method, no wider one is asked.
    fn find(&self, below: &str) -> Option<&Methods> {
        let path = below.strip_prefix('/').unwrap_or(below);
        if path.is_empty() {
            self.root.here.filled()
        } else {
            self.root.find(path)
        }
    }
}

impl Node {
    fn add(&mut self, segments: &[TemplateSegment], operation: &Operation, at: OperationIndex) {
        match segments.split_first() {
            None => self.here.add(operation, at),
            Some((TemplateSegment::Rest, _)) => self.rest.add(operation, at),
            Some((TemplateSegment::Literal(text), rest)) => {
                self.literals
                    .entry(text.clone())
                    .or_default()
                    .add(rest, operation, at);
            }
            Some((TemplateSegment::Parameter, rest)) => {
                self.parameter
                    .get_or_insert_default()
                    .add(rest, operation, at);
            }
        }
    }

    /// The most specific template for `path`, which is not empty: literals before parameters
    /// before the rest, segment by segment.
    fn find(&self, path: &str) -> Option<&Methods> {
        let (segment, rest) = path
            .split_once('/')
            .map_or((path, None), |(segment, rest)| (segment, Some(rest)));
        self.literals
            .get(segment)
            .and_then(|node| node.end_or_find(rest))
            .or_else(|| {
                let parameter = self.parameter.as_ref().filter(|_| !segment.is_empty())?;
                parameter.end_or_find(rest)
            })
            .or_else(|| self.rest.filled().filter(|_| !path.is_empty()))
    }

    fn end_or_find(&self, rest: Option<&str>) -> Option<&Methods> {
        match rest {
            None => self.here.filled(),
            Some(rest) => self.find(rest),
        }
    }
}

impl Methods {
    fn add(&mut self, operation: &Operation, at: OperationIndex) {
        if operation.methods.is_empty() {
            self.any.get_or_insert(at);
        }
        self.named
            .extend(operation.methods.iter().map(|method| (method.clone(), at)));
    }

    fn filled(&self) -> Option<&Self> {
        (self.any.is_some() || !self.named.is_empty()).then_some(self)
    }

    fn find(&self, method: &str) -> Option<OperationIndex> {
        let named = self
            .named
            .iter()
            .find(|(name, _)| **name == *method)
            .map(|(_, at)| *at);
        named.or(self.any)
    }
}

/// The part of `path` below `base_path`, where it lies there by whole segments.
fn below<'a>(path: &'a str, base_path: &str) -> Option<&'a str> {
    path.strip_prefix(base_path)
        .filter(|rest| rest.is_empty() || rest.starts_with('/'))
}

#[cfg(test)]
mod tests;
