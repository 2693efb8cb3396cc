use std::path::Path;

use super::*;
use crate::store::material::tests::pair;

const SECRET: &str = "an operator's secret, which is long enough";

/// A folder with a store and its secret.
struct Scene(tempfile::TempDir);

impl Scene {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("secret"), SECRET).unwrap();
        Self(folder)
    }

    fn config(encrypted: bool) -> StoreConfig {
        StoreConfig {
            path: "state.db".into(),
            encryption_key: encrypted.then(|| SecretSource::File("secret".into())),
        }
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn try_open(&self) -> Result<Store, StoreError> {
        Store::open(&Self::config(true), &mut Reader::new(self.path()))
    }

    fn open(&self) -> Store {
        self.try_open().unwrap()
    }

    fn bytes(&self) -> Vec<u8> {
        let read = |name: &str| std::fs::read(self.path().join(name)).unwrap_or_default();
        [read("state.db"), read("state.db-wal")].concat()
    }
}

pub(crate) fn endpoint(host: &str, base_path: &str) -> Endpoint {
    Endpoint {
        id: Uuid::now_v7(),
        domain: host.to_owned(),
        path: base_path.to_owned(),
        host: host.to_owned(),
        base_path: base_path.to_owned(),
        port: 80,
        target_port: 443,
        use_https: true,
        client_id: "EU.EORI.A".to_owned(),
        idp_id: "EU.EORI.IDP".to_owned(),
        idp_address: "https://idp.example/token".to_owned(),
        grant_type: "client_credentials".to_owned(),
    }
}

fn chain(pem: &str) -> CertificateChain {
    CertificateChain::parse(pem.as_bytes()).unwrap()
}

fn key(pem: &str) -> SigningKey {
    SigningKey::parse(pem.as_bytes()).unwrap()
}

#[test]
fn f34_what_was_written_is_there_after_a_restart() {
    let scene = Scene::new();
    let pair = pair();
    let (first, second) = (endpoint("b.example", "/"), endpoint("a.example", "/x"));
    {
        let store = scene.open();
        assert_eq!(store.add_endpoint(&first).unwrap(), Written::Done);
        assert_eq!(store.add_endpoint(&second).unwrap(), Written::Done);
        let added = store.add_credential("A", Some(&chain(&pair.chain)), Some(&key(&pair.key)));
        assert_eq!(added.unwrap(), Written::Done);
    }
    let store = scene.open();
    assert_eq!(store.endpoints(), [second, first.clone()]);
    let credential = store.credential("A").unwrap();
    assert_eq!(
        credential.certificates,
        pair.chain.replace("\r\n", "\n").as_bytes()
    );
    assert!(chain(&pair.chain).is_of(&SigningKey::parse(credential.key.expose()).unwrap()));
    assert_eq!(store.remove_endpoint(first.id).unwrap(), Written::Done);
    assert_eq!(store.remove_endpoint(first.id).unwrap(), Written::Missing);
    assert_eq!(store.remove_credential("A").unwrap(), Written::Done);
    assert_eq!(store.remove_credential("A").unwrap(), Written::Missing);
    drop(store);
    let store = scene.open();
    assert_eq!(store.endpoints().len(), 1);
    assert!(store.client_ids().is_empty());
}

#[test]
fn a_host_and_path_have_one_endpoint() {
    let scene = Scene::new();
    let store = scene.open();
    store.add_endpoint(&endpoint("a.example", "/")).unwrap();
    let again = store.add_endpoint(&endpoint("a.example", "/"));
    assert_eq!(again.unwrap(), Written::Taken);
    let below = store.add_endpoint(&endpoint("a.example", "/x"));
    assert_eq!(below.unwrap(), Written::Done);
    assert_eq!(store.endpoints().len(), 2);
}

#[test]
fn f36_a_signing_key_is_encrypted_in_the_file_and_does_not_print() {
    let scene = Scene::new();
    let pair = pair();
    let store = scene.open();
    store
        .add_credential("A", Some(&chain(&pair.chain)), Some(&key(&pair.key)))
        .unwrap();
    let printed = format!("{store:?}{:?}", store.credential("A"));
    let bytes = scene.bytes();
    let has = |text: &str| {
        let text = text.as_bytes();
        bytes.windows(text.len()).any(|window| window == text)
    };
    assert!(has("BEGIN CERTIFICATE") && !has("PRIVATE KEY"));
    for line in pair.key.lines().skip(1).filter(|line| line.len() == 64) {
        assert!(!has(line) && !printed.contains(line));
    }
    assert!(!printed.contains("PRIVATE") && !printed.contains(SECRET));
}

#[test]
fn a_half_waits_and_the_old_pair_stays() {
    let scene = Scene::new();
    let (old, new) = (pair(), pair());
    let store = scene.open();
    let is = |pair: &crate::store::material::tests::Pair| {
        let credential = store.credential("A").unwrap();
        let stored = SigningKey::parse(credential.key.expose()).unwrap();
        let certificates = CertificateChain::parse(&credential.certificates).unwrap();
        certificates.is_of(&stored) && certificates == chain(&pair.chain)
    };
    store
        .add_credential("A", Some(&chain(&old.chain)), Some(&key(&old.key)))
        .unwrap();
    let first = store.credential("A").unwrap().generation;
    for key_first in [true, false] {
        let (from, to) = if key_first {
            (&old, &new)
        } else {
            (&new, &old)
        };
        assert!(is(from));
        let set_key = || store.set_key("A", &key(&to.key)).unwrap();
        let set_chain = || store.set_chain("A", &chain(&to.chain)).unwrap();
        let half = if key_first { set_key() } else { set_chain() };
        assert_eq!(half, Written::Waiting);
        assert!(is(from), "the old pair is in effect");
        let other = if key_first { set_chain() } else { set_key() };
        assert_eq!(other, Written::Done);
        assert!(is(to));
    }
    assert!(store.credential("A").unwrap().generation > first);
    assert_eq!(
        store.set_key("B", &key(&old.key)).unwrap(),
        Written::Missing
    );
    assert_eq!(
        store.set_chain("B", &chain(&old.chain)).unwrap(),
        Written::Missing
    );
}

#[test]
fn a_renewed_certificate_of_the_same_key_takes_effect_at_once() {
    let scene = Scene::new();
    let (own, other) = (pair(), pair());
    let store = scene.open();
    store
        .add_credential("A", Some(&chain(&own.chain)), Some(&key(&own.key)))
        .unwrap();
    assert_eq!(
        store.set_key("A", &key(&other.key)).unwrap(),
        Written::Waiting
    );
    let longer = format!("{}{}", own.chain, other.chain);
    assert_eq!(
        store.set_chain("A", &chain(&longer)).unwrap(),
        Written::Done
    );
    let certificates = store.credential("A").unwrap().certificates.clone();
    assert_eq!(certificates, chain(&longer).pem().as_bytes());
}

#[test]
fn a_credential_may_begin_with_one_half() {
    let scene = Scene::new();
    let own = pair();
    let store = scene.open();
    let added = store.add_credential("A", None, Some(&key(&own.key)));
    assert_eq!(added.unwrap(), Written::Waiting);
    assert_eq!(store.client_ids(), ["A"]);
    assert!(store.credential("A").is_none());
    let again = store.add_credential("A", None, Some(&key(&own.key)));
    assert_eq!(again.unwrap(), Written::Taken);
    assert_eq!(
        store.set_chain("A", &chain(&own.chain)).unwrap(),
        Written::Done
    );
    assert!(store.credential("A").is_some());
}

#[test]
fn an_untouched_credential_keeps_its_generation() {
    let scene = Scene::new();
    let own = pair();
    let store = scene.open();
    store
        .add_credential("A", Some(&chain(&own.chain)), Some(&key(&own.key)))
        .unwrap();
    let before = store.credential("A").unwrap();
    store.add_endpoint(&endpoint("a.example", "/")).unwrap();
    assert!(Arc::ptr_eq(&before, &store.credential("A").unwrap()));
}

#[test]
fn one_process_has_the_store_and_others_may_look() {
    let scene = Scene::new();
    let store = scene.open();
    store.add_endpoint(&endpoint("a.example", "/")).unwrap();
    assert!(matches!(scene.try_open(), Err(StoreError::InUse)));
    let looking = Store::read(&Scene::config(true), &mut Reader::new(scene.path())).unwrap();
    assert_eq!(looking.endpoints().len(), 1);
    let refused = looking.add_endpoint(&endpoint("b.example", "/"));
    assert!(matches!(refused, Err(StoreError::ReadOnly)));
    drop(store);
    assert_eq!(scene.open().endpoints().len(), 1);
}

#[test]
fn a_store_that_is_not_there_yet_holds_nothing() {
    let scene = Scene::new();
    let read = |config: &StoreConfig| Store::read(config, &mut Reader::new(scene.path()));
    assert!(read(&Scene::config(true)).unwrap().endpoints().is_empty());
    assert!(!scene.path().join("state.db").exists());
    let nowhere = StoreConfig {
        path: "nowhere/state.db".into(),
        encryption_key: None,
    };
    assert!(matches!(read(&nowhere), Err(StoreError::Unopened(_))));
    let opened = Store::open(&nowhere, &mut Reader::new(scene.path()));
    assert!(matches!(opened, Err(StoreError::Unopened(_))));
}

#[test]
fn another_encryption_key_is_refused() {
    let scene = Scene::new();
    let own = pair();
    scene
        .open()
        .add_credential("A", Some(&chain(&own.chain)), Some(&key(&own.key)))
        .unwrap();
    std::fs::write(scene.path().join("secret"), SECRET.replace("an ", "no ")).unwrap();
    assert!(matches!(scene.try_open(), Err(StoreError::WrongKey)));
    std::fs::write(scene.path().join("secret"), "short").unwrap();
    assert!(matches!(scene.try_open(), Err(StoreError::WeakKey(32))));
    std::fs::remove_file(scene.path().join("secret")).unwrap();
    assert!(matches!(scene.try_open(), Err(StoreError::KeyUnread(_))));
    let without = Store::open(&Scene::config(false), &mut Reader::new(scene.path()));
    assert!(matches!(without, Err(StoreError::NoKey)));
}

#[test]
fn without_an_encryption_key_endpoints_are_kept_and_keys_refused() {
    let scene = Scene::new();
    let own = pair();
    let store = Store::open(&Scene::config(false), &mut Reader::new(scene.path())).unwrap();
    store.add_endpoint(&endpoint("a.example", "/")).unwrap();
    let refused = store.add_credential("A", None, Some(&key(&own.key)));
    assert!(matches!(refused, Err(StoreError::NoKey)));
    drop(store);
    // one that is given later is the store's from then on
    let store = scene.open();
    assert_eq!(store.endpoints().len(), 1);
    store
        .add_credential("A", None, Some(&key(&own.key)))
        .unwrap();
}

#[test]
fn a_file_that_is_no_store_is_refused() {
    for content in [
        &b"this is no database, whatever its name says"[..],
        &[7; 4096],
    ] {
        let scene = Scene::new();
        std::fs::write(scene.path().join("state.db"), content).unwrap();
        assert!(matches!(scene.try_open(), Err(StoreError::Damaged(_))));
        let read = Store::read(&Scene::config(true), &mut Reader::new(scene.path()));
        assert!(matches!(read, Err(StoreError::Damaged(_))));
    }
    let scene = Scene::new();
    let other = rusqlite::Connection::open(scene.path().join("state.db")).unwrap();
    other
        .execute_batch("CREATE TABLE theirs (id INTEGER)")
        .unwrap();
    drop(other);
    assert!(matches!(scene.try_open(), Err(StoreError::Foreign)));
}

#[test]
fn a_damaged_page_is_seen_at_the_start() {
    let scene = Scene::new();
    let store = scene.open();
    for number in 0..200 {
        store
            .add_endpoint(&endpoint(&format!("h{number}.example"), "/"))
            .unwrap();
    }
    drop(store);
    let path = scene.path().join("state.db");
    let mut bytes = std::fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle..].fill(0xff);
    std::fs::write(&path, bytes).unwrap();
    assert!(matches!(scene.try_open(), Err(StoreError::Damaged(_))));
}

#[test]
fn a_newer_schema_is_refused() {
    let scene = Scene::new();
    drop(scene.open());
    let other = rusqlite::Connection::open(scene.path().join("state.db")).unwrap();
    other.pragma_update(None, "user_version", 99).unwrap();
    drop(other);
    assert!(matches!(scene.try_open(), Err(StoreError::Newer(99))));
}

#[test]
fn a_full_disk_changes_nothing() {
    let scene = Scene::new();
    let store = scene.open();
    store.add_endpoint(&endpoint("a.example", "/")).unwrap();
    store
        .file_locked()
        .as_mut()
        .unwrap()
        .limit_pages(8)
        .unwrap();
    let mut full = None;
    for number in 0..1000 {
        let added = store.add_endpoint(&endpoint(&format!("h{number}.example"), "/"));
        if let Err(error) = added {
            full = Some((number, error));
            break;
        }
    }
    let (number, error) = full.unwrap();
    assert!(matches!(error, StoreError::Full), "{error}");
    assert_eq!(store.endpoints().len(), number + 1);
    drop(store);
    assert_eq!(scene.open().endpoints().len(), number + 1);
}

#[test]
fn only_the_owner_reads_the_file() {
    use std::os::unix::fs::PermissionsExt as _;
    let scene = Scene::new();
    let store = scene.open();
    store.add_endpoint(&endpoint("a.example", "/")).unwrap();
    for name in ["state.db", "state.db-wal"] {
        let found = std::fs::metadata(scene.path().join(name)).unwrap();
        assert_eq!(found.permissions().mode() & 0o777, 0o600, "{name}");
    }
}
