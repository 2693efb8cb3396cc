//! A SPIFFE Workload API with authorities of its own (`tests/beds/spiffe`) as a process, which gives
//! what a test says.

use std::collections::BTreeMap;
use std::fs::File;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::http;
use super::process::Process;
use super::{eventually, within};

const INSTALL: &str = "`.tools/bin/wlapid` is missing: make workload-api";

/// The identity that an agent gives unless a test says another.
pub(crate) const ID: &str = "spiffe://cluster.local/ns/portcullis/sa/portcullis";
/// The trust domain of it.
pub(crate) const TRUST_DOMAIN: &str = "cluster.local";

/// A running agent; dropping it kills it.
#[derive(Debug)]
pub(crate) struct WorkloadApi {
    // Ends before the folder is removed.
    _process: Process,
    _folder: TempDir,
    control: SocketAddr,
    endpoint: String,
}

/// A certificate with its key (PEM), of a peer or a caller.
#[derive(Debug, Clone)]
pub(crate) struct Signed {
    pub(crate) certificate: String,
    pub(crate) key: String,
}

impl WorkloadApi {
    /// Starts one on a socket of its own, which gives the SVID of [`ID`].
    ///
    /// # Panics
    /// Where it was not built, or does not start.
    pub(crate) fn start() -> Self {
        let agent = Self::start_empty();
        agent.set(json!({ "svids": [{ "id": ID }] }));
        agent
    }

    /// Starts one that answers `PermissionDenied`: nobody is registered.
    pub(crate) fn start_empty() -> Self {
        let folder = TempDir::new().expect("a temporary folder");
        let socket = folder.path().join("agent.sock");
        let socket = socket.to_str().expect("UTF-8").to_owned();
        Self::start_with(folder, &["-socket", &socket])
    }

    /// The same on a port of the loopback interface.
    pub(crate) fn start_tcp() -> Self {
        let folder = TempDir::new().expect("a temporary folder");
        let agent = Self::start_with(folder, &["-tcp", "127.0.0.1:0"]);
        agent.set(json!({ "svids": [{ "id": ID }] }));
        agent
    }

    fn start_with(folder: TempDir, arguments: &[&str]) -> Self {
        let program = Path::new(env!("CARGO_MANIFEST_DIR")).join(".tools/bin/wlapid");
        assert!(program.exists(), "{INSTALL}");
        let told = folder.path().join("stdout");
        let mut command = Command::new(program);
        command
            .args(arguments)
            .stdout(File::create(&told).expect("a file"))
            .stderr(File::create(folder.path().join("stderr")).expect("a file"));
        let process = Process::start("wlapid", command);
        let first: Value = eventually("the Workload API to say where it is", || {
            let told = std::fs::read_to_string(&told).ok()?;
            serde_json::from_str(told.split_once('\n')?.0).ok()
        });
        let text = |name: &str| first[name].as_str().expect("a text").to_owned();
        Self {
            _process: process,
            _folder: folder,
            control: text("control").parse().expect("an address"),
            endpoint: text("endpoint"),
        }
    }

    /// Where it answers: for `spiffe.endpoint` and `SPIFFE_ENDPOINT_SOCKET`.
    pub(crate) fn endpoint(&self) -> &str {
        &self.endpoint
    }

    // --- what it gives ---

    /// Sets all that it gives: `svids` (each with `id`, and `hint`, `ttl`, `dns`, `defect` where a
    /// test wants them), `federated` (names of trust domains), `spoiled` (by trust domain:
    /// `unreadable`, `large`, `manyKeys`), `jwtTtl`, `jwtIssuer`, and `errors`
    /// by call (`x509`, `jwtSvid`, `jwtBundles`; such as `PermissionDenied`). Streams hear of it.
    pub(crate) fn set(&self, setting: Value) {
        self.ask("/set", &setting);
    }

    /// Gives new certificates for the same SVIDs.
    pub(crate) fn rotate(&self) {
        self.ask("/rotate", &json!({}));
    }

    /// Gives a trust domain another root certificate.
    pub(crate) fn renew_root(&self, trust_domain: &str) {
        let asked = json!({ "trustDomain": trust_domain, "renew": "root" });
        self.ask("/authority", &asked);
    }

    /// Gives a trust domain another key of JWT-SVIDs.
    pub(crate) fn renew_jwt_key(&self, trust_domain: &str) {
        let asked = json!({ "trustDomain": trust_domain, "renew": "jwt" });
        self.ask("/authority", &asked);
    }

    /// Ends every stream well.
    pub(crate) fn end_streams(&self) {
        self.ask("/end-streams", &json!({}));
    }

    /// Goes away: every connection is cut.
    pub(crate) fn stop(&self) {
        self.ask("/stop", &json!({}));
    }

    /// Comes back.
    pub(crate) fn start_again(&self) {
        self.ask("/start", &json!({}));
    }

    // --- what it signs for others ---

    /// The root certificate (PEM) of a trust domain.
    pub(crate) fn root(&self, trust_domain: &str) -> String {
        let bundle = self.ask("/bundle", &json!({ "trustDomain": trust_domain }));
        bundle["pem"].as_str().expect("a text").to_owned()
    }

    /// The keys of a trust domain's JWT-SVIDs.
    pub(crate) fn jwks(&self, trust_domain: &str) -> Value {
        let bundle = self.ask("/bundle", &json!({ "trustDomain": trust_domain }));
        bundle["jwks"].clone()
    }

    /// A certificate for `id` by the authority of its trust domain.
    pub(crate) fn sign(&self, id: &str) -> Signed {
        self.sign_with(&json!({ "id": id }))
    }

    /// The same with `ttl`, `dns`, `signedBy` (another trust domain) or a `defect`: `expired`, `isCA`, `certSign`, `crlSign`,
    /// `noDigitalSignature`, `serverOnly`, `usageNotCritical`, `twoURIs`, `noURI`, `otherKey`.
    pub(crate) fn sign_with(&self, wanted: &Value) -> Signed {
        let signed = self.ask("/sign", wanted);
        let text = |name: &str| signed[name].as_str().expect("a text").to_owned();
        Signed {
            certificate: text("certificate"),
            key: text("key"),
        }
    }

    /// A JWT-SVID for `id` by the authority of its trust domain.
    pub(crate) fn sign_jwt(&self, id: &str, audience: &[&str], ttl: &str) -> String {
        let asked = json!({ "id": id, "audience": audience, "ttl": ttl });
        let signed = self.ask("/sign-jwt", &asked);
        signed["token"].as_str().expect("a text").to_owned()
    }

    /// The private keys of what it gives now, in the forms in which a text could hold them: some bytes
    /// in base64, in hexadecimal digits, and as a list of numbers.
    pub(crate) fn key_forms(&self) -> Vec<String> {
        let keys: Vec<String> =
            serde_json::from_value(self.ask("/keys", &json!({}))).expect("texts");
        let forms = keys.iter().flat_map(|key| {
            let der = STANDARD.decode(key).expect("base64");
            // the private part of a key of P-256 begins after what is the same in all (RFC 5915)
            let part = &der[36..60];
            let hexadecimal: String = part.iter().map(|byte| format!("{byte:02x}")).collect();
            let numbers: Vec<_> = part.iter().map(u8::to_string).collect();
            [STANDARD.encode(part), hexadecimal, numbers.join(", ")]
        });
        forms.collect()
    }

    // --- what it was asked ---

    /// How often each call was asked: `x509`, `jwtSvid`, `jwtBundles`, and `withoutHeader`.
    pub(crate) fn counts(&self) -> BTreeMap<String, u64> {
        let counts = self.ask("/counts", &json!({}));
        serde_json::from_value(counts).expect("numbers")
    }

    /// How often `call` was asked.
    pub(crate) fn count(&self, call: &str) -> u64 {
        self.counts().get(call).copied().unwrap_or_default()
    }

    /// Waits until `call` was asked so many times.
    pub(crate) fn wait_for(&self, call: &str, count: u64) {
        let what = format!("{count} calls of {call}");
        within(super::PATIENCE, &what, || {
            (self.count(call) >= count).then_some(())
        });
    }

    fn ask(&self, path: &str, body: &Value) -> Value {
        let headers = [("content-type", "application/json")];
        let answer = http::post(self.control, path, &headers, &body.to_string());
        assert_eq!(answer.status, 200, "{path} {body}: {}", answer.text());
        answer.json()
    }
}
