//! The real `portcullis` as a process, with a configuration and a catalog of its own.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::http::{self, Response};
use super::process::Process;
use super::{PATIENCE, eventually, within};

/// What a [`Portcullis`] is started with.
#[derive(Debug)]
pub(crate) struct PortcullisBuilder {
    folder: TempDir,
    /// Left out where the folder has a `portcullis.yaml` already.
    configuration: Option<Value>,
    environment: Vec<(String, String)>,
    /// The program that starts it, and its arguments.
    under: Vec<String>,
    patience: Duration,
    wait_until_ready: bool,
}

/// A running server; dropping it kills it, and [`Portcullis::terminate`] stops it gently.
#[derive(Debug)]
pub(crate) struct Portcullis {
    // Ends before the folder is removed.
    process: Process,
    addresses: BTreeMap<String, SocketAddr>,
    patience: Duration,
    folder: TempDir,
}

impl PortcullisBuilder {
    /// Listeners `inbound` (check), `admin` and `observe` on free ports, a file source `main`,
    /// every decision logged to standard output.
    pub(crate) fn new() -> Self {
        let folder = TempDir::new().expect("a temporary folder");
        let catalog = folder.path().join("catalog");
        fs::create_dir(&catalog).expect("a folder for the catalog");
        let configuration = json!({
            "listeners": {
                "inbound": { "type": "check", "address": "127.0.0.1:0" },
                "admin": { "type": "admin", "address": "127.0.0.1:0" },
                "observe": { "type": "observe", "address": "127.0.0.1:0" },
            },
            "checks": { "deadline": "1500ms", "drainDelay": "0s" },
            "catalog": { "sources": [{ "name": "main", "type": "file", "path": catalog }] },
            "decisionLog": { "output": "stdout", "allows": 1.0 },
            "telemetry": { "log": { "format": "json", "level": "info" } },
        });
        Self {
            configuration: Some(configuration),
            ..Self::in_folder(folder)
        }
    }

    /// The configuration `portcullis.yaml` of this folder, as it is. The server is started there.
    pub(crate) fn in_folder(folder: TempDir) -> Self {
        Self {
            folder,
            configuration: None,
            environment: Vec::new(),
            under: Vec::new(),
            patience: PATIENCE,
            wait_until_ready: true,
        }
    }

    /// Sets an environment variable of the server.
    pub(crate) fn environment(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Starts the server by another program, such as Valgrind, with these arguments.
    pub(crate) fn under(mut self, program: Vec<String>) -> Self {
        self.under = program;
        self
    }

    /// How long it may take until it is ready.
    pub(crate) fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Adds an authenticator.
    pub(crate) fn authenticator(self, name: &str, authenticator: Value) -> Self {
        self.set(&["authenticators", name], authenticator)
    }

    /// Sets a value of the configuration; objects on the way to it are made.
    pub(crate) fn set(mut self, path: &[&str], value: Value) -> Self {
        let mut place = self.configuration.get_or_insert_default();
        for name in path {
            if !place.is_object() {
                *place = json!({});
            }
            let object = place.as_object_mut().expect("an object");
            place = object.entry(*name).or_insert(Value::Null);
        }
        *place = value;
        self
    }

    /// Writes a file of the catalog.
    pub(crate) fn catalog(self, file: &str, documents: &str) -> Self {
        write_whole(&self.folder.path().join("catalog").join(file), documents);
        self
    }

    /// Writes any file beside the configuration.
    pub(crate) fn file(self, name: &str, content: &str) -> Self {
        write_whole(&self.folder.path().join(name), content);
        self
    }

    /// The folder of the configuration, for references to its files.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// [`PortcullisBuilder::start`] returns once the ports are open, ready or not.
    pub(crate) fn without_waiting(mut self) -> Self {
        self.wait_until_ready = false;
        self
    }

    /// Starts the server and waits until it is ready.
    ///
    /// # Panics
    /// Where it ends, or is not ready in time; with what it wrote.
    pub(crate) fn start(self) -> Portcullis {
        let (wait_until_ready, patience) = (self.wait_until_ready, self.patience);
        let (process, folder) = self.launch();
        let mut server = Portcullis {
            process,
            addresses: BTreeMap::new(),
            patience,
            folder,
        };
        server.addresses = within(patience, "portcullis to open its ports", || {
            server.assert_running();
            serde_json::from_slice(&fs::read(server.folder.path().join("ports.json")).ok()?).ok()
        });
        if wait_until_ready {
            server.wait_until_ready();
        }
        server
    }

    /// Starts the server where it is expected to refuse; gives how it ended and what it wrote to
    /// standard error.
    pub(crate) fn start_refused(self) -> (ExitStatus, String) {
        let (mut process, folder) = self.launch();
        let status = eventually("portcullis to refuse its start", || process.ended());
        (status, read(&folder.path().join("output/stderr")))
    }

    fn launch(self) -> (Process, TempDir) {
        let folder = self.folder;
        let path = |name: &str| folder.path().join(name);
        if let Some(configuration) = &self.configuration {
            // JSON is YAML.
            let text = serde_json::to_string_pretty(configuration).expect("JSON");
            write_whole(&path("portcullis.yaml"), &text);
        }
        let mut command = match self.under.split_first() {
            None => Command::new(binary()),
            Some((program, arguments)) => {
                let mut command = Command::new(program);
                command.args(arguments).arg(binary());
                command
            }
        };
        command
            .arg("serve")
            .arg("--config")
            .arg(path("portcullis.yaml"));
        command.arg("--ports-file").arg(path("ports.json"));
        command.current_dir(folder.path()).envs(self.environment);
        // in a folder of their own: that of the configuration is watched, and looked at again with
        // every line that is written there
        fs::create_dir_all(path("output")).expect("a folder for the output");
        command.stdout(File::create(path("output/stdout")).expect("a file for standard output"));
        command.stderr(File::create(path("output/stderr")).expect("a file for standard error"));
        (Process::start("portcullis", command), folder)
    }
}

impl Portcullis {
    /// The id of its process.
    pub(crate) fn id(&self) -> u32 {
        self.process.id()
    }

    /// The address of a listener.
    pub(crate) fn address(&self, listener: &str) -> SocketAddr {
        let known = self.addresses.get(listener);
        *known.unwrap_or_else(|| panic!("no listener {listener} among {:?}", self.addresses))
    }

    /// Where checks are answered.
    pub(crate) fn check_address(&self) -> SocketAddr {
        self.address("inbound")
    }

    /// A GET request to the admin listener.
    pub(crate) fn admin(&self, target: &str) -> Response {
        http::get(self.address("admin"), "localhost", target, &[])
    }

    /// A GET request to the observe listener.
    pub(crate) fn observe(&self, target: &str) -> Response {
        http::get(self.address("observe"), "localhost", target, &[])
    }

    /// The metrics, as text.
    pub(crate) fn metrics(&self) -> String {
        self.observe("/metrics").text()
    }

    /// The folder of its configuration, catalog and output.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Writes a file of the catalog whole, by renaming.
    pub(crate) fn write_catalog(&self, file: &str, documents: &str) {
        write_whole(&self.folder.path().join("catalog").join(file), documents);
    }

    /// Removes a file of the catalog.
    pub(crate) fn remove_catalog(&self, file: &str) {
        fs::remove_file(self.folder.path().join("catalog").join(file)).expect("the file is there");
    }

    /// What it wrote to standard output, decisions among it.
    pub(crate) fn stdout(&self) -> String {
        read(&self.folder.path().join("output/stdout"))
    }

    /// What it wrote to standard error.
    pub(crate) fn stderr(&self) -> String {
        read(&self.folder.path().join("output/stderr"))
    }

    /// Sends SIGHUP.
    pub(crate) fn hang_up(&mut self) {
        self.process.signal("HUP");
    }

    /// Sends SIGTERM and does not wait.
    pub(crate) fn ask_to_stop(&mut self) {
        self.process.ask_to_stop();
    }

    /// Sends SIGTERM and waits for the end; gives the exit code.
    pub(crate) fn terminate(&mut self) -> Option<i32> {
        self.process.stop().code()
    }

    /// Kills it at once.
    pub(crate) fn kill(&mut self) {
        self.process.kill();
    }

    /// Waits until `/readyz` says so.
    pub(crate) fn wait_until_ready(&mut self) {
        let mut last = String::new();
        let start = Instant::now();
        while start.elapsed() < self.patience {
            self.assert_running();
            let answer = self.observe("/readyz");
            if answer.status == 200 {
                return;
            }
            last = answer.text();
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!(
            "portcullis is not ready: {last}\n{}{}",
            self.stderr(),
            self.stdout()
        );
    }

    fn assert_running(&mut self) {
        if let Some(status) = self.process.ended() {
            panic!(
                "portcullis ended with {status}:\n{}{}",
                self.stderr(),
                self.stdout()
            );
        }
    }
}

/// The server's executable: cargo tells tests where it is; for an example it lies one folder up.
fn binary() -> PathBuf {
    let built = option_env!("CARGO_BIN_EXE_portcullis").map(PathBuf::from);
    built.unwrap_or_else(|| {
        let own = std::env::current_exe().expect("the path of this program");
        let path = own
            .ancestors()
            .nth(2)
            .expect("a program in target/<profile>/examples")
            .join("portcullis");
        assert!(
            path.exists(),
            "{} is missing; `cargo build --bin portcullis` makes it",
            path.display()
        );
        path
    })
}

fn write_whole(path: &Path, content: &str) {
    let mut unfinished = path.as_os_str().to_owned();
    unfinished.push(".unfinished");
    fs::write(&unfinished, content).expect("a file can be written");
    fs::rename(&unfinished, path).expect("a file can be renamed");
}

fn read(path: &Path) -> String {
    String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).into_owned()
}
