use super::*;

#[test]
fn the_denial_closest_to_an_owner_is_said() {
    let denial = |reason| Denial::new(reason, "x");
    let mut unclaimed = None;
    for (next, said) in [
        (Reason::CredentialInvalid, Reason::CredentialInvalid),
        (Reason::IssuerUntrusted, Reason::IssuerUntrusted),
        (Reason::AudienceMismatch, Reason::AudienceMismatch),
        (Reason::IssuerUntrusted, Reason::AudienceMismatch),
        (Reason::CredentialInvalid, Reason::AudienceMismatch),
    ] {
        unclaimed = Some(closest(unclaimed, denial(next)));
        assert_eq!(unclaimed.as_ref().unwrap().reason(), said);
    }
}

/// Takes what `explain` is told.
#[derive(Clone, Default)]
struct Told(Arc<std::sync::Mutex<Vec<u8>>>);

impl std::io::Write for Told {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn explain_is_told_where_we_looked_and_what_we_found_but_no_credential() {
    let section = "a: { type: apiKey, credentials: [{ header: x-api-key }, { query: k }] }";
    let authenticator = testing::build(section, &key_refresh::KeySources::offline());
    let Authenticator::ApiKey(api_key) = &*authenticator else {
        panic!("an api key authenticator");
    };
    let catalog = Catalog::new(Vec::new(), Vec::new(), Vec::new());
    let request = testing::request("/?k=hunter2", &[]);
    let outcome = api_key.authenticate(&request, &catalog);
    let told = Told::default();
    let writer = told.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(move || writer.clone())
        .with_ansi(false)
        .finish();
    tracing::subscriber::with_default(subscriber, || explain(&authenticator, &outcome));
    let text = String::from_utf8(told.0.lock().unwrap().clone()).unwrap();
    for part in [
        r#"authenticator="a""#,
        r#"kind="apiKey""#,
        r#"looked_in="header x-api-key, query k""#,
        r#"found="refused""#,
        r#"reason="credential_invalid""#,
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(!text.contains("hunter2"));
}
