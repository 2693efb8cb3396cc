//! Portcullis with a real SPIRE: its server and agent, on loopback, this process attested by its
//! user.
//!
//! `make test-spire` runs this. SPIRE is in no package registry: `spire-server` and `spire-agent` are
//! taken from `SPIRE_BIN`, a folder, or from `PATH`.

#![expect(
    clippy::expect_used,
    clippy::panic,
    reason = "what fails here fails a test, which should stop and say why"
)]

#[path = "../support.rs"]
mod support;

mod spire;

use std::time::Duration;

use serde_json::json;
use support::portcullis::{Portcullis, PortcullisBuilder};
use support::tls::TlsClient;
use support::within;

use crate::spire::{Spire, TRUST_DOMAIN};

/// The agent hears of entries every five seconds.
const PATIENCE: Duration = Duration::from_secs(60);

/// The identity that is registered for Portcullis.
const ID: &str = "spiffe://example.org/portcullis";

/// A server whose check port shows what the agent gives it.
fn server(spire: &Spire) -> Portcullis {
    let open = r#"
kind: Api
metadata: { name: open }
spec:
  title: open
  version: 1.0.0
  hosts: ["*"]
  authenticators: [anonymous]
  subscription: none
  unmatchedOperation: allow
"#;
    PortcullisBuilder::new()
        .catalog("apis.yaml", open)
        .set(
            &["spiffe"],
            json!({ "endpoint": spire.endpoint(), "trustDomain": TRUST_DOMAIN }),
        )
        .set(&["listeners", "inbound", "tls"], json!({ "spiffe": {} }))
        .set(
            &["listeners", "inbound", "peers"],
            json!({ "allow": [format!("spiffe://{TRUST_DOMAIN}/gateway")] }),
        )
        .patience(PATIENCE)
        .start()
}

/// Whether the check port shows a certificate that names [`ID`].
fn shows_its_identity(portcullis: &Portcullis) -> bool {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    // without a certificate of its own the client is refused, but only after it was shown ours
    let client = TlsClient::new(None);
    let _refused = runtime
        .expect("a runtime")
        .block_on(client.connect(portcullis.check_address()));
    client
        .shown()
        .is_some_and(|leaf| leaf.windows(ID.len()).any(|bytes| bytes == ID.as_bytes()))
}

#[test]
fn the_check_port_shows_the_identity_that_spire_registered_until_it_is_deleted() {
    let spire = Spire::start();
    let entry = spire.register(ID);
    let portcullis = server(&spire);
    assert!(shows_its_identity(&portcullis), "{}", portcullis.stdout());
    spire.delete(&entry);
    within(PATIENCE, "the identity to be taken away", || {
        (!shows_its_identity(&portcullis)).then_some(())
    });
    spire.register(ID);
    within(PATIENCE, "the identity to come back", || {
        shows_its_identity(&portcullis).then_some(())
    });
}

#[test]
fn without_an_entry_portcullis_is_not_ready_and_is_once_there_is_one() {
    let spire = Spire::start();
    let mut portcullis = PortcullisBuilder::new()
        .set(
            &["spiffe"],
            json!({ "endpoint": spire.endpoint(), "trustDomain": TRUST_DOMAIN }),
        )
        .set(&["listeners", "inbound", "tls"], json!({ "spiffe": {} }))
        .set(
            &["listeners", "inbound", "peers"],
            json!({ "allow": [format!("spiffe://{TRUST_DOMAIN}/gateway")] }),
        )
        .catalog(
            "none.yaml",
            "kind: Application\nmetadata: { name: shop }\nspec: {}\n",
        )
        .patience(PATIENCE)
        .without_waiting()
        .start();
    assert_eq!(portcullis.observe("/readyz").status, 503);
    spire.register(ID);
    portcullis.wait_until_ready();
    assert!(shows_its_identity(&portcullis), "{}", portcullis.stdout());
}
