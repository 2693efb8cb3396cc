//! A cluster without nodes: a real Kubernetes API server, and istiod on it.

use std::fs::{self, File};
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use crate::bed::{free_port, program, repository, text};
use crate::support::http;
use crate::support::process::Process;
use crate::support::within;

/// How long a control plane may take to start on a machine that does other things too.
const PATIENCE: Duration = Duration::from_secs(120);

/// A running API server; dropping it stops it.
#[derive(Debug)]
pub(crate) struct Cluster {
    // Ends before the folder is removed.
    process: Process,
    folder: TempDir,
}

impl Cluster {
    /// Starts it with Istio's kinds, those of the Gateway API and the namespaces of `deploy/`.
    pub(crate) fn start() -> Self {
        let folder = TempDir::new().expect("a temporary folder");
        let mut command = Command::new(program("kubed"));
        // its etcd takes the two ports after that
        command.args(["-port", &free_ports_in_a_row().to_string()]);
        command.arg("-folder").arg(folder.path());
        let log = File::create(folder.path().join("log")).expect("a file");
        command.stdout(log.try_clone().expect("a file")).stderr(log);
        let mut cluster = Self {
            process: Process::start("kubed", command),
            folder,
        };
        within(PATIENCE, "the API server to be ready", || {
            if cluster.process.ended().is_some() {
                panic!("kubed ended:\n{}", cluster.log("log"));
            }
            let ready = cluster.kubectl(&["get", "--raw", "/readyz"]);
            (ready.stdout == b"ok").then_some(())
        });
        for kinds in ["istio-crds.yaml", "gateway-api-crds.yaml"] {
            let path = repository(".tools/beds").join(kinds);
            assert!(
                path.exists(),
                "{kinds} is missing; this brings it: make beds"
            );
            let path = path.to_string_lossy().into_owned();
            cluster.must(&["apply", "--server-side", "-f", &path]);
        }
        cluster.must(&[
            "wait",
            "--for=condition=established",
            "crd",
            "--all",
            "--timeout=60s",
        ]);
        for namespace in ["istio-system", "portcullis", "shop"] {
            cluster.must(&["create", "namespace", namespace]);
        }
        cluster
    }

    /// Runs kubectl.
    pub(crate) fn kubectl(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(program("kubectl"));
        command.env("KUBECONFIG", self.folder.path().join("kubeconfig"));
        command.env("HOME", self.folder.path()).args(arguments);
        command.output().expect("kubectl starts")
    }

    /// Runs kubectl, which succeeds; gives what it wrote.
    #[track_caller]
    pub(crate) fn must(&self, arguments: &[&str]) -> String {
        let output = self.kubectl(arguments);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "kubectl {arguments:?}: {said}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Applies these documents; gives what the API server says against them.
    pub(crate) fn apply(&self, documents: &str) -> Result<(), String> {
        let mut command = Command::new(program("kubectl"));
        command.env("KUBECONFIG", self.folder.path().join("kubeconfig"));
        command
            .env("HOME", self.folder.path())
            .args(["apply", "-f", "-"]);
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        let mut child = command.spawn().expect("kubectl starts");
        let mut input = child.stdin.take().expect("its standard input");
        input.write_all(documents.as_bytes()).expect("it reads");
        drop(input);
        let output = child.wait_with_output().expect("it ends");
        if output.status.success() {
            Ok(())
        } else {
            Err(String::from_utf8_lossy(&output.stderr).into_owned())
        }
    }

    /// Applies a file of the repository as it is.
    #[track_caller]
    pub(crate) fn apply_file(&self, path: &str) {
        self.apply(&text(path))
            .unwrap_or_else(|said| panic!("{path}: {said}"));
    }

    /// What a kubelet would say of a pod: that it runs, at this address.
    pub(crate) fn run_pod(&self, name: &str, ip: &str) {
        let status = format!(
            r#"{{"status":{{"phase":"Running","podIP":"{ip}","podIPs":[{{"ip":"{ip}"}}],"conditions":[{{"type":"Ready","status":"True"}}]}}}}"#
        );
        self.must(&[
            "patch",
            "pod",
            name,
            "-n",
            "istio-system",
            "--subresource=status",
            "-p",
            &status,
        ]);
    }

    /// A folder of its own for files of the test.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    fn log(&self, name: &str) -> String {
        fs::read_to_string(self.folder.path().join(name)).unwrap_or_default()
    }
}

/// A running istiod; dropping it stops it.
#[derive(Debug)]
pub(crate) struct Istiod {
    _process: Process,
    /// Where Envoys ask.
    pub(crate) xds: SocketAddr,
    /// Where its authority is asked, if it has one.
    pub(crate) authority: SocketAddr,
    /// The port of its admission webhook, if it has one.
    pub(crate) webhook: u16,
}

impl Istiod {
    /// Starts it on this cluster with the mesh configuration of `deploy/istio`; with an authority
    /// and a webhook, or without.
    pub(crate) fn start(cluster: &Cluster, with_authority: bool) -> Self {
        let [xds, authority, http, webhook, debug] = [(); 5].map(|()| free_port());
        let mesh = text("deploy/istio/mesh-config.yaml") + &text("tests/mesh/objects/mesh.yaml");
        fs::write(cluster.folder().join("mesh.yaml"), mesh).expect("a file");
        let mut command = Command::new(program("pilot-discovery"));
        command.current_dir(cluster.folder());
        command
            .args([
                "discovery",
                "--registries",
                "Kubernetes",
                "--namespace",
                "istio-system",
            ])
            .args(["--kubeconfig", "kubeconfig", "--meshConfig", "mesh.yaml"])
            .args(["--networksConfig", "/nonexistent", "--ctrlz_port", "0"])
            .args(["--grpcAddr", &local(xds).to_string()])
            .args(["--httpAddr", &local(http).to_string()])
            .args(["--monitoringAddr", &local(debug).to_string()]);
        command.envs(variables(with_authority));
        if with_authority {
            command.args(["--secureGRPCAddr", &local(authority).to_string()]);
            command.args(["--httpsAddr", &local(webhook).to_string()]);
        } else {
            command.args(["--secureGRPCAddr", "", "--httpsAddr", ""]);
        }
        let log = cluster.folder().join(format!("istiod-{xds}.log"));
        let output = File::create(&log).expect("a file");
        command
            .stdout(output.try_clone().expect("a file"))
            .stderr(output);
        let mut process = Process::start("istiod", command);
        within(PATIENCE, "istiod to be ready", || {
            if process.ended().is_some() {
                panic!(
                    "istiod ended:\n{}",
                    fs::read_to_string(&log).unwrap_or_default()
                );
            }
            // it is not open at first
            std::net::TcpStream::connect(local(http)).ok()?;
            (http::get(local(http), "localhost", "/ready", &[]).status == 200).then_some(())
        });
        Self {
            _process: process,
            xds: local(xds),
            authority: local(authority),
            webhook,
        }
    }
}

/// A port of this machine.
fn local(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

/// What istiod is told by its environment.
fn variables(with_authority: bool) -> Vec<(&'static str, &'static str)> {
    let mut variables = vec![
        ("PILOT_ENABLE_METADATA_EXCHANGE", "false"),
        ("PILOT_ENABLE_ALPN_FILTER", "false"),
        ("CLUSTER_ID", "Kubernetes"),
        ("POD_NAMESPACE", "istio-system"),
        ("POD_NAME", "istiod-0"),
        ("INJECTION_WEBHOOK_CONFIG_NAME", ""),
        ("ENABLE_LEADER_ELECTION", "false"),
        // the Envoys of the tests ask in plaintext
        ("XDS_AUTH", "false"),
    ];
    variables.extend(if with_authority {
        [
            ("PILOT_CERT_PROVIDER", "istiod"),
            ("ISTIOD_CUSTOM_HOST", "localhost"),
            ("VALIDATION_WEBHOOK_CONFIG_NAME", "istio-validator"),
        ]
    } else {
        [
            ("PILOT_CERT_PROVIDER", "none"),
            ("ENABLE_CA_SERVER", "false"),
            ("VALIDATION_WEBHOOK_CONFIG_NAME", ""),
        ]
    });
    variables
}

/// The first of three ports in a row that are free.
fn free_ports_in_a_row() -> u16 {
    loop {
        let port = free_port();
        let next = free_port();
        if next == port + 1 && free_port() == port + 2 {
            return port;
        }
    }
}
