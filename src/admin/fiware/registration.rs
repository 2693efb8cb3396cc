//! What registers an endpoint, and what is read of it before it is kept.

use serde::Deserialize;
use serde_json::{Value, json};
use url::Url;
use uuid::Uuid;

use crate::catalog::source::store::{endpoint_host, endpoint_path};
use crate::store::endpoint::{CLIENT_ID_RULE, Endpoint, is_client_id};

/// The one authentication type.
const AUTH_TYPE: &str = "iShare";
/// The grant type where none is given.
const GRANT_TYPE: &str = "client_credentials";
/// The longest text of a field, in bytes.
const MAX_TEXT: usize = 2048;

/// The body of a registration. Fields that are not known are not looked at, as with FIWARE.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Registration {
    domain: Option<String>,
    path: Option<String>,
    port: Option<i64>,
    target_port: Option<i64>,
    use_https: Option<bool>,
    auth_type: Option<String>,
    auth_credentials: Option<AuthCredentials>,
}

/// Whose token an endpoint gets, and from where.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct AuthCredentials {
    #[serde(rename = "iShareClientId")]
    client_id: Option<String>,
    #[serde(rename = "iShareIdpId")]
    idp_id: Option<String>,
    #[serde(rename = "iShareIdpAddress")]
    idp_address: Option<String>,
    request_grant_type: Option<String>,
}

impl Registration {
    /// The endpoint that it asks for, and the address of its tokens.
    ///
    /// # Errors
    /// The first thing that is wrong, with the name of its field.
    pub(super) fn into_endpoint(self) -> Result<(Endpoint, Url), String> {
        let domain = needed("domain", self.domain)?;
        let host = endpoint_host(&domain).map_err(|reason| format!("`domain`: {reason}"))?;
        let path = self.path.unwrap_or_else(|| "/".to_owned());
        let base_path = endpoint_path(&path).map_err(|reason| format!("`path`: {reason}"))?;
        let use_https = self.use_https.unwrap_or(false);
        let own_port = port("port", self.port)?;
        let target_port =
            port_of_target(own_port, port("targetPort", self.target_port)?, use_https);
        let auth_type = needed("authType", self.auth_type)?;
        if !auth_type.eq_ignore_ascii_case(AUTH_TYPE) {
            return Err("`authType` must be iShare".to_owned());
        }
        let credentials = self
            .auth_credentials
            .ok_or("`authCredentials` is missing: an object with iShareClientId, iShareIdpId and iShareIdpAddress")?;
        let (idp_address, url) = credentials.idp_address()?;
        let endpoint = Endpoint {
            id: Uuid::now_v7(),
            domain,
            path,
            host,
            base_path,
            port: own_port.unwrap_or(80),
            target_port,
            use_https,
            client_id: credentials.client_id()?,
            idp_id: credentials.idp_id()?,
            idp_address,
            grant_type: credentials.grant_type()?,
        };
        Ok((endpoint, url))
    }
}

impl AuthCredentials {
    fn client_id(&self) -> Result<String, String> {
        let client_id = needed("iShareClientId", self.client_id.clone())?;
        if is_client_id(&client_id) {
            Ok(client_id)
        } else {
            Err(format!("`iShareClientId`: {CLIENT_ID_RULE}"))
        }
    }

    fn idp_id(&self) -> Result<String, String> {
        needed("iShareIdpId", self.idp_id.clone())
    }

    fn idp_address(&self) -> Result<(String, Url), String> {
        let address = needed("iShareIdpAddress", self.idp_address.clone())?;
        let url = Url::parse(&address)
            .ok()
            .filter(|url| matches!(url.scheme(), "https" | "http") && url.has_host())
            .ok_or("`iShareIdpAddress` must be an https address")?;
        if !url.username().is_empty() || url.password().is_some() || url.fragment().is_some() {
            return Err(
                "`iShareIdpAddress` must have no user information and no fragment".to_owned(),
            );
        }
        Ok((address, url))
    }

    fn grant_type(&self) -> Result<String, String> {
        let grant_type = self.request_grant_type.as_deref().unwrap_or(GRANT_TYPE);
        let is_one = grant_type
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b":._-".contains(&byte));
        if is_one && (1..=128).contains(&grant_type.len()) {
            Ok(grant_type.to_owned())
        } else {
            Err("`requestGrantType` must be a grant type, such as client_credentials".to_owned())
        }
    }
}

fn needed(field: &str, value: Option<String>) -> Result<String, String> {
    match value {
        Some(text)
            if text.is_empty()
                || text
                    .chars()
                    .any(|char| char.is_control() || char.is_whitespace()) =>
        {
            Err(format!("`{field}` must be text without spaces"))
        }
        Some(text) if text.len() > MAX_TEXT => Err(format!("`{field}` is too long")),
        Some(text) => Ok(text),
        None => Err(format!("`{field}` is missing")),
    }
}

fn port(field: &str, value: Option<i64>) -> Result<Option<u16>, String> {
    let Some(value) = value else {
        return Ok(None);
    };
    match u16::try_from(value) {
        Ok(1..) => Ok(u16::try_from(value).ok()),
        _ => Err(format!("`{field}` must be a number from 1 to 65535")),
    }
}

/// FIWARE's rule: the same port, or else that of the scheme.
fn port_of_target(port: Option<u16>, target: Option<u16>, use_https: bool) -> u16 {
    let of_scheme = if use_https { 443 } else { 80 };
    target.or(port).unwrap_or(of_scheme)
}

/// An endpoint as it is shown, without whose token it gets.
pub(super) fn info(endpoint: &Endpoint) -> Value {
    json!({
        "id": endpoint.id.to_string(),
        "domain": endpoint.domain,
        "port": endpoint.port,
        "targetPort": endpoint.target_port,
        "path": endpoint.path,
        "useHttps": endpoint.use_https,
        "authType": AUTH_TYPE,
    })
}

/// Whose token an endpoint gets, and from where.
pub(super) fn auth_info(endpoint: &Endpoint) -> Value {
    json!({
        "authType": AUTH_TYPE,
        "iShareClientId": endpoint.client_id,
        "iShareIdpId": endpoint.idp_id,
        "iShareIdpAddress": endpoint.idp_address,
        "requestGrantType": endpoint.grant_type,
    })
}
