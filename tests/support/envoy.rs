//! A real Envoy that asks Portcullis about every request and sends what passes to an upstream.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::authority::Identity;
use super::eventually;
use super::http::{self, Response};
use super::process::Process;

/// The version that is started unless the environment variable `ENVOY_VERSION` names another.
const DEFAULT_VERSION: &str = "1.40.0";

/// The status of a request about which Envoy got no answer. It is none that Portcullis uses, so
/// that a test can tell the two apart.
pub(crate) const NO_ANSWER: u16 = 502;

/// What Envoy does with paths before it asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PathHandling {
    /// Nothing.
    AsSent,
    /// Dot segments are resolved: what Istio calls `BASE`.
    Normalized,
    /// Slashes are also unescaped and merged: what Istio calls `DECODE_AND_MERGE_SLASHES`.
    Unescaped,
}

/// What an [`Envoy`] is started with.
#[derive(Debug)]
pub(crate) struct EnvoyBuilder {
    authz: Vec<SocketAddr>,
    upstream: SocketAddr,
    raw_headers: bool,
    check_mutations: bool,
    failure_mode_allow: bool,
    context_extensions: Value,
    timeout: Duration,
    paths: PathHandling,
    authz_tls: Option<Value>,
    mutual_tls: Option<MutualTls>,
}

/// The certificate of Envoy's listener, and whose client certificates it demands; all in PEM.
#[derive(Debug)]
pub(crate) struct MutualTls {
    pub(crate) certificate: String,
    pub(crate) key: String,
    pub(crate) client_authority: String,
}

/// A running Envoy; dropping it stops it.
#[derive(Debug)]
pub(crate) struct Envoy {
    // Ends before the folder is removed.
    process: Process,
    address: SocketAddr,
    admin: SocketAddr,
    folder: TempDir,
}

impl EnvoyBuilder {
    /// Asks the server at `authz`, and sends what passes to `upstream`. Headers are sent raw,
    /// mutations checked, paths normalized; it waits 2 s for an answer and is closed without one.
    pub(crate) fn new(authz: SocketAddr, upstream: SocketAddr) -> Self {
        Self {
            authz: vec![authz],
            upstream,
            raw_headers: true,
            check_mutations: true,
            failure_mode_allow: false,
            context_extensions: json!({}),
            timeout: Duration::from_secs(2),
            paths: PathHandling::Normalized,
            authz_tls: None,
            mutual_tls: None,
        }
    }

    /// Demands certificates of clients, and says about them what a sidecar of Istio says.
    pub(crate) fn mutual_tls(mut self, mutual_tls: MutualTls) -> Self {
        self.mutual_tls = Some(mutual_tls);
        self
    }

    /// Adds a second server; both have their health checked, and a check that one of them did not
    /// take is sent to the other.
    pub(crate) fn replica(mut self, authz: SocketAddr) -> Self {
        self.authz.push(authz);
        self
    }

    /// Sends headers as a map with duplicates joined, as Envoy does by default.
    pub(crate) fn headers_as_map(mut self) -> Self {
        self.raw_headers = false;
        self
    }

    /// Writes whatever the answer says, as Envoy does by default: nothing is checked.
    pub(crate) fn without_mutation_checks(mut self) -> Self {
        self.check_mutations = false;
        self
    }

    /// Lets requests pass about which there is no answer.
    pub(crate) fn failure_mode_allow(mut self) -> Self {
        self.failure_mode_allow = true;
        self
    }

    /// Adds an entry to the route's `context_extensions`.
    pub(crate) fn context_extension(mut self, name: &str, value: &str) -> Self {
        if let Some(extensions) = self.context_extensions.as_object_mut() {
            extensions.insert(name.to_owned(), value.into());
        }
        self
    }

    /// Asks over TLS as a proxy of Istio does: shows `identity`, trusts `authority` (PEM), offers
    /// Istio's protocols and asks for the name `sni`.
    pub(crate) fn over_tls(mut self, identity: &Identity, authority: &str, sni: &str) -> Self {
        let text = |text: String| json!({ "inline_string": text });
        self.authz_tls = Some(json!({
            "name": "envoy.transport_sockets.tls",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
                "sni": sni,
                "common_tls_context": {
                    "tls_params": {
                        "tls_minimum_protocol_version": "TLSv1_2", "tls_maximum_protocol_version": "TLSv1_3",
                    },
                    "alpn_protocols": ["istio-peer-exchange", "istio", "h2"],
                    "tls_certificates": [{
                        "certificate_chain": text(identity.chain_pem()), "private_key": text(identity.key_pem()),
                    }],
                    "validation_context": { "trusted_ca": text(authority.to_owned()) },
                },
            },
        }));
        self
    }

    /// How long it waits for an answer.
    pub(crate) fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// What it does with paths.
    pub(crate) fn paths(mut self, paths: PathHandling) -> Self {
        self.paths = paths;
        self
    }

    /// Starts it and waits until it takes requests.
    ///
    /// # Panics
    /// Where this version of Envoy is not installed, ends, or is not live in time.
    pub(crate) fn start(self) -> Envoy {
        let folder = TempDir::new().expect("a temporary folder");
        let configuration = self.configuration(&folder.path().join("access.log"));
        Envoy::start_in(
            folder,
            &serde_json::to_string_pretty(&configuration).expect("JSON"),
        )
    }

    fn configuration(&self, access_log: &Path) -> Value {
        json!({
            "admin": { "address": socket(SocketAddr::from(([127, 0, 0, 1], 0))) },
            "static_resources": {
                "listeners": [{
                    "name": "downstream",
                    "address": socket(SocketAddr::from(([127, 0, 0, 1], 0))),
                    "filter_chains": [self.filter_chain(access_log)],
                }],
                "clusters": [self.authz_cluster(), upstream_cluster(self.upstream)],
            },
        })
    }

    fn filter_chain(&self, access_log: &Path) -> Value {
        let mut manager = self.connection_manager(access_log);
        let Some(tls) = &self.mutual_tls else {
            return json!({ "filters": [connection_manager_filter(&manager)] });
        };
        manager["forward_client_cert_details"] = json!("APPEND_FORWARD");
        manager["set_current_client_cert_details"] =
            json!({ "subject": true, "uri": true, "dns": true });
        let text = |text: &str| json!({ "inline_string": text });
        json!({
            "filters": [connection_manager_filter(&manager)],
            "transport_socket": {
                "name": "envoy.transport_sockets.tls",
                "typed_config": {
                    "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
                    "require_client_certificate": true,
                    "common_tls_context": {
                        "tls_certificates": [{
                            "certificate_chain": text(&tls.certificate), "private_key": text(&tls.key),
                        }],
                        "validation_context": { "trusted_ca": text(&tls.client_authority) },
                    },
                },
            },
        })
    }

    fn connection_manager(&self, access_log: &Path) -> Value {
        let slashes = if self.paths == PathHandling::Unescaped {
            "UNESCAPE_AND_FORWARD"
        } else {
            "KEEP_UNCHANGED"
        };
        json!({
            "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
            "stat_prefix": "downstream",
            "normalize_path": self.paths != PathHandling::AsSent,
            "merge_slashes": self.paths == PathHandling::Unescaped,
            "path_with_escaped_slashes_action": slashes,
            "upgrade_configs": [{ "upgrade_type": "websocket" }, { "upgrade_type": "CONNECT" }],
            "access_log": [access_log_to(access_log)],
            "http_filters": [
                { "name": "envoy.filters.http.ext_authz", "typed_config": self.ext_authz() },
                {
                    "name": "envoy.filters.http.router",
                    "typed_config": { "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router" },
                },
            ],
            "route_config": { "name": "all", "virtual_hosts": [{
                "name": "all",
                "domains": ["*"],
                "routes": [
                    { "match": { "connect_matcher": {} }, "route": { "cluster": "upstream" } },
                    { "match": { "prefix": "/" }, "route": { "cluster": "upstream" } },
                ],
                "typed_per_filter_config": { "envoy.filters.http.ext_authz": {
                    "@type": "type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthzPerRoute",
                    "check_settings": { "context_extensions": self.context_extensions },
                } },
            }] },
        })
    }

    fn ext_authz(&self) -> Value {
        let mut filter = json!({
            "@type": "type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthz",
            "transport_api_version": "V3",
            "grpc_service": {
                "envoy_grpc": { "cluster_name": "authz" },
                "timeout": format!("{}s", self.timeout.as_secs_f64()),
            },
            "failure_mode_allow": self.failure_mode_allow,
            "status_on_error": { "code": NO_ANSWER },
            "encode_raw_headers": self.raw_headers,
        });
        if self.check_mutations {
            let refused = "^(:.*|content-length|transfer-encoding|connection|te)$";
            filter["validate_mutations"] = json!(true);
            filter["decoder_header_mutation_rules"] =
                json!({ "disallow_expression": { "regex": refused } });
        }
        if self.authz.len() > 1 {
            filter["grpc_service"]["retry_policy"] = json!({
                "retry_on": "connect-failure,refused-stream,unavailable,reset",
                "num_retries": 2,
                // Envoy takes `max_interval` for the time-out of each try.
                "retry_back_off": { "base_interval": "0.01s", "max_interval": "1s" },
            });
        }
        filter
    }

    fn authz_cluster(&self) -> Value {
        let endpoints: Vec<Value> = self.authz.iter().copied().map(endpoint).collect();
        let mut cluster = json!({
            "name": "authz",
            "type": "STATIC",
            "connect_timeout": "1s",
            "typed_extension_protocol_options": { "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
                "explicit_http_config": { "http2_protocol_options": {} },
            } },
            "load_assignment": { "cluster_name": "authz", "endpoints": [{ "lb_endpoints": endpoints }] },
        });
        if let Some(tls) = &self.authz_tls {
            cluster["transport_socket"] = tls.clone();
        }
        if self.authz.len() > 1 {
            cluster["health_checks"] = json!([{
                "timeout": "1s", "interval": "0.1s", "no_traffic_interval": "0.1s",
                "unhealthy_threshold": 1, "healthy_threshold": 1, "grpc_health_check": {},
            }]);
        }
        cluster
    }
}

impl Envoy {
    /// Starts it with a configuration of any text. Its first listener is the one that clients
    /// connect to; its admin port should be 0.
    ///
    /// # Panics
    /// As [`EnvoyBuilder::start`].
    pub(crate) fn start_with(configuration: &str) -> Self {
        Self::start_in(TempDir::new().expect("a temporary folder"), configuration)
    }

    /// Starts this version of Envoy with a whole configuration, as [`Envoy::start_with`] does.
    ///
    /// # Panics
    /// As [`EnvoyBuilder::start`].
    pub(crate) fn start_version(version: &str, configuration: &str) -> Self {
        let folder = TempDir::new().expect("a temporary folder");
        Self::start_binary(&binary_of(version), folder, configuration)
    }

    fn start_in(folder: TempDir, configuration: &str) -> Self {
        Self::start_binary(&binary(), folder, configuration)
    }

    fn start_binary(binary: &Path, folder: TempDir, configuration: &str) -> Self {
        let path = |name: &str| folder.path().join(name);
        fs::write(path("envoy.yaml"), configuration).expect("a file can be written");
        let mut command = Command::new(binary);
        command
            .arg("-c")
            .arg(path("envoy.yaml"))
            .arg("--admin-address-path")
            .arg(path("admin"));
        command.args([
            "--disable-hot-restart",
            "--concurrency",
            "1",
            "--log-level",
            "warning",
        ]);
        command.args(["--file-flush-interval-msec", "20", "--drain-time-s", "1"]);
        command.stdout(File::create(path("stdout")).expect("a file for standard output"));
        command.stderr(File::create(path("stderr")).expect("a file for standard error"));
        let mut process = Process::start("envoy", command);
        let admin: SocketAddr = eventually("envoy to open its admin port", || {
            assert_running(&mut process, folder.path());
            fs::read_to_string(path("admin")).ok()?.parse().ok()
        });
        eventually("envoy to be live", || {
            assert_running(&mut process, folder.path());
            (http::get(admin, "localhost", "/ready", &[]).text().trim() == "LIVE").then_some(())
        });
        let address = listener_address(admin);
        Self {
            process,
            address,
            admin,
            folder,
        }
    }

    /// The id of its process.
    pub(crate) fn id(&self) -> u32 {
        self.process.id()
    }

    /// Where clients connect.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Sends bytes as they are and reads one response.
    pub(crate) fn raw_request(&self, bytes: impl AsRef<[u8]>) -> Response {
        http::raw_request(self.address, bytes)
    }

    /// Sends a request without body.
    pub(crate) fn request(
        &self,
        method: &str,
        host: &str,
        target: &str,
        headers: &[(&str, &str)],
    ) -> Response {
        http::raw_request(
            self.address,
            http::request_bytes(method, host, target, headers),
        )
    }

    /// Sends a GET request.
    pub(crate) fn get(&self, host: &str, target: &str, headers: &[(&str, &str)]) -> Response {
        self.request("GET", host, target, headers)
    }

    /// A GET request to its admin port.
    pub(crate) fn admin(&self, target: &str) -> Response {
        http::get(self.admin, "localhost", target, &[])
    }

    /// Where the listener is whose name ends so.
    ///
    /// # Panics
    /// Where there is none.
    pub(crate) fn listener(&self, end: &str) -> SocketAddr {
        let listeners = self.admin("/listeners?format=json").json();
        let all = listeners["listener_statuses"]
            .as_array()
            .into_iter()
            .flatten();
        let mut named =
            all.filter(|one| one["name"].as_str().is_some_and(|name| name.ends_with(end)));
        let port = named
            .next()
            .and_then(|one| one["local_address"]["socket_address"]["port_value"].as_u64());
        let port = port.and_then(|port| u16::try_from(port).ok());
        let port = port.unwrap_or_else(|| panic!("no listener {end}: {listeners}"));
        SocketAddr::from(([127, 0, 0, 1], port))
    }

    /// What it wrote.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("stderr")).unwrap_or_default()
    }

    /// The value of a counter or gauge; zero where Envoy has none of this name.
    pub(crate) fn stat(&self, name: &str) -> u64 {
        let stats = self.admin("/stats").text();
        let value = stats
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        value.and_then(|value| value.parse().ok()).unwrap_or(0)
    }

    /// A counter of the filter: `ok`, `denied`, `error`, `failure_mode_allowed`, `invalid`.
    pub(crate) fn ext_authz_stat(&self, name: &str) -> u64 {
        self.stat(&format!("http.downstream.ext_authz.{name}"))
    }

    /// Waits for the line of the access log for the answer with this decision id.
    pub(crate) fn access_log_of(&self, decision_id: &str) -> Value {
        eventually("envoy to log the request", || {
            let log = fs::read_to_string(self.folder.path().join("access.log")).ok()?;
            let mut lines = log
                .lines()
                .filter_map(|line| serde_json::from_str::<Value>(line).ok());
            lines.find(|line| line["decision_id"] == decision_id)
        })
    }
}

/// Runs `envoy --mode validate` on a configuration; gives what Envoy says against it.
pub(crate) fn validate(configuration: &Path) -> Result<(), String> {
    let mut command = Command::new(binary());
    command
        .args([
            "--mode",
            "validate",
            "--disable-hot-restart",
            "--log-level",
            "warning",
            "-c",
        ])
        .arg(configuration);
    let output = command.output().expect("envoy can be started");
    if output.status.success() {
        Ok(())
    } else {
        Err(String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

/// The executable, in the private virtual environment that `make envoy` installs.
///
/// # Panics
/// Where it is not installed; a test that needs Envoy is never skipped.
fn binary() -> PathBuf {
    let version = std::env::var_os("ENVOY_VERSION").map_or(DEFAULT_VERSION.into(), |version| {
        version.to_string_lossy().into_owned()
    });
    binary_of(&version)
}

/// The executable of this version.
///
/// # Panics
/// As [`binary`].
pub(crate) fn binary_of(version: &str) -> PathBuf {
    let environment = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!(".venv/envoy-{version}"));
    let folders = fs::read_dir(environment.join("lib"))
        .into_iter()
        .flatten()
        .flatten();
    let mut binaries = folders.map(|folder| folder.path().join("site-packages/envoy/_bin/envoy"));
    binaries.find(|binary| binary.exists()).unwrap_or_else(|| {
        panic!(
            "Envoy {version} is not installed; this installs it: make envoy ENVOY_VERSION={version}"
        )
    })
}

fn connection_manager_filter(manager: &Value) -> Value {
    json!({ "name": "envoy.filters.network.http_connection_manager", "typed_config": manager })
}

fn assert_running(process: &mut Process, folder: &Path) {
    if let Some(status) = process.ended() {
        let written = fs::read_to_string(folder.join("stderr")).unwrap_or_default();
        panic!("envoy ended with {status}:\n{written}");
    }
}

/// The first listener that has a port; others can be reached from within Envoy alone.
fn listener_address(admin: SocketAddr) -> SocketAddr {
    let listeners = http::get(admin, "localhost", "/listeners?format=json", &[]).json();
    let all = listeners["listener_statuses"]
        .as_array()
        .into_iter()
        .flatten();
    let mut ports =
        all.filter_map(|one| one["local_address"]["socket_address"]["port_value"].as_u64());
    let port = ports.next().and_then(|port| u16::try_from(port).ok());
    SocketAddr::from((
        [127, 0, 0, 1],
        port.unwrap_or_else(|| panic!("no listener: {listeners}")),
    ))
}

/// One JSON object a line, with the dynamic metadata that Portcullis answers with.
fn access_log_to(path: &Path) -> Value {
    let metadata = |key: &str| format!("%DYNAMIC_METADATA(envoy.filters.http.ext_authz:{key})%");
    json!({
        "name": "envoy.access_loggers.file",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog",
            "path": path,
            "log_format": { "json_format": {
                "status": "%RESPONSE_CODE%",
                "details": "%RESPONSE_CODE_DETAILS%",
                "decision_id": metadata("decision_id"),
                "api": metadata("api"),
                "application": metadata("application"),
                "plan": metadata("plan"),
                "reason": metadata("reason"),
            } },
        },
    })
}

fn upstream_cluster(upstream: SocketAddr) -> Value {
    json!({
        "name": "upstream",
        "type": "STATIC",
        "connect_timeout": "1s",
        "load_assignment": { "cluster_name": "upstream", "endpoints": [{ "lb_endpoints": [endpoint(upstream)] }] },
    })
}

fn endpoint(address: SocketAddr) -> Value {
    json!({ "endpoint": { "address": socket(address) } })
}

fn socket(address: SocketAddr) -> Value {
    json!({ "socket_address": { "address": address.ip().to_string(), "port_value": address.port() } })
}
