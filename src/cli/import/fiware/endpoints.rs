//! The answer of `GET /endpoint` of FIWARE's endpoint-configuration-service, with the answers of
//! `GET /auth` in it where somebody put them there.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::{Map, Value};

use crate::cli::import::document::{ApiNode, Imported, Node, text, texts};
use crate::cli::import::fiware::{FILE, NAMESPACE, lenient, place, report_unknown};
use crate::cli::import::input::{Input, type_name};
use crate::cli::import::report::Report;
use crate::cli::name::slug;
use crate::problem::Problems;
use crate::store::endpoint::is_client_id;

const FIELDS: [&str; 12] = [
    "id",
    "domain",
    "port",
    "targetPort",
    "path",
    "useHttps",
    "authType",
    "authCredentials",
    "iShareClientId",
    "iShareIdpId",
    "iShareIdpAddress",
    "requestGrantType",
];

/// What stands where FIWARE's answer does not say.
const UNKNOWN: &str = "FILL-IN";
const UNKNOWN_URL: &str = "https://fill-in.invalid/connect/token";

/// The token addresses of each client.
type Clients = BTreeMap<String, BTreeSet<String>>;

/// Makes documents of these endpoints.
pub(super) fn import(
    input: &Input,
    list: &[Value],
    credentials: Option<&Path>,
    report: &mut Report,
) -> Result<Imported, Problems> {
    let listed = match credentials {
        Some(path) => client_ids(path, report)?,
        None => BTreeSet::new(),
    };
    let mut imported = Imported {
        file: FILE,
        providers: Vec::new(),
        apis: Vec::new(),
    };
    let (mut clients, mut places) = (Clients::new(), BTreeSet::new());
    for (at, entry) in list.iter().enumerate() {
        let at = format!("[{at}]");
        let Some(endpoint) = Endpoint::read(entry, &at, &listed, report) else {
            continue;
        };
        if !places.insert((endpoint.host.clone(), endpoint.base_path.clone())) {
            let (host, path) = (&endpoint.host, &endpoint.base_path);
            report.left_out(format!("{at}: `{host}{path}` stands twice"));
            continue;
        }
        let urls = clients.entry(endpoint.client_id.clone()).or_default();
        urls.insert(endpoint.idp_address.clone());
        imported.apis.push(endpoint.into_api());
    }
    if imported.apis.is_empty() {
        return Err(input.problem("", "there is no endpoint in it that can be imported"));
    }
    for client_id in listed.iter().filter(|id| !clients.contains_key(*id)) {
        report.left_out(format!(
            "the credential of `{client_id}`: no endpoint uses it"
        ));
    }
    let providers = clients.into_iter();
    let providers = providers.map(|(client_id, urls)| provider(&client_id, &urls, report));
    imported.providers = providers.collect();
    Ok(imported)
}

/// The answer of `GET /credentials`.
fn client_ids(path: &Path, report: &mut Report) -> Result<BTreeSet<String>, Problems> {
    let input = Input::read(path)?;
    let [Value::Array(list)] = input.documents.as_slice() else {
        return Err(input.problem(
            "",
            "the answer of GET /credentials is a JSON list of client ids",
        ));
    };
    let mut ids = BTreeSet::new();
    for (at, value) in list.iter().enumerate() {
        match value.as_str() {
            Some(id) if is_client_id(id) => {
                ids.insert(id.to_owned());
            }
            _ => report.left_out(format!("credentials[{at}]: it is no client id")),
        }
    }
    Ok(ids)
}

/// An endpoint, as far as it is known.
#[derive(Debug)]
struct Endpoint {
    host: String,
    base_path: String,
    client_id: String,
    idp_id: String,
    idp_address: String,
    grant_type: Option<String>,
}

impl Endpoint {
    fn read(
        entry: &Value,
        at: &str,
        listed: &BTreeSet<String>,
        report: &mut Report,
    ) -> Option<Self> {
        let Value::Object(keys) = entry else {
            report.left_out(format!("{at}: it is {}, and no endpoint", type_name(entry)));
            return None;
        };
        report_unknown(&format!("{at}."), keys, &FIELDS, report);
        let own = |key: &str| keys.get(key).and_then(Value::as_str);
        let Some(domain) = own("domain") else {
            report.left_out(format!("{at}: it has no domain"));
            return None;
        };
        if own("authType").is_some_and(|kind| !kind.eq_ignore_ascii_case("iShare")) {
            report.left_out(format!("{at}.authType: it is not iShare"));
            return None;
        }
        let (host, base_path) = place(domain, own("path").unwrap_or("/"), at, report)?;
        report_ports(keys, &host, report);
        let credentials = keys.get("authCredentials").and_then(Value::as_object);
        let credentials = credentials.unwrap_or(keys);
        let field = |key: &str| credentials.get(key).and_then(Value::as_str);
        let name = format!("{host}{base_path}");
        let mut or_unknown = |key: &str, unknown: &str| match field(key) {
            Some(value) if !value.is_empty() => value.to_owned(),
            _ => {
                report.remains(format!("`{name}`: GET /endpoint does not tell {key}; ask FIWARE's GET /auth for it, and fill it in before you use it, wherever `{unknown}` stands"));
                unknown.to_owned()
            }
        };
        let mut only = listed.iter();
        let client_id = match (field("iShareClientId"), only.next(), only.next()) {
            (None, Some(only), None) => only.clone(),
            _ => or_unknown("iShareClientId", UNKNOWN),
        };
        Some(Self {
            idp_id: or_unknown("iShareIdpId", UNKNOWN),
            idp_address: or_unknown("iShareIdpAddress", UNKNOWN_URL),
            grant_type: field("requestGrantType")
                .filter(|grant_type| *grant_type != "client_credentials")
                .map(ToOwned::to_owned),
            host,
            base_path,
            client_id,
        })
    }

    fn into_api(self) -> ApiNode {
        let mut credential = vec![
            ("provider", text(provider_name(&self.client_id))),
            ("audience", text(self.idp_id)),
            ("tokenUrl", text(self.idp_address)),
        ];
        if let Some(grant_type) = self.grant_type {
            credential.push(("grantType", text(grant_type)));
        }
        ApiNode {
            namespace: NAMESPACE,
            hosts: vec![self.host],
            base_path: self.base_path,
            credential: Some(lenient(credential)),
        }
    }
}

/// FIWARE's ports are those of an Envoy that it configures; ours is another's.
fn report_ports(keys: &Map<String, Value>, host: &str, report: &mut Report) {
    let port = |key: &str| keys.get(key).and_then(Value::as_u64);
    let own = port("port").unwrap_or(80);
    let https = keys.get("useHttps").and_then(Value::as_bool) == Some(true);
    let target = port("targetPort").filter(|target| *target != own);
    if https || target.is_some() || own != 80 {
        let tls = if https { ", by TLS" } else { "" };
        let target = target.unwrap_or(own);
        report.left_out(format!("`{host}`: port {own} goes to port {target}{tls}: Envoy's cluster, or a ServiceEntry and DestinationRule, says that"));
    }
}

fn provider_name(client_id: &str) -> String {
    format!("ishare-{}", slug(client_id))
}

fn provider(client_id: &str, urls: &BTreeSet<String>, report: &mut Report) -> (String, Node) {
    let file = |name: &str| {
        let path = format!("certs/{client_id}/{name}");
        Node::Map(vec![("file", text(path))])
    };
    report.remains(format!("certs/{client_id}: copy key.pem and cert.cer of FIWARE's certificate folder there; they are not exported"));
    let provider = Node::Map(vec![
        ("type", text("ishare")),
        ("party", text(client_id)),
        ("key", file("key.pem")),
        ("certificates", file("cert.cer")),
        ("tokenUrls", Node::Map(vec![("allow", texts(urls))])),
    ]);
    (provider_name(client_id), provider)
}
