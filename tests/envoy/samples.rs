//! What `deploy/` holds is loaded and used, not only read.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::scene::{HOST, SHOP_KEY, Scene, bearer, seen};
use crate::support::authority::{Authority, Shown};
use crate::support::envoy::{Envoy, EnvoyBuilder, validate};
use crate::support::issuer::Issuer;
use crate::support::portcullis::{Portcullis, PortcullisBuilder};
use crate::support::providers::Providers;
use crate::support::redis::RedisServer;
use crate::support::signing::Algorithm;
use crate::support::upstream::Upstream;

pub(crate) fn deploy(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("deploy")
        .join(path)
}

/// `deploy/envoy/envoy.yaml` as it is, but for the addresses.
pub(crate) fn hardened_envoy(authz: SocketAddr, upstream: SocketAddr) -> Envoy {
    let mut configuration =
        fs::read_to_string(deploy("envoy/envoy.yaml")).expect("a readable file");
    for (from, to) in [
        (
            "127.0.0.1, port_value: 9901",
            "127.0.0.1, port_value: 0".to_owned(),
        ),
        (
            "0.0.0.0, port_value: 10000",
            "127.0.0.1, port_value: 0".to_owned(),
        ),
        (
            "127.0.0.1, port_value: 9001",
            format!("127.0.0.1, port_value: {}", authz.port()),
        ),
        (
            "127.0.0.1, port_value: 8080",
            format!("127.0.0.1, port_value: {}", upstream.port()),
        ),
    ] {
        assert!(configuration.contains(from), "no address {from}");
        configuration = configuration.replace(from, &to);
    }
    Envoy::start_with(&configuration)
}

/// A sample as it is, with free ports.
pub(crate) fn sample(name: &str, listeners: &[&str]) -> PortcullisBuilder {
    let sample = deploy("samples").join(name);
    let folder = TempDir::new().expect("a temporary folder");
    let copy = |file: &Path| {
        let name = file.strip_prefix(&sample).expect("a file of the sample");
        fs::copy(file, folder.path().join(name)).expect("a file to copy");
    };
    fs::create_dir(folder.path().join("catalog")).expect("a folder");
    copy(&sample.join("portcullis.yaml"));
    for file in fs::read_dir(sample.join("catalog")).expect("a folder") {
        copy(&file.expect("a file").path());
    }
    let builder = PortcullisBuilder::in_folder(folder);
    listeners.iter().fold(builder, |builder, listener| {
        let variable = format!("PORTCULLIS__LISTENERS__{listener}__ADDRESS");
        builder.environment(&variable, "127.0.0.1:0")
    })
}

/// The httpbin sample with the keys of `issuer`.
fn httpbin_server(issuer: &Issuer) -> Portcullis {
    sample("httpbin", &["INBOUND", "ADMIN", "OBSERVE"])
        .file("issuer.pem", &issuer.keys().public_pem(Algorithm::Es256))
        .start()
}

/// The egress sample with secrets, and `idp` in place of the partner's identity provider.
fn egress_server(idp: &Providers, authority: &Authority) -> Portcullis {
    let builder = sample("egress", &["OUTBOUND", "ADMIN", "OBSERVE"]);
    let configuration = fs::read_to_string(builder.folder().join("portcullis.yaml"));
    let configuration = configuration.expect("a readable file");
    let partner = "tokenUrl: https://idp.partner.example/token";
    assert!(configuration.contains(partner), "{configuration}");
    let ours = format!(
        "http: {{ ca: {{ file: ca.pem }} }}\n    tokenUrl: {}",
        idp.token_url()
    );
    builder
        .file("portcullis.yaml", &configuration.replace(partner, &ours))
        .file("ca.pem", &authority.pem())
        .file("partner.secret", "a secret")
        .file("echo.key", "the gate's key")
        .start()
}

#[test]
fn envoy_takes_the_hardened_configuration() {
    validate(&deploy("envoy/envoy.yaml")).unwrap();
}

#[test]
fn the_hardened_envoy_lets_pass_what_is_allowed_and_nothing_else() {
    let scene = Scene::start();
    let envoy = hardened_envoy(scene.portcullis.check_address(), scene.upstream.address());
    let token = bearer(&scene.token());
    let allowed = envoy.get(
        HOST,
        "/orders/1",
        &[
            ("authorization", &token),
            ("x-user", "root"),
            ("X-User", "admin"),
        ],
    );
    assert_eq!(allowed.status, 200, "{allowed:?}");
    assert_eq!(seen(&allowed, "x-user"), ["alice"]);
    assert_eq!(envoy.get(HOST, "/orders/1", &[]).status, 401);
    // Envoy itself refuses these.
    let passed = scene.upstream.count();
    assert_eq!(
        envoy
            .get(
                HOST,
                "/orders/1",
                &[("x-api-key", SHOP_KEY), ("x_user", "root")]
            )
            .status,
        400
    );
    assert_eq!(
        envoy
            .get(HOST, "/orders%2f1", &[("x-api-key", SHOP_KEY)])
            .status,
        400
    );
    assert_eq!(
        envoy
            .get(HOST, "/orders%5c1", &[("x-api-key", SHOP_KEY)])
            .status,
        400
    );
    assert_eq!(scene.upstream.count(), passed);
}

#[test]
fn the_hardened_envoy_is_closed_once_the_server_is_gone() {
    let mut scene = Scene::start();
    let envoy = hardened_envoy(scene.portcullis.check_address(), scene.upstream.address());
    scene.portcullis.kill();
    assert_eq!(
        envoy
            .get(HOST, "/orders/1", &[("x-api-key", SHOP_KEY)])
            .status,
        503
    );
    assert_eq!(scene.upstream.count(), 0);
}

#[test]
fn the_httpbin_sample_answers_headers_to_who_has_a_token() {
    let issuer = Issuer::start();
    let upstream = Upstream::start();
    let server = httpbin_server(&issuer);
    let envoy = hardened_envoy(server.check_address(), upstream.address());
    let key = server.folder().join("key.pem");
    fs::write(&key, issuer.keys().private_pem(Algorithm::Es256)).unwrap();
    // The command of the sample's README.
    let mut command = Command::new(env!("CARGO_BIN_EXE_portcullis"));
    command
        .arg("token")
        .arg("--key")
        .arg(key)
        .args(["--issuer", "https://idp.example"]);
    command.args([
        "--audience",
        "httpbin",
        "--client-id",
        "shop",
        "--subject",
        "alice",
    ]);
    let minted = command.output().unwrap();
    let token = format!(
        "Bearer {}",
        String::from_utf8(minted.stdout).unwrap().trim()
    );
    for host in ["localhost:10000", "httpbin.example", "127.0.0.1"] {
        let response = envoy.get(host, "/headers", &[("authorization", &token)]);
        assert_eq!(response.status, 200, "{response:?}");
        assert_eq!(seen(&response, "x-client-id"), ["shop"]);
        assert_eq!(seen(&response, "x-user"), ["alice"]);
        assert_eq!(envoy.get(host, "/headers", &[]).status, 401);
    }
}

#[test]
fn the_egress_sample_gives_each_partner_its_credential() {
    let authority = Authority::new();
    let idp = Providers::start_tls(&authority, Shown::Good);
    let upstream = Upstream::start();
    let server = egress_server(&idp, &authority);
    let envoy = EnvoyBuilder::new(server.address("outbound"), upstream.address()).start();
    let own = [("authorization", "Bearer mine"), ("x-api-key", "mine")];
    let partner = envoy.get("partner.example", "/orders/1", &own);
    assert_eq!(
        seen(&partner, "authorization"),
        ["Bearer token-1.us.orders.read"]
    );
    let call = idp.last();
    let (id, secret) = call.basic().unwrap();
    assert_eq!((id.as_str(), secret.as_str()), ("us", "a secret"));
    let echo = envoy.get("httpbin.org", "/headers", &own);
    assert_eq!(seen(&echo, "x-api-key"), ["the gate's key"]);
    let untouched = envoy.get("example.com", "/", &own);
    assert_eq!(seen(&untouched, "x-api-key"), ["mine"]);
    assert_eq!(envoy.get("partner.example", "/invoices", &own).status, 404);
    assert_eq!(upstream.count(), 3);
    assert_eq!(idp.count(), 1);
}

#[test]
fn the_image_is_built_with_the_pinned_toolchain() {
    let toolchain =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("rust-toolchain.toml"))
            .unwrap();
    let channel = toolchain
        .lines()
        .find_map(|line| line.strip_prefix("channel = "))
        .unwrap()
        .trim_matches('"');
    let dockerfile = fs::read_to_string(deploy("Dockerfile")).unwrap();
    assert!(
        dockerfile.contains(&format!("FROM rust:{channel}-")),
        "the image is not built with {channel}"
    );
    assert!(dockerfile.contains("USER 65532"), "the image runs as root");
}

/// The sample as it is, three times over one real Redis, behind one Envoy that asks them in turn.
#[test]
fn three_replicas_count_together() {
    let redis = RedisServer::start();
    let url = format!("redis://{}/0", redis.address());
    let replica = || {
        let sample = sample("replicas", &["INBOUND", "ADMIN", "OBSERVE"]);
        sample
            .environment("PORTCULLIS__QUOTA__STORE__URL", &url)
            .start()
    };
    let replicas = [replica(), replica(), replica()];
    let upstream = Upstream::start();
    let [first, second, third] = replicas.each_ref().map(Portcullis::check_address);
    let envoy = EnvoyBuilder::new(first, upstream.address())
        .replica(second)
        .replica(third)
        .start();
    let statuses: Vec<u16> = (0..30)
        .map(|_| envoy.get("any.example", "/", &[]).status)
        .collect();
    let allowed = statuses.iter().filter(|status| **status == 200).count();
    // ten in a minute, and ten more where a minute ends meanwhile
    assert!((10..=20).contains(&allowed), "{statuses:?}");
    assert_eq!(
        statuses.iter().filter(|status| **status == 429).count(),
        30 - allowed
    );
    let asked = replicas
        .iter()
        .filter(|replica| replica.metrics().contains("portcullis_checks_total{"));
    assert!(asked.count() >= 2, "one replica was asked alone");
    let left = replicas.each_ref().map(|replica| {
        let counters = replica
            .admin("/v1/quotas?application=anybody&api=echo")
            .json();
        counters["counters"][0]["remaining"].clone()
    });
    assert!(
        left.iter().all(|one| one.is_u64() && *one == left[0]),
        "{left:?}"
    );
}
