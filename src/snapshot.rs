//! One immutable published state: the catalog and everything prepared from it and from the
//! reloadable part of the configuration. A request reads one snapshot from start to end.
//!
//! Nothing here decides: it only puts what the stages need side by side.

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::authentication::Authenticator;
use crate::catalog::Catalog;
use crate::catalog::model::{Api, Direction, Operation};
use crate::catalog::router::Match;
use crate::check::decision::{Denial, Reason, Stop};
use crate::check::exemption::Exemption;
use crate::check::request::DownstreamRequest;
use crate::check::response::ApiAnswers;
use crate::upstream::mutations::{OwnedHeaders, PreparedMutations};

/// The authenticators of the configuration, by name; `anonymous` is always among them.
pub type Authenticators = HashMap<Arc<str>, Arc<Authenticator>>;

/// One published state.
#[derive(Debug)]
pub struct Snapshot {
    revision: Revision,
    catalog: Catalog,
    apis: Vec<PreparedApi>,
    owned: OwnedHeaders,
}

/// Which state it is: a digest of every document and of the reloadable configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revision(Arc<str>);

/// What the stages need of one Api, prepared when it was published.
#[derive(Debug)]
struct PreparedApi {
    authenticators: Vec<Arc<Authenticator>>,
    operations: Vec<Option<Vec<Arc<Authenticator>>>>,
    answers: ApiAnswers,
    mutations: PreparedMutations,
}

/// The Api and operation that a request is for.
#[derive(Debug, Clone, Copy)]
pub struct Route<'s> {
    snapshot: &'s Snapshot,
    matched: Match,
    /// The Api.
    pub api: &'s Api,
    /// The operation; none where the Api lets unmatched ones pass.
    pub operation: Option<&'s Operation>,
    prepared: &'s PreparedApi,
}

/// Where a request belongs.
#[derive(Debug)]
pub enum Routed<'s> {
    /// To an operation of an Api.
    To(Route<'s>),
    /// To nothing that we judge.
    Exempt(Exemption),
}
