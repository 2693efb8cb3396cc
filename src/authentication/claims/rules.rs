//! The keys of the configuration that say what is asked of claims, for every authenticator of tokens.

use std::time::Duration;

use super::{AudienceRule, ClaimPath, ClaimRules, IssuerRule};
use crate::authentication::jwt::config::{AudienceConfig, ClaimsConfig, SubscriptionsConfig};
use crate::config::findings::Findings;
use crate::config::value::{ByteSize, HumanDuration};

/// The longest token, where the configuration does not say.
pub(in crate::authentication) const DEFAULT_MAX_TOKEN: usize = 8 * 1024;
const MAX_MAX_TOKEN: usize = 16 * 1024;
const DEFAULT_LEEWAY: Duration = Duration::from_secs(5);
const MAX_LEEWAY: Duration = Duration::from_secs(120);

/// What is asked of claims, as it is written.
pub(in crate::authentication) struct RulesConfig<'c> {
    pub issuer: &'c str,
    pub audiences: Option<&'c [String]>,
    pub audience: Option<AudienceConfig>,
    pub claims: &'c ClaimsConfig,
    pub leeway: Option<HumanDuration>,
    pub subscriptions: SubscriptionsConfig,
}

impl RulesConfig<'_> {
    /// Finds what is wrong.
    pub(in crate::authentication) fn check(&self, findings: &mut Findings) {
        self.check_audience(findings);
        self.check_claims(findings);
        if self.leeway.is_some_and(|leeway| leeway.0 > MAX_LEEWAY) {
            findings.wrong("leeway", "at most 120s");
        }
    }

    fn check_audience(&self, findings: &mut Findings) {
        match (self.audiences, self.audience) {
            (None, None) => findings.wrong(
                "audiences",
                "is needed: name what your issuer puts into `aud` for this service, or set \
                 `audience: clientId` where it puts the client there",
            ),
            (Some(_), Some(_)) => findings.wrong("audience", "give `audiences` or `audience`"),
            (Some([]), None) => {
                findings.wrong("audiences", "name at least one");
            }
            (Some(audiences), None) => {
                for (at, audience) in audiences.iter().enumerate() {
                    if audience.is_empty() {
                        findings.wrong(&format!("audiences[{at}]"), "cannot be empty");
                    } else if audiences.iter().take(at).any(|other| other == audience) {
                        findings.wrong(&format!("audiences[{at}]"), "stands twice");
                    }
                }
            }
            (None, Some(AudienceConfig::Any)) => findings.warn(
                "audience",
                "tokens that the issuer made for any other service are taken",
            ),
            (None, Some(AudienceConfig::ClientId)) => {}
        }
    }

    fn check_claims(&self, findings: &mut Findings) {
        let claims = self.claims;
        for (at, path) in [
            ("claims.clientId", &claims.client_id),
            ("claims.subject", &claims.subject),
            ("claims.scopes", &claims.scopes),
            ("claims.subscriptions", &claims.subscriptions),
            ("claims.application", &claims.application),
        ] {
            if let Some(path) = path {
                check_path(at, path, findings);
            }
        }
        if claims.subscriptions.is_some() && self.subscriptions == SubscriptionsConfig::Catalog {
            findings.wrong(
                "claims.subscriptions",
                "is not read: set `subscriptions` to `token` or `tokenThenCatalog`",
            );
        }
    }

    /// The rules.
    pub(in crate::authentication) fn build(&self) -> ClaimRules {
        let named = |claim: &Option<String>, defaults: &[&str]| -> Vec<ClaimPath> {
            match claim {
                Some(path) => vec![ClaimPath::new(path)],
                None => defaults.iter().copied().map(ClaimPath::new).collect(),
            }
        };
        let one = |claim: &Option<String>, default: &str| {
            ClaimPath::new(claim.as_deref().unwrap_or(default))
        };
        let claims = self.claims;
        let token_counts = self.subscriptions != SubscriptionsConfig::Catalog;
        let application = token_counts || claims.application.is_some();
        ClaimRules {
            issuer: self.issuer.into(),
            issuer_rule: IssuerRule::Named,
            audience: match (self.audiences, self.audience) {
                (Some(audiences), _) => {
                    AudienceRule::AnyOf(audiences.iter().map(|one| one.as_str().into()).collect())
                }
                (None, Some(AudienceConfig::ClientId)) => AudienceRule::ClientId,
                (None, Some(AudienceConfig::Any)) => AudienceRule::Any,
                // refused by `check`; nobody is let in by it
                (None, None) => AudienceRule::AnyOf(Vec::new()),
            },
            leeway_seconds: whole_seconds(self.leeway.map_or(DEFAULT_LEEWAY, |leeway| leeway.0)),
            max_lifetime_seconds: None,
            required: Vec::new(),
            client_id: named(&claims.client_id, &["azp", "client_id", "consumerKey"]),
            subject: one(&claims.subject, "sub"),
            scopes: named(&claims.scopes, &["scope", "scp"]),
            subscriptions: token_counts.then(|| one(&claims.subscriptions, "subscribedAPIs")),
            application: application.then(|| one(&claims.application, "application")),
        }
    }
}

/// Finds what is wrong with the longest token.
pub(in crate::authentication) fn check_max_token(size: Option<ByteSize>, findings: &mut Findings) {
    if size.is_some_and(|size| !(1..=MAX_MAX_TOKEN).contains(&size.0)) {
        findings.wrong("maxToken", "from 1B to 16KiB");
    }
}

/// Finds what is wrong with the path of a claim.
pub(in crate::authentication) fn check_path(at: &str, path: &str, findings: &mut Findings) {
    if !ClaimPath::is_valid(path) {
        findings.wrong(at, "must be a claim, or names joined by dots");
    }
}

/// `duration` in whole seconds.
pub(in crate::authentication) fn whole_seconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_secs()).unwrap_or(i64::MAX)
}
