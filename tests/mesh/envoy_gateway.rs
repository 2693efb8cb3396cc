//! Envoy Gateway, which reads its objects from files, with the policy of `deploy/envoy-gateway`.

use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use crate::bed::{filled, free_port, get, program, text};
use crate::ingress::ENVOY;
use crate::support::envoy::binary_of;
use crate::support::process::Process;
use crate::support::shop::{Around, HOST, SHOP_KEY};
use crate::support::upstream::Upstream;
use crate::support::within;

/// How long it may take until it has started Envoy, on a machine that does other things too.
const PATIENCE: Duration = Duration::from_secs(120);

/// A running Envoy Gateway and its Envoy; dropping it stops both.
struct EnvoyGateway {
    process: Process,
    folder: TempDir,
}

impl EnvoyGateway {
    /// Starts it with these objects.
    fn start(objects: &str) -> Self {
        let folder = TempDir::new().expect("a temporary folder");
        let path = |name: &str| folder.path().join(name);
        // where it looks for Envoy before it asks the internet for it
        let place = path(&format!("home/envoy-versions/{ENVOY}/bin"));
        fs::create_dir_all(&place).expect("a folder");
        symlink(binary_of(ENVOY), place.join("envoy")).expect("a link");
        fs::create_dir(path("objects")).expect("a folder");
        fs::write(path("objects/all.yaml"), objects).expect("a file");
        let (root, home) = (folder.path().display(), path("home"));
        let configuration = text("tests/mesh/objects/envoy-gateway-config.yaml")
            .replace("{folder}", &root.to_string())
            .replace("{home}", &home.to_string_lossy());
        fs::write(path("eg.yaml"), configuration).expect("a file");
        let made = envoy_gateway(folder.path(), "certgen.log")
            .args(["certgen", "--local", "--config-home"])
            .arg(&home)
            .status();
        assert!(
            made.is_ok_and(|status| status.success()),
            "{}",
            read(&path("certgen.log"))
        );
        let mut command = envoy_gateway(folder.path(), "log");
        command
            .args(["server", "--config-path"])
            .arg(path("eg.yaml"));
        Self {
            process: Process::start("envoy-gateway", command),
            folder,
        }
    }

    fn log(&self) -> String {
        read(&self.folder.path().join("log"))
    }
}

impl Drop for EnvoyGateway {
    fn drop(&mut self) {
        // gently, so that it stops its Envoy
        self.process.stop();
    }
}

fn envoy_gateway(folder: &Path, log: &str) -> Command {
    let mut command = Command::new(program("envoy-gateway"));
    let log = File::create(folder.join(log)).expect("a file");
    command
        .current_dir(folder)
        .stdout(log.try_clone().expect("a file"))
        .stderr(log);
    command
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

/// The manifest with what has no cluster around it here: where Portcullis and the upstream are.
/// NetworkPolicies are not Envoy Gateway's.
fn objects(check: u16, upstream: u16, port: u16) -> String {
    let shipped = text("deploy/envoy-gateway/security-policy.yaml");
    let mut own: String = shipped
        .split("\n---\n")
        .filter(|document| !document.contains("kind: NetworkPolicy"))
        .map(|document| format!("{document}\n---\n"))
        .collect();
    for (from, to) in [
        (
            "fqdn: { hostname: portcullis.portcullis.svc.cluster.local, port: 9001 }",
            format!("ip: {{ address: 127.0.0.1, port: {check} }}"),
        ),
        (
            "{ name: orders, port: 80 }",
            "{ group: gateway.envoyproxy.io, kind: Backend, name: orders }".to_owned(),
        ),
        (
            "protocol: HTTP, port: 80 }",
            format!("protocol: HTTP, port: {port} }}"),
        ),
    ] {
        assert!(own.contains(from), "nothing to replace: {from}");
        own = own.replace(from, &to);
    }
    let around = filled(
        "envoy-gateway",
        &[("version", &ENVOY), ("upstream", &upstream)],
    );
    own + &around
}

#[test]
fn envoy_gateway_asks_by_the_shipped_security_policy() {
    let (around, upstream) = (Around::start(), Upstream::start());
    let mut portcullis = around.server().start();
    let port = free_port();
    let objects = objects(
        portcullis.check_address().port(),
        upstream.address().port(),
        port,
    );
    let gateway = EnvoyGateway::start(&objects);
    let key = ("x-api-key", SHOP_KEY);
    let ask = |headers: &[(&str, &str)]| get(port, HOST, "/orders/1", headers);
    let start = std::time::Instant::now();
    let answered = || {
        let open = std::net::TcpStream::connect(("127.0.0.1", port)).is_ok();
        (open && ask(&[key]).status == 200).then_some(())
    };
    within(PATIENCE, "Envoy Gateway to route", || {
        assert!(
            start.elapsed() < PATIENCE - Duration::from_secs(1),
            "{}",
            gateway.log()
        );
        answered()
    });
    let seen = upstream.last().expect("a request");
    assert_eq!(seen.values("x-api"), ["orders"]);
    let denied = ask(&[]);
    assert_eq!(
        denied.denial_code().as_deref(),
        Some("unauthenticated"),
        "{denied:?}"
    );
    let billing = get(
        port,
        HOST,
        "/billing/1",
        &[key, ("authorization", "Bearer mine")],
    );
    assert_eq!(billing.status, 200, "{billing:?}");
    let seen = upstream.last().expect("a request");
    assert_eq!(seen.values("authorization"), ["Bearer token-1.us.billing"]);
    portcullis.kill();
    let closed = ask(&[key]);
    assert_eq!(
        (closed.status, closed.json()),
        (503, Value::Null),
        "{closed:?}"
    );
}
