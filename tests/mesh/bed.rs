//! A mesh without a cluster: `meshd`, which makes of Istio's objects what istiod makes of them, and
//! the Envoys that it drives.

use std::fs::{self, File};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU16, Ordering};

use serde_json::Value;
use tempfile::TempDir;

use crate::support::eventually;
use crate::support::http;
use crate::support::process::Process;

/// The ports that the tests choose from: below those that Linux gives to connections.
const PORTS: std::ops::Range<u16> = 21000..31000;

/// The program that `make` builds of `tests/beds`.
///
/// # Panics
/// Where it is missing, with the command that builds it.
pub(crate) fn program(name: &str) -> PathBuf {
    let path = repository(&format!(".tools/bin/{name}"));
    assert!(
        path.exists(),
        "{name} is not built; this builds it: make beds"
    );
    path
}

/// A path in the repository.
pub(crate) fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// The text of a file of the repository.
pub(crate) fn text(path: &str) -> String {
    let read = fs::read_to_string(repository(path));
    read.unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// A port on which nobody listens, given once in this process.
pub(crate) fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // programs that run at the same time begin at different places
    let start = u16::try_from(std::process::id() % 9_000).unwrap_or(0);
    for _ in PORTS {
        let offset = (start + NEXT.fetch_add(1, Ordering::Relaxed)) % (PORTS.end - PORTS.start);
        let port = PORTS.start + offset;
        if TcpListener::bind(("0.0.0.0", port)).is_ok() {
            return port;
        }
    }
    panic!("no port of {PORTS:?} is free")
}

/// Objects of a mesh, a file each: those of `deploy/`, unchanged, and those of the bed.
#[derive(Debug)]
pub(crate) struct Objects {
    folder: TempDir,
    count: usize,
    mesh_config: String,
}

impl Objects {
    /// None but those of pods and services, with the mesh configuration of `deploy/istio`.
    pub(crate) fn new() -> Self {
        let folder = TempDir::new().expect("a temporary folder");
        fs::create_dir(folder.path().join("objects")).expect("a folder");
        Self {
            folder,
            count: 0,
            mesh_config: text("deploy/istio/mesh-config.yaml")
                + &text("tests/mesh/objects/mesh.yaml"),
        }
    }

    /// A file of the repository, as it is.
    pub(crate) fn file(self, path: &str) -> Self {
        let content = text(path);
        self.text(path, &content)
    }

    /// A file of the bed, `tests/mesh/objects/NAME.yaml`, with ports and the like in their places.
    pub(crate) fn bed(self, name: &str, places: &[(&str, &dyn ToString)]) -> Self {
        let content = filled(name, places);
        self.text(name, &content)
    }

    /// These documents.
    pub(crate) fn text(mut self, name: &str, content: &str) -> Self {
        self.count += 1;
        let name = format!("{:02}-{}.yaml", self.count, name.replace(['/', '.'], "-"));
        fs::write(self.folder.path().join("objects").join(name), content).expect("a file");
        self
    }
}

/// A file of the bed with each `{name}` filled in.
pub(crate) fn filled(name: &str, places: &[(&str, &dyn ToString)]) -> String {
    let mut content = text(&format!("tests/mesh/objects/{name}.yaml"));
    for (place, value) in places {
        let place = format!("{{{place}}}");
        assert!(content.contains(&place), "{name}.yaml has no {place}");
        content = content.replace(&place, &value.to_string());
    }
    content
}

/// A running `meshd`.
#[derive(Debug)]
pub(crate) struct Mesh {
    // Ends before the folder is removed.
    _process: Process,
    xds: SocketAddr,
    objects: Objects,
}

impl Mesh {
    /// Starts it with these objects.
    ///
    /// # Panics
    /// Where Istio refuses one of them; with what it says.
    pub(crate) fn start(objects: Objects) -> Self {
        let (mut process, folder) = launch(&objects);
        let ports: Value = eventually("meshd to serve", || {
            if process.ended().is_some() {
                let written = fs::read_to_string(folder.join("log")).unwrap_or_default();
                panic!("meshd ended:\n{written}");
            }
            serde_json::from_slice(&fs::read(folder.join("ports.json")).ok()?).ok()
        });
        let xds = ports["xds"]
            .as_str()
            .and_then(|address| address.parse().ok());
        Self {
            _process: process,
            xds: xds.expect("an address"),
            objects,
        }
    }

    /// What it says of objects that it refuses at its start.
    pub(crate) fn refused(objects: Objects) -> String {
        let (mut process, folder) = launch(&objects);
        eventually("meshd to refuse its objects", || process.ended());
        fs::read_to_string(folder.join("log")).expect("what it wrote")
    }

    /// Where Envoys ask.
    pub(crate) fn xds(&self) -> SocketAddr {
        self.xds
    }

    /// Replaces, adds or, without content, removes the documents of this name.
    pub(crate) fn set(&self, name: &str, content: Option<&str>) {
        let folder = self.objects.folder.path().join("objects");
        let mark = format!("-{}.yaml", name.replace(['/', '.'], "-"));
        let files = fs::read_dir(&folder).expect("a folder").flatten();
        let mut found = files.filter(|file| file.file_name().to_string_lossy().ends_with(&mark));
        let path = found
            .next()
            .map_or_else(|| folder.join(format!("99{mark}")), |file| file.path());
        match content {
            None => fs::remove_file(path).expect("the file is there"),
            Some(content) => {
                let unfinished = path.with_extension("unfinished");
                fs::write(&unfinished, content).expect("a file");
                fs::rename(unfinished, path).expect("a file");
            }
        }
    }

    /// What it wrote.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.objects.folder.path().join("log")).unwrap_or_default()
    }
}

fn launch(objects: &Objects) -> (Process, PathBuf) {
    let folder = objects.folder.path().to_owned();
    fs::write(folder.join("mesh.yaml"), &objects.mesh_config).expect("a file");
    let mut command = Command::new(program("meshd"));
    command.current_dir(&folder);
    // Filters of Istio's own Envoy, which others do not have.
    command
        .env("PILOT_ENABLE_METADATA_EXCHANGE", "false")
        .env("PILOT_ENABLE_ALPN_FILTER", "false");
    let log = File::create(folder.join("log")).expect("a file");
    command.stdout(log.try_clone().expect("a file")).stderr(log);
    (Process::start("meshd", command), folder)
}

/// GET, over a new connection, to a port of this machine.
pub(crate) fn get(port: u16, host: &str, target: &str, headers: &[(&str, &str)]) -> http::Response {
    http::get(
        SocketAddr::from(([127, 0, 0, 1], port)),
        host,
        target,
        headers,
    )
}
