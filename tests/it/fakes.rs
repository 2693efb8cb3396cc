//! What is not obvious of the fake provider: that it misbehaves as it says.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::sync::Arc;

use aws_lc_rs::rsa::KeyPair;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs1KeyDer};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serde_json::json;

use crate::support::authority::{Authority, Identity, Shown};
use crate::support::http::{self, Connection, Response};
use crate::support::providers::Providers;
use crate::support::providers::call::Endpoint;
use crate::support::providers::fault::Fault;
use crate::support::providers::gzip;

fn ask(providers: &Providers, form: &str) -> std::io::Result<Response> {
    Connection::open(providers.address())?.send(&token_request(form))
}

fn token_request(form: &str) -> Vec<u8> {
    let length = form.len().to_string();
    let mut bytes = http::request_bytes(
        "POST",
        "idp.test",
        "/token",
        &[
            ("authorization", "Basic Z3c6cyUyMGM="),
            ("content-length", &length),
        ],
    );
    bytes.extend(form.as_bytes());
    bytes
}

#[test]
fn the_fake_provider_gives_every_call_another_token_and_remembers_it() {
    let providers = Providers::start();
    let form = "grant_type=client_credentials&scope=orders.read&audience=a%26b";
    let first = ask(&providers, form).unwrap().json();
    assert_eq!(first["access_token"], "token-1.gw.a_b.orders.read");
    assert_eq!(first["expires_in"], 300);
    providers.answer_member("expires_in", "soon");
    let second = ask(&providers, form).unwrap().json();
    assert_eq!(second["access_token"], "token-2.gw.a_b.orders.read");
    assert_eq!(second["expires_in"], "soon");
    let last = providers.last();
    assert_eq!(last.basic().unwrap(), ("gw".to_owned(), "s c".to_owned()));
    assert_eq!(last.field("audience"), Some("a&b"));
    assert_eq!(
        providers.count_of(|call| call.endpoint == Endpoint::Token),
        2
    );
}

#[test]
fn the_fake_provider_refuses_connections_and_keeps_its_port() {
    let providers = Providers::start();
    let mut open = Connection::open(providers.address()).unwrap();
    open.send(&token_request("")).unwrap();
    providers.refuse_connections();
    let refused = TcpStream::connect(providers.address()).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    assert!(open.send(&token_request("")).is_err(), "it was closed");
    providers.recover();
    assert_eq!(ask(&providers, "").unwrap().status, 200);
}

#[test]
fn the_fake_provider_misbehaves_once_and_then_behaves() {
    let providers = Providers::start();
    providers.break_once(Fault::Reset);
    providers.break_once(Fault::ResetInBody);
    for _ in 0..2 {
        let reset = ask(&providers, "").unwrap_err();
        assert_eq!(reset.kind(), ErrorKind::ConnectionReset);
    }
    assert_eq!(ask(&providers, "").unwrap().status, 200);
}

#[test]
fn the_fake_provider_withholds_answers_until_it_is_told() {
    let providers = Providers::start();
    providers.hold();
    std::thread::scope(|scope| {
        let answer = scope.spawn(|| ask(&providers, "").unwrap());
        providers.wait_for_calls(1);
        assert!(!answer.is_finished());
        providers.release();
        assert_eq!(answer.join().unwrap().status, 200);
    });
}

#[test]
fn the_fake_providers_gzip_bomb_unpacks_to_json() {
    let bytes = gzip::bomb(r#"{"access_token":""#, 40, r#""}"#);
    let mut unpack = Command::new("gzip")
        .arg("-dc")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("gzip, which is part of every Debian");
    unpack.stdin.take().unwrap().write_all(&bytes).unwrap();
    let unpacked = unpack.wait_with_output().unwrap();
    assert!(unpacked.status.success());
    let text = "a".repeat(1 + 40 * gzip::STRIDE);
    let whole: serde_json::Value = serde_json::from_slice(&unpacked.stdout).unwrap();
    assert_eq!(whole, json!({ "access_token": text }));
    assert!(bytes.len() * 100 < text.len());
}

#[test]
fn the_fake_provider_shows_good_and_bad_certificates_and_asks_for_them() {
    let authority = Authority::new();
    let good = Providers::start_tls(&authority, Shown::Good);
    ask_tls(&good, &authority, None).unwrap();
    for shown in [Shown::Expired, Shown::OfAnotherHost] {
        let bad = Providers::start_tls(&authority, shown);
        ask_tls(&bad, &authority, None).unwrap_err();
        assert_eq!((bad.connections(), bad.count()), (1, 0));
    }
    let mutual = Providers::start_mutual_tls(&authority);
    ask_tls(&mutual, &authority, None).unwrap_err();
    ask_tls(
        &mutual,
        &authority,
        Some(&Authority::new().client("mallory")),
    )
    .unwrap_err();
    ask_tls(&mutual, &authority, Some(&authority.client("gw"))).unwrap();
    assert_eq!(mutual.last().certificate.as_deref(), Some("gw"));
    assert_eq!(mutual.count(), 1);
}

fn ask_tls(
    providers: &Providers,
    authority: &Authority,
    client: Option<&Identity>,
) -> std::io::Result<()> {
    let mut roots = RootCertStore::empty();
    let root = CertificateDer::from_pem_slice(authority.pem().as_bytes()).unwrap();
    roots.add(root).unwrap();
    let builder = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    let settings = match client {
        Some(client) => {
            let key = PrivateKeyDer::from_pem_slice(client.key_pem().as_bytes()).unwrap();
            builder
                .with_client_auth_cert(client.chain().to_vec(), key)
                .unwrap()
        }
        None => builder.with_no_client_auth(),
    };
    let name = "127.0.0.1".try_into().unwrap();
    let session = ClientConnection::new(Arc::new(settings), name).unwrap();
    let mut stream = StreamOwned::new(session, TcpStream::connect(providers.address())?);
    stream.write_all(&token_request(""))?;
    let mut start = [0; 12];
    stream.read_exact(&mut start)?;
    assert_eq!(&start, b"HTTP/1.1 200");
    Ok(())
}

#[test]
fn the_key_of_a_party_is_the_same_in_both_forms() {
    let party = Authority::new().party("EU.EORI.NL1");
    let older = PrivatePkcs1KeyDer::from_pem_slice(party.key_pem_pkcs1().as_bytes()).unwrap();
    let key = KeyPair::from_der(older.secret_pkcs1_der()).unwrap();
    let newer = PrivateKeyDer::from_pem_slice(party.key_pem().as_bytes()).unwrap();
    let same = KeyPair::from_pkcs8(newer.secret_der()).unwrap();
    assert_eq!(format!("{key:?}"), format!("{same:?}"));
    assert_eq!(party.chain_pem().matches("BEGIN CERTIFICATE").count(), 2);
}
