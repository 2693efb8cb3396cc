//! Whether the caller's application is known and active, and subscribed to the Api.
//!
//! Judged on every request, whatever has been remembered of the credential.

use std::sync::Arc;

use jiff::Timestamp;

use crate::authentication::principal::{
    ClaimedSubscription, ClientIdentity, Principal, SubscriptionSource,
};
use crate::catalog::Catalog;
use crate::catalog::model::limit::Plan;
use crate::catalog::model::{
    Application, ApplicationState, Subscription, SubscriptionRule, SubscriptionState,
};
use crate::check::decision::{Denial, Reason};
use crate::routing::Route;

/// The application and subscription that a caller has been found to have.
#[derive(Debug, Clone)]
pub struct Standing<'s> {
    application: Option<KnownApplication<'s>>,
    plan: Option<SubscribedPlan<'s>>,
}

/// The plan of a subscription.
#[derive(Debug, Clone)]
enum SubscribedPlan<'s> {
    /// Named by the catalog.
    Catalog(&'s Plan),
    /// Named by the token, and where the catalog has it.
    Token(Arc<str>, Option<&'s Plan>),
}

/// Where an application is known.
#[derive(Debug, Clone, Copy)]
pub enum KnownApplication<'s> {
    /// In the catalog.
    Catalog(&'s Application),
    /// In the verified token alone ([`crate::authentication::principal::Identity`]).
    Claimed,
}

/// A refusal, with the application where it was found.
#[derive(Debug)]
pub struct Refused<'s> {
    /// Why.
    pub denial: Denial,
    /// Whom.
    pub application: Option<&'s Application>,
}

impl<'s> Standing<'s> {
    /// The application, if any.
    #[must_use]
    pub fn application(&self) -> Option<KnownApplication<'s>> {
        self.application
    }

    /// The name of the subscription's plan, if any.
    #[must_use]
    pub fn plan(&self) -> Option<&str> {
        Some(match self.plan.as_ref()? {
            SubscribedPlan::Catalog(plan) => plan.id.as_str(),
            SubscribedPlan::Token(name, _) => name,
        })
    }

    /// The plans whose limits hold: the subscription's and the application's own. One that is both
    /// counts once.
    pub fn plans(&self, catalog: &'s Catalog) -> impl Iterator<Item = &'s Plan> {
        let subscribed = match self.plan {
            Some(SubscribedPlan::Catalog(plan)) => Some(plan),
            Some(SubscribedPlan::Token(_, plan)) => plan,
            None => None,
        };
        let own = match self.application {
            Some(KnownApplication::Catalog(application)) => {
                application.plan.and_then(|plan| catalog.plan(plan))
            }
            Some(KnownApplication::Claimed) | None => None,
        };
        let own = own.filter(|own| subscribed.is_none_or(|plan| plan.id != own.id));
        subscribed.into_iter().chain(own)
    }

    /// The id of the application, where the catalog has it.
    #[must_use]
    pub fn application_id(&self) -> Option<&'s str> {
        match self.application? {
            KnownApplication::Catalog(application) => Some(application.id.as_str()),
            KnownApplication::Claimed => None,
        }
    }
}

/// How `principal` stands with the route's Api at `now`.
///
/// # Errors
/// `application_unknown`, `application_suspended`, `subscription_missing` or
/// `subscription_inactive`.
pub fn standing<'s>(
    route: &Route<'s>,
    principal: &Principal<'_>,
    now: Timestamp,
) -> Result<Standing<'s>, Refused<'s>> {
    let found = find_application(route, principal);
    let refused = |reason, detail: String| Refused {
        denial: Denial::new(reason, detail),
        application: found,
    };
    if let Some(application) = found
        && application.state == ApplicationState::Suspended
    {
        return Err(refused(
            Reason::ApplicationSuspended,
            format!("application `{}` is suspended", application.id),
        ));
    }
    let in_catalog =
        found.and_then(|application| application.subscriptions.get(&route.api_index()));
    let known = found.map(KnownApplication::Catalog);
    let application = found.map(|application| application.id.as_str());
    explain(route, principal, application, in_catalog);
    if route.api.subscription == SubscriptionRule::NotNeeded {
        return Ok(Standing {
            application: known,
            plan: None,
        });
    }
    if let Some(subscription) = in_catalog
        && let Some(why) = inactive(subscription, now)
    {
        return Err(refused(
            Reason::SubscriptionInactive,
            format!("the subscription is {why}"),
        ));
    }
    match subscribed(route, principal, known, in_catalog) {
        Ok(Some(standing)) => return Ok(standing),
        Ok(None) => {}
        Err(UnknownPlan(plan)) => {
            return Err(refused(
                Reason::SubscriptionInactive,
                format!(
                    "the token's subscription has the plan `{plan}`, which the catalog does not have"
                ),
            ));
        }
    }
    match (route.api.subscription, found) {
        // `NotNeeded` has been answered above; it would be no more than `Optional`
        (SubscriptionRule::Optional | SubscriptionRule::NotNeeded, _) => Ok(Standing {
            application: known,
            plan: None,
        }),
        (SubscriptionRule::Required, None) => {
            Err(refused(Reason::ApplicationUnknown, unknown(principal)))
        }
        (SubscriptionRule::Required, Some(application)) => Err(refused(
            Reason::SubscriptionMissing,
            format!(
                "application `{}` has no subscription to `{}`",
                application.id, route.api.id
            ),
        )),
    }
}

/// Tells `explain` what is compared.
fn explain(
    route: &Route<'_>,
    principal: &Principal<'_>,
    application: Option<&str>,
    in_catalog: Option<&Subscription>,
) {
    tracing::trace!(
        target: "portcullis::explain",
        stage = "authorize",
        found = match (application, in_catalog) {
            (None, _) => "no application in the catalog",
            (Some(_), None) => "an application without a subscription in the catalog",
            (Some(_), Some(_)) => "an application with a subscription",
        },
        application,
        compared = "subscription",
        rule = match route.api.subscription {
            SubscriptionRule::Required => "required",
            SubscriptionRule::Optional => "optional",
            SubscriptionRule::NotNeeded => "none",
        },
        looked_in = match principal.subscriptions() {
            SubscriptionSource::Catalog => "catalog",
            SubscriptionSource::Token => "token",
            SubscriptionSource::TokenThenCatalog => "token, then catalog",
        },
        state = in_catalog.map(|subscription| subscription.state.name()),
        plan = in_catalog
            .and_then(|subscription| route.catalog().plan(subscription.plan?))
            .map(|plan| plan.id.as_str()),
        valid_until = in_catalog
            .and_then(|subscription| subscription.valid_until)
            .map(|end| end.to_string()),
    );
}

/// A token's subscription has a plan that the catalog does not have, so that its limits are unknown.
struct UnknownPlan(Arc<str>);

/// WSO2's name of the plan that has no limits; it need not be declared.
const UNLIMITED: &str = "unlimited";

/// The subscription that counts, by the source that the authenticator names. The catalog's has
/// been found active before.
fn subscribed<'s>(
    route: &Route<'s>,
    principal: &Principal<'_>,
    known: Option<KnownApplication<'s>>,
    in_catalog: Option<&'s Subscription>,
) -> Result<Option<Standing<'s>>, UnknownPlan> {
    let identity = principal.identity();
    let claims = identity.subscribed_apis.as_deref();
    let catalog_plan = || {
        let plan = in_catalog?.plan?;
        route.catalog().plan(plan).map(SubscribedPlan::Catalog)
    };
    let by_catalog = || {
        in_catalog.map(|_| Standing {
            application: known,
            plan: catalog_plan(),
        })
    };
    let by_token = |claims: &[ClaimedSubscription]| {
        let Some(claimed) = claims.iter().find(|claimed| names(claimed, route)) else {
            return Ok(None);
        };
        let plan = match &claimed.plan {
            Some(plan) => Some(claimed_plan(route, plan)?),
            // a token that says nothing of a plan leaves that to the catalog
            None => catalog_plan(),
        };
        Ok(Some(Standing {
            application: known.or(Some(KnownApplication::Claimed)),
            plan,
        }))
    };
    match (principal.subscriptions(), claims) {
        (SubscriptionSource::Catalog, _) | (SubscriptionSource::TokenThenCatalog, None) => {
            Ok(by_catalog())
        }
        (SubscriptionSource::Token, claims) => by_token(claims.unwrap_or_default()),
        (SubscriptionSource::TokenThenCatalog, Some(claims)) => {
            Ok(by_token(claims)?.or_else(by_catalog))
        }
    }
}

/// The plan that a token calls `name`: the one of the Api's namespace with that name in lower case.
fn claimed_plan<'s>(route: &Route<'s>, name: &Arc<str>) -> Result<SubscribedPlan<'s>, UnknownPlan> {
    let namespace = route.api.id.namespace();
    let lower = name.to_lowercase();
    let catalog = route.catalog();
    let plan = catalog.index().plan(&format!("{namespace}/{lower}"));
    let plan = plan.and_then(|plan| catalog.plan(plan));
    if plan.is_none() && lower != UNLIMITED {
        return Err(UnknownPlan(Arc::clone(name)));
    }
    Ok(SubscribedPlan::Token(Arc::clone(name), plan))
}

fn find_application<'s>(route: &Route<'s>, principal: &Principal<'_>) -> Option<&'s Application> {
    let at = match principal.client() {
        ClientIdentity::Application(at) => at,
        ClientIdentity::Client => {
            let identity = principal.identity();
            route
                .catalog()
                .index()
                .client(identity.issuer.as_deref()?, identity.client_id.as_deref()?)?
        }
        ClientIdentity::None => return None,
    };
    route.catalog().application(at)
}

/// Why a subscription does not count, if it does not.
fn inactive(subscription: &Subscription, now: Timestamp) -> Option<&'static str> {
    if subscription.state != SubscriptionState::Active {
        return Some(subscription.state.name());
    }
    subscription
        .valid_until
        .is_some_and(|end| end <= now)
        .then_some("over")
}

/// Whether a token's claim names the route's Api: its title without regard to case, its version exactly.
fn names(claimed: &ClaimedSubscription, route: &Route<'_>) -> bool {
    claimed.name.to_lowercase() == route.api.title.to_lowercase()
        && *claimed.version == *route.api.version
}

fn unknown(principal: &Principal<'_>) -> String {
    match (
        &principal.identity().issuer,
        &principal.identity().client_id,
    ) {
        (Some(issuer), Some(client)) => {
            format!("no application has client `{client}` of `{issuer}`")
        }
        _ => "the credential names no application".to_owned(),
    }
}
