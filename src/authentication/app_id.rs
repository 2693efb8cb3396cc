//! App ids and their keys, as 3scale has them: an id names the application, and one of its keys
//! proves it, where it has any.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::authentication::api_key::KeyDigest;
use crate::authentication::config::{
    BuildContext, CredentialPlaceConfig, build_peppers, build_places, check_peppers, check_places,
};
use crate::authentication::credential::{Credential, CredentialPlace, Found};
use crate::authentication::principal::{Method, Principal};
use crate::authentication::{Challenge, Outcome};
use crate::catalog::Catalog;
use crate::check::decision::{Denial, Reason};
use crate::check::request::DownstreamRequest;
use crate::config::findings::Findings;
use crate::config::value::SecretSource;
use crate::secret::MacKey;

/// Takes app ids of the catalog's applications, with a key where they have one.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AppIdConfig {
    /// Where the id sits in a request; `{ basic: true }` is the user name, and then the key is the
    /// password.
    pub id: Vec<CredentialPlaceConfig>,
    /// Where the key sits.
    pub key: Vec<CredentialPlaceConfig>,
    /// Secrets for keys whose digest is `hmac-sha256:…`: the current one and, while it is
    /// replaced, the one before.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub peppers: Vec<SecretSource>,
}

impl AppIdConfig {
    /// Finds what is wrong, without reading anything else.
    pub fn check(&self, findings: &mut Findings) {
        check_places("id", &self.id, findings);
        check_places("key", &self.key, findings);
        check_peppers(&self.peppers, findings);
        let is_basic = |place: &CredentialPlaceConfig| place.basic.is_some();
        if self.id.iter().any(is_basic) != self.key.iter().any(is_basic) {
            findings.wrong(
                "key",
                "`basic` gives id and key: name it for both or for neither",
            );
        }
        for (at, place) in self.key.iter().enumerate() {
            if !is_basic(place) && self.id.contains(place) {
                findings.wrong(&format!("key[{at}]"), "is a place of the id too");
            }
        }
    }
}

/// Finds the application that an app id names, and checks its key.
#[derive(Debug)]
pub struct AppIdAuthenticator {
    name: Arc<str>,
    ids: Vec<CredentialPlace>,
    keys: Vec<CredentialPlace>,
    peppers: Vec<MacKey>,
}

/// What a request presents.
struct Presented<'a> {
    id: &'a str,
    key: Option<&'a str>,
}

impl AppIdAuthenticator {
    pub(super) fn build(
        config: &AppIdConfig,
        name: &str,
        context: &mut BuildContext<'_>,
    ) -> Option<Self> {
        Some(Self {
            name: name.into(),
            ids: build_places(&config.id)?,
            keys: build_places(&config.key)?,
            peppers: build_peppers(&config.peppers, context)?,
        })
    }

    /// Its name in the configuration.
    #[must_use]
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// Where it looks for the id, and where for the key.
    #[must_use]
    pub fn places(&self) -> (&[CredentialPlace], &[CredentialPlace]) {
        (&self.ids, &self.keys)
    }

    /// Its challenge.
    #[must_use]
    pub fn challenge(&self) -> Challenge {
        Challenge::for_keys(&self.ids)
    }

    /// Finds the application of the id in `request`. An unknown id and a wrong key are the same to
    /// the caller.
    #[must_use]
    pub fn authenticate(&self, request: &DownstreamRequest, catalog: &Catalog) -> Outcome<'_> {
        let denial = |why: &'static str| Denial::new(Reason::CredentialInvalid, why);
        let id = CredentialPlace::find(&self.ids, request);
        let key = CredentialPlace::find(&self.keys, request);
        let presented = match (&id, &key) {
            (Found::Absent, Found::Absent) => return Outcome::Absent,
            (Found::Ambiguous(why), _) | (_, Found::Ambiguous(why)) => {
                return Outcome::Stopped(denial(why).into());
            }
            (Found::Absent, Found::One(_)) => {
                return Outcome::NotMine(denial("an app key without an app id"));
            }
            (Found::One(id), Found::Absent) => Presented::of(id, None),
            (Found::One(id), Found::One(key)) => Presented::of(id, Some(key)),
        };
        let Some(presented) = presented else {
            return Outcome::Stopped(denial("app id and key in two places at once").into());
        };
        let candidates = presented
            .key
            .map(|key| KeyDigest::candidates(key, &self.peppers));
        let at = catalog.index().app_id(presented.id);
        let application = at.and_then(|at| Some((at, catalog.application(at)?)));
        let Some((at, application)) = application else {
            return Outcome::Stopped(denial("no application has this app id").into());
        };
        if !holds(&application.app_keys, candidates.as_deref()) {
            return Outcome::Stopped(denial("the app id needs another app key").into());
        }
        Outcome::Verified(Principal::of_application(&self.name, Method::AppId, at))
    }
}

impl<'a> Presented<'a> {
    /// Basic gives both; `None` where one of the two is found in Basic and the other elsewhere.
    fn of(id: &'a Credential<'_>, key: Option<&'a Credential<'_>>) -> Option<Self> {
        let is_basic = |credential: &Credential<'_>| *credential.place() == CredentialPlace::Basic;
        match (is_basic(id), key) {
            (true, Some(key)) if !is_basic(key) => None,
            (false, Some(key)) if is_basic(key) => None,
            (true, _) => {
                let (user, password) = id.expose().split_once(':')?;
                Some(Self {
                    id: user,
                    key: Some(password).filter(|password| !password.is_empty()),
                })
            }
            (false, _) => Some(Self {
                id: id.expose(),
                key: key.map(Credential::expose),
            }),
        }
    }
}

/// Whether one of the presented digests is one of the application's; without keys the id is
/// enough. Every pair is compared, wherever they are equal.
fn holds(app_keys: &[KeyDigest], presented: Option<&[KeyDigest]>) -> bool {
    if app_keys.is_empty() {
        return true;
    }
    let presented = presented.unwrap_or_default();
    app_keys.iter().fold(false, |found, app_key| {
        presented
            .iter()
            .fold(found, |found, digest| found | app_key.equals(digest))
    })
}

#[cfg(test)]
mod tests;
