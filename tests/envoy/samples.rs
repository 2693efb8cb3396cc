//! What `deploy/` holds is loaded and used, not only read.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::scene::{HOST, SHOP_KEY, Scene, bearer, seen};
use crate::support::envoy::{Envoy, validate};
use crate::support::issuer::Issuer;
use crate::support::portcullis::{Portcullis, PortcullisBuilder};
use crate::support::signing::Algorithm;
use crate::support::upstream::Upstream;

fn deploy(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("deploy")
        .join(path)
}

/// `deploy/envoy/envoy.yaml` as it is, but for the addresses.
fn hardened_envoy(authz: SocketAddr, upstream: SocketAddr) -> Envoy {
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

/// The httpbin sample as it is, with the keys of `issuer` and free ports.
fn httpbin_server(issuer: &Issuer) -> Portcullis {
    let folder = TempDir::new().expect("a temporary folder");
    fs::create_dir(folder.path().join("catalog")).expect("a folder");
    for file in [
        "portcullis.yaml",
        "catalog/api.yaml",
        "catalog/application.yaml",
        "catalog/subscription.yaml",
        "catalog/plan.yaml",
    ] {
        fs::copy(
            deploy("samples/httpbin").join(file),
            folder.path().join(file),
        )
        .expect("a file to copy");
    }
    let files = fs::read_dir(deploy("samples/httpbin/catalog"))
        .expect("a folder")
        .count();
    assert_eq!(files, 4, "a file of the sample is missing from this test");
    PortcullisBuilder::in_folder(folder)
        .file("issuer.pem", &issuer.keys().public_pem(Algorithm::Es256))
        .environment("PORTCULLIS__LISTENERS__INBOUND__ADDRESS", "127.0.0.1:0")
        .environment("PORTCULLIS__LISTENERS__ADMIN__ADDRESS", "127.0.0.1:0")
        .environment("PORTCULLIS__LISTENERS__OBSERVE__ADDRESS", "127.0.0.1:0")
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
