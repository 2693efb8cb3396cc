//! What gives certificates to the proxies of a mesh, and what stands for the authorities of the
//! internet.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, SanType,
};
use tempfile::TempDir;

use crate::bed::program;
use crate::support::eventually;
use crate::support::process::Process;

/// An authority.
#[derive(Debug)]
pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate and its key, in PEM.
#[derive(Debug)]
pub(crate) struct Certificate {
    pub(crate) chain: String,
    pub(crate) key: String,
}

impl Authority {
    /// A new authority, unknown to everybody.
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::default();
        params
            .distinguished_name
            .push(DnType::CommonName, "a test's authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        Self(CertifiedIssuer::self_signed(params, key).expect("an authority"))
    }

    /// Its certificate in PEM.
    pub(crate) fn pem(&self) -> String {
        self.0.pem()
    }

    /// A certificate of a workload.
    pub(crate) fn of_workload(&self, spiffe_id: &str) -> Certificate {
        self.issue(SanType::URI(spiffe_id.try_into().expect("ASCII")))
    }

    /// A certificate of a host.
    pub(crate) fn of_host(&self, name: &str) -> Certificate {
        self.issue(SanType::DnsName(name.try_into().expect("ASCII")))
    }

    fn issue(&self, name: SanType) -> Certificate {
        let mut params = CertificateParams::default();
        params.subject_alt_names = vec![name];
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ClientAuth,
            ExtendedKeyUsagePurpose::ServerAuth,
        ];
        let key = KeyPair::generate().expect("a key");
        let leaf = params.signed_by(&key, &self.0).expect("a certificate");
        Certificate {
            chain: leaf.pem(),
            key: key.serialize_pem(),
        }
    }
}

/// A server of secrets beside one Envoy, as Istio's agent is; dropping it stops it.
#[derive(Debug)]
pub(crate) struct Sds {
    _process: Process,
    folder: TempDir,
}

impl Sds {
    /// Gives this certificate, `mesh` as the mesh's root and `system` as those of the internet.
    pub(crate) fn start(own: &Certificate, mesh: &str, system: &str) -> Self {
        let folder = TempDir::new().expect("a temporary folder");
        for (name, content) in [
            ("tls.crt", own.chain.as_str()),
            ("tls.key", &own.key),
            ("ca.crt", mesh),
            ("system.crt", system),
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

    /// The folder of the files.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }
}
