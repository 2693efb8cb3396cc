//! A real Keycloak, an identity provider that nobody here wrote, as a process with its database in
//! memory; and realms in it, one for each test.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::http::{self, Response};
use super::process::Process;
use super::proof::Prover;
use super::within;

/// The version that `scripts/install-keycloak.sh` installs.
const VERSION: &str = "26.4.0";

/// How long it may take to start, on a machine that does other things beside it.
const PATIENCE: Duration = Duration::from_secs(300);

/// Name and password of the administrator.
const ADMIN: &str = "admin";

/// A running Keycloak; dropping it stops it, and so does the end of this process, whatever ends it.
#[derive(Debug)]
pub(crate) struct Keycloak {
    // Ends before the folder is removed.
    process: Process,
    address: SocketAddr,
    folder: TempDir,
}

/// A realm: an issuer with clients of its own.
#[derive(Debug)]
pub(crate) struct Realm<'a> {
    keycloak: &'a Keycloak,
    name: String,
}

impl Keycloak {
    /// Starts it on a free port of the loopback interface and waits until it answers.
    ///
    /// # Panics
    /// Where it is not installed, ends, or does not answer in time.
    pub(crate) fn start() -> Self {
        let folder = TempDir::new().expect("a temporary folder");
        let log = folder.path().join("log");
        let mut command = java(&home());
        command.stdout(File::create(&log).expect("a file for its log"));
        command.stderr(File::create(folder.path().join("stderr")).expect("a file"));
        let mut process = Process::start("keycloak", command);
        let address = within(PATIENCE, "keycloak to open its port", || {
            let written = fs::read_to_string(&log).unwrap_or_default();
            if let Some(status) = process.ended() {
                panic!("keycloak ended with {status}:\n{written}");
            }
            let (_, address) = written.split_once("Listening on: http://")?;
            address.split_whitespace().next()?.parse().ok()
        });
        let keycloak = Self {
            process,
            address,
            folder,
        };
        within(PATIENCE, "keycloak to answer", || {
            let answer = http::get(address, &address.to_string(), "/realms/master", &[]);
            (answer.status == 200).then_some(())
        });
        keycloak
    }

    /// Makes a realm; `settings` are members of Keycloak's `RealmRepresentation`.
    pub(crate) fn realm(&self, name: &str, settings: Value) -> Realm<'_> {
        let mut realm = settings;
        realm["realm"] = name.into();
        realm["enabled"] = true.into();
        self.create("/admin/realms", &realm);
        Realm {
            keycloak: self,
            name: name.to_owned(),
        }
    }

    fn create(&self, target: &str, body: &Value) {
        let token = self.admin_token();
        let headers = [
            ("authorization", format!("Bearer {token}")),
            ("content-type", "application/json".to_owned()),
        ];
        let headers = headers.each_ref().map(|(name, value)| (*name, &**value));
        let answer = http::post(self.address, target, &headers, &body.to_string());
        assert_eq!(answer.status, 201, "POST {target}: {answer:?}");
    }

    /// A token of the administrator; it lasts a minute.
    fn admin_token(&self) -> String {
        let form = [
            ("grant_type", "password"),
            ("client_id", "admin-cli"),
            ("username", ADMIN),
            ("password", ADMIN),
        ];
        let target = "/realms/master/protocol/openid-connect/token";
        access_token(&self.post_form(target, &form))
    }

    fn post_form(&self, target: &str, form: &[(&str, &str)]) -> Response {
        let body = url::form_urlencoded::Serializer::new(String::new())
            .extend_pairs(form)
            .finish();
        let media_type = ("content-type", "application/x-www-form-urlencoded");
        http::post(self.address, target, &[media_type], &body)
    }
}

impl Realm<'_> {
    /// Its issuer identifier.
    pub(crate) fn issuer(&self) -> String {
        format!("http://{}/realms/{}", self.keycloak.address, self.name)
    }

    /// Its token endpoint.
    pub(crate) fn token_url(&self) -> String {
        format!("{}/protocol/openid-connect/token", self.issuer())
    }

    /// A token that the client `id` gets by its own credentials, with more fields in the form.
    ///
    /// # Panics
    /// Where Keycloak gives none.
    pub(crate) fn token(&self, id: &str, secret: &str, fields: &[(&str, &str)]) -> String {
        let mut form = vec![
            ("grant_type", "client_credentials"),
            ("client_id", id),
            ("client_secret", secret),
        ];
        form.extend(fields);
        access_token(&self.keycloak.post_form(&self.token_target(), &form))
    }

    /// A token that the client `id` gets for a user, with the user's session in it.
    ///
    /// # Panics
    /// Where Keycloak gives none.
    pub(crate) fn user_token(&self, (id, secret): (&str, &str), user: (&str, &str)) -> String {
        let form = [
            ("grant_type", "password"),
            ("client_id", id),
            ("client_secret", secret),
            ("username", user.0),
            ("password", user.1),
            ("scope", "openid"),
        ];
        access_token(&self.keycloak.post_form(&self.token_target(), &form))
    }

    /// Ends every session of a user, as an administrator does.
    ///
    /// # Panics
    /// Where there is no such user, or Keycloak refuses.
    pub(crate) fn log_out(&self, user: &str) {
        let (realm, address) = (&self.name, self.keycloak.address);
        let token = format!("Bearer {}", self.keycloak.admin_token());
        let headers = [("authorization", token.as_str())];
        let target = format!("/admin/realms/{realm}/users?exact=true&username={user}");
        let found = http::get(address, &address.to_string(), &target, &headers).json();
        let id = found[0]["id"]
            .as_str()
            .expect("the user is there")
            .to_owned();
        let target = format!("/admin/realms/{realm}/users/{id}/logout");
        let answer = http::post(address, &target, &headers, "");
        assert_eq!(answer.status, 204, "POST {target}: {answer:?}");
    }

    fn token_target(&self) -> String {
        format!("/realms/{}/protocol/openid-connect/token", self.name)
    }

    /// A token that the client `id` gets with a DPoP proof (RFC 9449 section 5), by its own credentials.
    ///
    /// # Panics
    /// Where Keycloak gives none.
    pub(crate) fn token_with_proof(&self, id: &str, secret: &str, prover: &Prover) -> String {
        let form = url::form_urlencoded::Serializer::new(String::new())
            .append_pair("grant_type", "client_credentials")
            .append_pair("client_id", id)
            .append_pair("client_secret", secret)
            .finish();
        let proof = prover.proof("POST", &self.token_url(), "");
        let proof = proof.claim("ath", Value::Null).sign();
        let headers = [
            ("content-type", "application/x-www-form-urlencoded"),
            ("dpop", proof.as_str()),
        ];
        let target = format!("/realms/{}/protocol/openid-connect/token", self.name);
        access_token(&http::post(self.keycloak.address, &target, &headers, &form))
    }

    /// Its introspection endpoint.
    pub(crate) fn introspection_url(&self) -> String {
        format!("{}/introspect", self.token_url())
    }

    /// Revokes a token (RFC 7009).
    ///
    /// # Panics
    /// Where Keycloak does not.
    pub(crate) fn revoke(&self, token: &str, id: &str, secret: &str) {
        let form = [
            ("token", token),
            ("client_id", id),
            ("client_secret", secret),
        ];
        let target = format!("/realms/{}/protocol/openid-connect/revoke", self.name);
        let answer = self.keycloak.post_form(&target, &form);
        assert_eq!(answer.status, 200, "{answer:?}");
    }

    /// What Keycloak says of a token (RFC 7662) to this client of the realm.
    pub(crate) fn introspect(&self, token: &str, id: &str, secret: &str) -> Value {
        let form = [
            ("token", token),
            ("client_id", id),
            ("client_secret", secret),
        ];
        let realm = &self.name;
        let target = format!("/realms/{realm}/protocol/openid-connect/token/introspect");
        self.keycloak.post_form(&target, &form).json()
    }

    /// Adds a signing key that is used from here on; the former one stays published.
    pub(crate) fn rotate(&self) {
        let key = json!({
            "name": "rotated",
            "providerId": "rsa-generated",
            "providerType": "org.keycloak.keys.KeyProvider",
            "config": {
                "priority": ["200"], "enabled": ["true"], "active": ["true"],
                "algorithm": ["RS256"], "keySize": ["2048"],
            },
        });
        let target = format!("/admin/realms/{}/components", self.name);
        self.keycloak.create(&target, &key);
    }
}

/// A confidential client that gets tokens by its own credentials, with this audience in them.
pub(crate) fn service_client(id: &str, secret: &str, audience: &str) -> Value {
    json!({
        "clientId": id,
        "secret": secret,
        "serviceAccountsEnabled": true,
        "standardFlowEnabled": false,
        "protocolMappers": [audience_mapper(audience)],
    })
}

/// What puts an audience into the tokens of a client.
pub(crate) fn audience_mapper(audience: &str) -> Value {
    json!({
        "name": format!("audience {audience}"),
        "protocol": "openid-connect",
        "protocolMapper": "oidc-audience-mapper",
        "config": { "included.custom.audience": audience, "access.token.claim": "true" },
    })
}

fn access_token(answer: &Response) -> String {
    let token = answer.json()["access_token"].take();
    let token = token.as_str().map(str::to_owned);
    token.unwrap_or_else(|| panic!("keycloak gives no token: {answer:?}"))
}

/// Where it is installed.
///
/// # Panics
/// Where it is not; a test that needs it is never skipped.
fn home() -> PathBuf {
    let home = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!(".tools/keycloak-{VERSION}"));
    assert!(
        home.join("finished").exists(),
        "Keycloak {VERSION} is not installed; this installs it: make keycloak"
    );
    home
}

/// What its script `kc.sh` starts, without the script, which would stay between this process and
/// Java. `setpriv` has Java killed when the thread ends that started it, which is when this process
/// ends: a value in a static is never dropped.
fn java(home: &Path) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "java"]);
    // a start takes a third less without the optimizing compiler
    command.args(["-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xmx512m"]);
    for package in ["util", "util.concurrent", "security"] {
        command.arg(format!("--add-opens=java.base/java.{package}=ALL-UNNAMED"));
    }
    command.arg(format!("-Dkc.home.dir={}", home.display()));
    command.arg("-Djava.util.logging.manager=org.jboss.logmanager.LogManager");
    command.arg("-Djava.util.concurrent.ForkJoinPool.common.threadFactory=io.quarkus.bootstrap.forkjoin.QuarkusForkJoinWorkerThreadFactory");
    command.arg("-Dpicocli.disable.closures=true");
    command.arg("-cp").arg(home.join("lib/quarkus-run.jar"));
    command.args([
        "io.quarkus.bootstrap.runner.QuarkusEntryPoint",
        "start",
        "--optimized",
        "--cache=local",
        "--http-enabled=true",
        "--http-host=127.0.0.1",
        "--http-port=0",
        "--hostname-strict=false",
    ]);
    command.env("KC_BOOTSTRAP_ADMIN_USERNAME", ADMIN);
    command.env("KC_BOOTSTRAP_ADMIN_PASSWORD", ADMIN);
    command
}
