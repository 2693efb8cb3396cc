//! A real `redis-server` as a process, on a free port of the loopback interface, which can be
//! stopped, paused, filled and made a replica.

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;

use redis::{Connection, FromRedisValue, RedisResult};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::authority::Authority;
use super::eventually;
use super::process::Process;

/// The user of a server with an ACL, who may write the keys of `portcullis` and no others.
pub(crate) const USER: &str = "gate";
/// The password of that user.
pub(crate) const PASSWORD: &str = "hunter2-of-redis";

const INSTALL: &str = "`redis-server` is not installed: apt-get install redis-server";

/// How a server is started.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct RedisOptions {
    /// Speaks TLS, with a certificate of an authority of its own, and asks clients for one.
    pub(crate) tls: bool,
    /// Lets in who has a name and a password: [`USER`], [`PASSWORD`].
    pub(crate) acl: bool,
    /// Is a cluster of one node, which has every slot.
    pub(crate) cluster: bool,
}

/// A running server; dropping it kills it.
#[derive(Debug)]
pub(crate) struct RedisServer {
    // Ends before the folder is removed.
    process: Process,
    folder: TempDir,
    address: SocketAddr,
    options: RedisOptions,
}

impl RedisServer {
    /// Starts one without TLS and passwords.
    pub(crate) fn start() -> Self {
        Self::start_with(RedisOptions::default())
    }

    /// Starts one.
    ///
    /// # Panics
    /// Where it is not installed, or does not start.
    pub(crate) fn start_with(options: RedisOptions) -> Self {
        let folder = TempDir::new().expect("a temporary folder");
        if options.tls {
            write_certificates(folder.path());
        }
        // another program may take the port before the server does
        let (process, address) = eventually("redis-server to take a port", || {
            let address = free_address();
            spawn(folder.path(), address, options).map(|process| (process, address))
        });
        let server = Self {
            process,
            folder,
            address,
            options,
        };
        if options.cluster {
            let _: () = server.ask(&["CLUSTER", "ADDSLOTSRANGE", "0", "16383"]);
            eventually("the cluster to be ready", || {
                let info: String = server.ask(&["CLUSTER", "INFO"]);
                info.contains("cluster_state:ok").then_some(())
            });
        }
        server
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The section of the configuration that leads to it.
    pub(crate) fn config(&self) -> Value {
        self.config_at(self.address)
    }

    /// The same, through something that listens at `address` and hands everything on.
    pub(crate) fn config_at(&self, address: SocketAddr) -> Value {
        let scheme = if self.options.tls { "rediss" } else { "redis" };
        let database = if self.options.cluster { "" } else { "/0" };
        let mut config = json!({ "url": format!("{scheme}://{address}{database}") });
        let file = |name: &str| json!({ "file": self.folder.path().join(name) });
        if self.options.tls {
            config["ca"] = file("ca.pem");
            config["certificate"] = file("client-chain.pem");
            config["key"] = file("client-key.pem");
        }
        if self.options.acl {
            fs::write(self.folder.path().join("password"), PASSWORD).expect("a file");
            config["username"] = json!(USER);
            config["password"] = file("password");
        }
        config
    }

    // --- what is done to it ---

    /// Asks it as an administrator, on a connection of its own.
    ///
    /// # Panics
    /// Where it refuses.
    pub(crate) fn ask<T: FromRedisValue>(&self, words: &[&str]) -> T {
        self.try_ask(words)
            .unwrap_or_else(|error| panic!("{words:?}: {error}"))
    }

    /// Asks it as an administrator, on a connection of its own.
    pub(crate) fn try_ask<T: FromRedisValue>(&self, words: &[&str]) -> RedisResult<T> {
        let mut cmd = redis::cmd(words[0]);
        cmd.arg(&words[1..]);
        cmd.query(&mut self.connect()?)
    }

    fn connect(&self) -> RedisResult<Connection> {
        connect(self.folder.path())
    }

    /// Kills it as `kill -9` does.
    pub(crate) fn kill(&mut self) {
        self.process.kill();
    }

    /// Starts it again on the same port, with nothing in it.
    pub(crate) fn restart_empty(&mut self) {
        self.process.kill();
        let (folder, address, options) = (self.folder.path(), self.address, self.options);
        self.process = eventually("redis-server to start again", || {
            spawn(folder, address, options)
        });
    }

    /// Stops it where it stands, with its connections open, until [`RedisServer::thaw`].
    pub(crate) fn freeze(&mut self) {
        self.process.signal("STOP");
    }

    /// Lets it go on.
    pub(crate) fn thaw(&mut self) {
        self.process.signal("CONT");
    }

    /// Lets every command of clients wait for so long.
    pub(crate) fn pause(&self, millis: u64) {
        let _: () = self.ask(&["CLIENT", "PAUSE", &millis.to_string(), "ALL"]);
    }

    /// Lets it do nothing at all for so long. Returns at once.
    pub(crate) fn doze(&self, seconds: f64) {
        let mut connection = self.connect().expect("a connection");
        let sleep = redis::cmd("DEBUG").arg("SLEEP").arg(seconds).to_owned();
        let sent = connection.send_packed_command(&sleep.get_packed_command());
        sent.expect("it takes the command");
    }

    /// Lets it have no memory for writes, or as much as it needs again.
    pub(crate) fn fill(&self, full: bool) {
        let limit = if full { "1" } else { "0" };
        let _: () = self.ask(&["CONFIG", "SET", "maxmemory", limit]);
    }

    /// Makes it a replica of a server that is not there, or a primary again.
    pub(crate) fn replica(&self, replica: bool) {
        let words: [&str; 3] = if replica {
            ["REPLICAOF", "127.0.0.1", "1"]
        } else {
            ["REPLICAOF", "NO", "ONE"]
        };
        let _: () = self.ask(&words);
    }

    /// Every key in it.
    pub(crate) fn keys(&self) -> Vec<String> {
        self.ask(&["KEYS", "*"])
    }
}

/// An address that nobody listens at now.
pub(crate) fn free_address() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    listener.local_addr().expect("an address")
}

fn connect(folder: &Path) -> RedisResult<Connection> {
    let socket = socket(folder);
    redis::Client::open(format!("unix://{}", socket.display()))?.get_connection()
}

fn socket(folder: &Path) -> PathBuf {
    folder.join("admin.sock")
}

/// Starts the program and waits until it answers; none where the port is taken.
fn spawn(folder: &Path, address: SocketAddr, options: RedisOptions) -> Option<Process> {
    fs::write(
        folder.join("redis.conf"),
        settings(folder, address, options),
    )
    .expect("a file");
    let _left_behind = fs::remove_file(socket(folder));
    let installed = Command::new("redis-server").arg("--version").output();
    assert!(installed.is_ok(), "{INSTALL}");
    let mut command = Command::new("redis-server");
    command.arg(folder.join("redis.conf"));
    command.stdout(File::create(folder.join("log")).expect("a file for its log"));
    command.stderr(File::create(folder.join("stderr")).expect("a file"));
    let mut process = Process::start("redis-server", command);
    eventually("redis-server to answer", || {
        if process.ended().is_some() {
            return Some(None);
        }
        let mut connection = connect(folder).ok()?;
        redis::cmd("PING").query::<String>(&mut connection).ok()?;
        Some(Some(()))
    })
    .map(|()| process)
}

fn settings(folder: &Path, address: SocketAddr, options: RedisOptions) -> String {
    let here = folder.display();
    let (plain, tls) = if options.tls {
        (0, address.port())
    } else {
        (address.port(), 0)
    };
    let mut settings = format!(
        "bind {}\nport {plain}\nunixsocket {}\ndir {here}\nsave \"\"\nappendonly no\n\
         enable-debug-command yes\nprotected-mode no\nmaxmemory-policy noeviction\n",
        address.ip(),
        socket(folder).display(),
    );
    if options.tls {
        settings.push_str(&format!(
            "tls-port {tls}\ntls-cert-file {here}/chain.pem\ntls-key-file {here}/key.pem\n\
             tls-ca-cert-file {here}/ca.pem\ntls-auth-clients yes\n"
        ));
    }
    if options.acl {
        // who gives no name is the administrator, as these tests are by the socket
        // the user of the guide, so that what it may do is known to be enough
        let guide = include_str!("../../docs/guides/redis.md");
        let user = guide.lines().find(|line| line.starts_with("user "));
        let user = user.expect("a user in the guide");
        let user = user.replace("user portcullis", &format!("user {USER}"));
        settings.push_str(&user.replace(">…", &format!(">{PASSWORD}")));
        settings.push('\n');
    }
    if options.cluster {
        settings.push_str("cluster-enabled yes\n");
    }
    settings
}

fn write_certificates(folder: &Path) {
    let authority = Authority::new();
    let (host, client) = (authority.host(), authority.client(USER));
    for (name, pem) in [
        ("ca.pem", authority.pem()),
        ("chain.pem", host.chain_pem()),
        ("key.pem", host.key_pem()),
        ("client-chain.pem", client.chain_pem()),
        ("client-key.pem", client.key_pem()),
    ] {
        fs::write(folder.join(name), pem).expect("a file");
    }
}
