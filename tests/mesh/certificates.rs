//! What gives certificates to the proxies of a mesh.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::Command;

use tempfile::TempDir;

use crate::bed::program;
use crate::support::authority::Identity;
use crate::support::eventually;
use crate::support::process::Process;

/// A server of secrets beside one Envoy, as Istio's agent is; dropping it stops it.
#[derive(Debug)]
pub(crate) struct Sds {
    _process: Process,
    folder: TempDir,
}

impl Sds {
    /// Gives this certificate, `mesh` as the mesh's root and `system` as those of the internet.
    pub(crate) fn start(own: &Identity, mesh: &str, system: &str) -> Self {
        let folder = TempDir::new().expect("a temporary folder");
        for (name, content) in [
            ("tls.crt", own.chain_pem()),
            ("tls.key", own.key_pem()),
            ("ca.crt", mesh.to_owned()),
            ("system.crt", system.to_owned()),
        ] {
            fs::write(folder.path().join(name), content).expect("a file");
        }
        Self::of_folder(folder)
    }

    /// Gives what is in this folder.
    pub(crate) fn of_folder(folder: TempDir) -> Self {
        let socket = folder.path().join("socket");
        let mut command = Command::new(program("sdsd"));
        command
            .arg("-socket")
            .arg(&socket)
            .arg("-folder")
            .arg(folder.path());
        let log = File::create(folder.path().join("log")).expect("a file");
        command.stdout(log.try_clone().expect("a file")).stderr(log);
        let process = Process::start("sdsd", command);
        eventually("sdsd to listen", || socket.exists().then_some(()));
        Self {
            _process: process,
            folder,
        }
    }

    /// Where Envoy asks.
    pub(crate) fn socket(&self) -> PathBuf {
        self.folder.path().join("socket")
    }
}
