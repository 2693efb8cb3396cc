//! SPIRE's server and agent as processes.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;

use crate::support::process::Process;
use crate::support::within;

use super::PATIENCE;

/// The trust domain.
pub(crate) const TRUST_DOMAIN: &str = "example.org";
/// The identity of the agent.
const AGENT: &str = "spiffe://example.org/agent/one";

/// A running server and its agent; dropping it stops both.
#[derive(Debug)]
pub(crate) struct Spire {
    _agent: Process,
    _server: Process,
    folder: TempDir,
}

impl Spire {
    /// Starts both; nobody is registered.
    ///
    /// # Panics
    /// Where they are not installed.
    pub(crate) fn start() -> Self {
        let folder = TempDir::new().expect("a temporary folder");
        let at = |name: &str| folder.path().join(name).display().to_string();
        let port = free_port();
        fs::write(at("server.conf"), server_configuration(&at, port)).expect("a file");
        fs::write(at("agent.conf"), agent_configuration(&at, port)).expect("a file");
        let server = launch(
            "spire-server",
            folder.path(),
            &["run", "-config", &at("server.conf")],
        );
        let socket = at("server.sock");
        let ask = |arguments: &[&str]| {
            let mut command = Command::new(program("spire-server"));
            command.args(arguments).args(["-socketPath", &socket]);
            command.output().expect("spire-server starts")
        };
        within(PATIENCE, "SPIRE's server to be healthy", || {
            ask(&["healthcheck"]).status.success().then_some(())
        });
        fs::write(at("bundle.pem"), said(&ask(&["bundle", "show"]))).expect("a file");
        let token = said(&ask(&["token", "generate", "-spiffeID", AGENT]));
        let token = token
            .trim()
            .strip_prefix("Token: ")
            .expect("a token")
            .to_owned();
        let run = ["run", "-config", &at("agent.conf"), "-joinToken", &token];
        let agent = launch("spire-agent", folder.path(), &run);
        let socket = at("agent.sock");
        within(PATIENCE, "SPIRE's agent to be healthy", || {
            let mut command = Command::new(program("spire-agent"));
            command.args(["healthcheck", "-socketPath", &socket]);
            command
                .output()
                .is_ok_and(|output| output.status.success())
                .then_some(())
        });
        Self {
            _agent: agent,
            _server: server,
            folder,
        }
    }

    /// Where the Workload API is.
    pub(crate) fn endpoint(&self) -> String {
        format!("unix:{}", self.folder.path().join("agent.sock").display())
    }

    /// Registers whatever this user runs under this identity; gives the id of the entry.
    pub(crate) fn register(&self, id: &str) -> String {
        let user = said(&Command::new("id").arg("-u").output().expect("id starts"));
        let selector = format!("unix:uid:{}", user.trim());
        let created = self.ask(&[
            "entry",
            "create",
            "-parentID",
            AGENT,
            "-spiffeID",
            id,
            "-selector",
            &selector,
        ]);
        let mut lines = created.lines();
        let entry = lines.find_map(|line| line.strip_prefix("Entry ID")?.split_once(": "));
        entry.expect("the id of an entry").1.trim().to_owned()
    }

    /// Deletes an entry.
    pub(crate) fn delete(&self, entry: &str) {
        self.ask(&["entry", "delete", "-entryID", entry]);
    }

    fn ask(&self, arguments: &[&str]) -> String {
        let mut command = Command::new(program("spire-server"));
        command
            .args(arguments)
            .arg("-socketPath")
            .arg(self.folder.path().join("server.sock"));
        said(&command.output().expect("spire-server starts"))
    }
}

fn server_configuration(at: &impl Fn(&str) -> String, port: u16) -> String {
    format!(
        r#"
server {{
  bind_address = "127.0.0.1"
  bind_port = "{port}"
  socket_path = "{}"
  trust_domain = "{TRUST_DOMAIN}"
  data_dir = "{}"
  ca_ttl = "24h"
  default_x509_svid_ttl = "1h"
  default_jwt_svid_ttl = "5m"
}}
plugins {{
  DataStore "sql" {{ plugin_data {{ database_type = "sqlite3" connection_string = "{}" }} }}
  NodeAttestor "join_token" {{ plugin_data {{}} }}
  KeyManager "memory" {{ plugin_data {{}} }}
}}
"#,
        at("server.sock"),
        at("server"),
        at("server.sqlite3"),
    )
}

fn agent_configuration(at: &impl Fn(&str) -> String, port: u16) -> String {
    format!(
        r#"
agent {{
  server_address = "127.0.0.1"
  server_port = "{port}"
  socket_path = "{}"
  trust_bundle_path = "{}"
  trust_domain = "{TRUST_DOMAIN}"
  data_dir = "{}"
}}
plugins {{
  NodeAttestor "join_token" {{ plugin_data {{}} }}
  KeyManager "memory" {{ plugin_data {{}} }}
  WorkloadAttestor "unix" {{ plugin_data {{}} }}
}}
"#,
        at("agent.sock"),
        at("bundle.pem"),
        at("agent"),
    )
}

fn launch(name: &'static str, folder: &Path, arguments: &[&str]) -> Process {
    let mut command = Command::new(program(name));
    let log = File::create(folder.join(format!("{name}.log"))).expect("a file");
    command.args(arguments).current_dir(folder);
    command.stdout(log.try_clone().expect("a file")).stderr(log);
    Process::start(name, command)
}

fn said(output: &Output) -> String {
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{error}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// One of SPIRE's programs.
fn program(name: &str) -> PathBuf {
    let folders = std::env::var_os("SPIRE_BIN").or_else(|| std::env::var_os("PATH"));
    let folders = folders.unwrap_or_default();
    let mut found = std::env::split_paths(&folders).map(|folder| folder.join(name));
    found.find(|path| path.is_file()).unwrap_or_else(|| {
        panic!("{name} is neither in SPIRE_BIN nor in PATH, and no package registry has it")
    })
}

/// A port on which nobody listens.
fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("its address").port()
}
