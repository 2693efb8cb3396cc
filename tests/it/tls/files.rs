//! Certificates from files: how they are shown, renewed and refused.

use std::fs;
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::io::AsyncReadExt as _;

use super::{GATEWAY, client, open_check, plain, tls, with_tls};
use crate::gate::allowed;
use crate::support::authority::{Authority, Identity};
use crate::support::check::CheckClient;
use crate::support::portcullis::Portcullis;
use crate::support::tls::{TlsClient, agreed};
use crate::support::{PATIENCE, eventually};

/// Connects again and again until the server shows `identity`.
async fn shows(server: &Portcullis, asking: &Identity, identity: &Identity) {
    let start = Instant::now();
    let client = TlsClient::new(Some(asking));
    loop {
        client.open(server.check_address()).await.unwrap();
        if client.shown().as_ref() == identity.chain().first() {
            return;
        }
        assert!(
            start.elapsed() < PATIENCE,
            "the new certificate is not shown"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Writes the pair, each file whole, by renaming.
fn write_pair(server: &Portcullis, identity: &Identity) {
    write(server, "tls.crt", &identity.chain_pem());
    write(server, "tls.key", &identity.key_pem());
}

fn write(server: &Portcullis, name: &str, content: &str) {
    let path = server.folder().join(name);
    let unfinished = server.folder().join("unfinished");
    fs::write(&unfinished, content).unwrap();
    fs::rename(unfinished, path).unwrap();
}

#[tokio::test]
async fn s9_a_pair_that_is_renamed_into_place_is_shown_and_running_connections_stay() {
    let authority = Authority::new();
    let asking = authority.svid(GATEWAY);
    let server = with_tls(&authority, json!({ "allow": [GATEWAY] })).start();
    let running = client(&server, Some(&asking));
    allowed(&running.check(open_check()).await);
    let renewed = authority.host();
    write_pair(&server, &renewed);
    shows(&server, &asking, &renewed).await;
    allowed(&running.check(open_check()).await);
    let metrics = server.metrics();
    assert!(metrics.contains(
        r#"portcullis_connections_refused_total{listener="inbound",reason="handshake_timeout"} 0"#
    ));
}

#[tokio::test]
async fn s9_a_pair_that_is_half_written_leaves_the_one_before() {
    let authority = Authority::new();
    let asking = authority.svid(GATEWAY);
    let server = with_tls(&authority, json!({ "allow": [GATEWAY] })).start();
    let client = TlsClient::new(Some(&asking));
    client.open(server.check_address()).await.unwrap();
    let before = client.shown();
    let (renewed, other) = (authority.host(), authority.host());
    let whole = renewed.chain_pem();
    for (certificate, said) in [
        (other.chain_pem(), "the key is not that of the certificate"),
        (whole[..whole.len() / 3].to_owned(), "tls/inbound"),
        (String::new(), "there is no certificate in PEM"),
    ] {
        let told = server.stderr().matches(said).count();
        write(&server, "tls.crt", &certificate);
        eventually("the pair to be looked at", || {
            (server.stderr().matches(said).count() > told).then_some(())
        });
        client.open(server.check_address()).await.unwrap();
        assert_eq!(client.shown(), before, "{said}");
    }
    write_pair(&server, &renewed);
    shows(&server, &asking, &renewed).await;
}

#[tokio::test]
async fn s9_a_link_that_is_swapped_as_kubernetes_does_renews_the_pair() {
    let authority = Authority::new();
    let asking = authority.svid(GATEWAY);
    let builder = with_tls(&authority, json!({ "allow": [GATEWAY] }));
    let mount = builder.folder().join("mount");
    fs::create_dir(&mount).unwrap();
    let version = |name: &str, identity: &Identity| {
        let folder = mount.join(name);
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("tls.crt"), identity.chain_pem()).unwrap();
        fs::write(folder.join("tls.key"), identity.key_pem()).unwrap();
    };
    let link = |version: &str| {
        std::os::unix::fs::symlink(version, mount.join("..data_tmp")).unwrap();
        fs::rename(mount.join("..data_tmp"), mount.join("..data")).unwrap();
    };
    version("..1", &authority.host());
    link("..1");
    for file in ["tls.crt", "tls.key"] {
        std::os::unix::fs::symlink(format!("..data/{file}"), mount.join(file)).unwrap();
    }
    let mut tls = tls();
    tls["certificate"]["file"] = json!("mount/tls.crt");
    tls["key"]["file"] = json!("mount/tls.key");
    let server = builder.set(&["listeners", "inbound", "tls"], tls).start();
    let renewed = authority.host();
    version("..2", &renewed);
    link("..2");
    shows(&server, &asking, &renewed).await;
}

#[tokio::test]
async fn a_mistake_in_a_file_refuses_the_start_and_names_it() {
    let authority = Authority::new();
    let other = authority.host();
    for (file, content, path, said) in [
        (
            "tls.key",
            other.key_pem(),
            "tls.certificate",
            "not that of the certificate",
        ),
        (
            "tls.crt",
            "nothing".to_owned(),
            "tls.certificate",
            "no certificate in PEM",
        ),
        ("tls.key", "nothing".to_owned(), "tls.key", "no private key"),
        (
            "ca.crt",
            String::new(),
            "tls.clientCa",
            "no certificate in PEM",
        ),
    ] {
        let builder = with_tls(&authority, json!({ "allow": [GATEWAY] })).file(file, &content);
        let (status, told) = builder.start_refused();
        assert_eq!(status.code(), Some(78), "{told}");
        assert!(told.contains(path) && told.contains(said), "{told}");
    }
}

#[tokio::test]
async fn s10_h2_is_chosen_from_what_istio_offers_whatever_name_is_asked_for() {
    let authority = Authority::new();
    let server = with_tls(&authority, json!({ "allow": [GATEWAY] })).start();
    let asking = authority.svid(GATEWAY);
    let istio: [&[u8]; 3] = [b"istio-peer-exchange", b"istio", b"h2"];
    for (version, name) in [
        (
            &rustls::version::TLS12,
            "outbound_.9001_._.portcullis.portcullis.svc.cluster.local",
        ),
        (&rustls::version::TLS13, "somebody.else.example"),
    ] {
        let client = TlsClient::with(Some(&asking), &istio, &[version]).asking_for(name);
        let stream = client.open(server.check_address()).await.unwrap();
        assert_eq!(agreed(&stream), (version.version, Some(b"h2".to_vec())));
        let client = CheckClient::secured(server.check_address(), &client);
        allowed(&client.check(open_check()).await);
    }
    let without = TlsClient::with(Some(&asking), &[b"istio"], rustls::DEFAULT_VERSIONS);
    assert!(without.open(server.check_address()).await.is_err());
}

#[tokio::test]
async fn s8_no_session_is_resumed() {
    let authority = Authority::new();
    let server = with_tls(&authority, json!({ "allow": [GATEWAY] })).start();
    let asking = authority.svid(GATEWAY);
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        // rustls offers what it was given before by itself
        let client = TlsClient::with(Some(&asking), &[b"h2"], &[version]);
        for _ in 0..3 {
            let mut stream = client.open(server.check_address()).await.unwrap();
            let mut settings = [0; 6];
            stream.read_exact(&mut settings).await.unwrap();
            let (_, connection) = stream.get_ref();
            assert_eq!(
                connection.handshake_kind(),
                Some(rustls::HandshakeKind::Full)
            );
            assert_eq!(connection.tls13_tickets_received(), 0);
        }
    }
}

#[tokio::test]
async fn an_admin_port_with_client_certificates_needs_the_token_too() {
    let authority = Authority::new();
    let server = with_tls(&authority, json!({ "allow": [GATEWAY] }))
        .file("token", "a-token-of-the-admin-api-0123456789")
        .set(&["listeners", "admin", "tls"], tls())
        .set(&["listeners", "admin", "token"], json!({ "file": "token" }))
        .start();
    let address = server.address("admin");
    let http1: [&[u8]; 1] = [b"http/1.1"];
    let person = authority.client("a person");
    let with = |identity| TlsClient::with(identity, &http1, rustls::DEFAULT_VERSIONS);
    let token = "authorization: Bearer a-token-of-the-admin-api-0123456789\r\n";
    let answer = with(Some(&person))
        .get_with(address, "/v1/catalog", token)
        .await
        .unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let answer = with(Some(&person))
        .get(address, "/v1/catalog")
        .await
        .unwrap();
    assert!(answer.starts_with("HTTP/1.1 401"), "{answer}");
    assert!(
        with(None)
            .get_with(address, "/v1/catalog", token)
            .await
            .is_err()
    );
}

#[tokio::test]
async fn a_client_that_never_ends_its_handshake_is_dropped_and_keeps_nobody_waiting() {
    let authority = Authority::new();
    let server = with_tls(&authority, json!({ "allow": [GATEWAY] }))
        .set(
            &["listeners", "inbound", "handshakeTimeout"],
            json!("500ms"),
        )
        .start();
    let mut silent = tokio::net::TcpStream::connect(server.check_address())
        .await
        .unwrap();
    let asking = authority.svid(GATEWAY);
    allowed(&client(&server, Some(&asking)).check(open_check()).await);
    // one that ended its handshake must say something, too
    let mut mute = TlsClient::new(Some(&asking))
        .connect(server.check_address())
        .await
        .unwrap();
    let mut rest = Vec::new();
    let ends = async {
        // cut off, however it is told
        let _ = silent.read_to_end(&mut rest).await;
        let _ = mute.read_to_end(&mut rest).await;
    };
    let in_time = tokio::time::timeout(PATIENCE, ends).await;
    in_time.expect("both are dropped");
    let metrics = server.metrics();
    for line in [
        r#"portcullis_tls_handshakes_total{listener="inbound",outcome="unfinished"} 1"#,
        r#"portcullis_connections_refused_total{listener="inbound",reason="handshake_timeout"} 2"#,
    ] {
        assert!(metrics.contains(line), "{line} is not in\n{metrics}");
    }
}

#[tokio::test]
async fn s16_health_and_metrics_are_plain_text_on_a_port_that_answers_no_check() {
    let authority = Authority::new();
    let server = with_tls(&authority, json!({ "allow": [GATEWAY] })).start();
    assert_eq!(server.observe("/livez").status, 200);
    let client = CheckClient::new(server.address("observe"));
    assert!(client.try_check(open_check()).await.is_err());
    let (status, told) = plain(json!({}))
        .set(&["listeners", "observe", "tls"], tls())
        .start_refused();
    assert_eq!(status.code(), Some(78), "{told}");
    assert!(told.contains("tls"), "{told}");
}
