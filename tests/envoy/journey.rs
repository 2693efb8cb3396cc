//! `deploy/samples/httpbin/README.md`, from its first line to its last: what runs anywhere is run, with a real
//! Envoy as the ingress; what needs a cluster must name files that there are.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::samples::{deploy, hardened_envoy, sample};
use crate::support::upstream::Upstream;

/// The lines of the fenced blocks whose first line is ` ```fence `, block by block.
fn blocks(document: &str, fence: &str) -> Vec<Vec<String>> {
    let (mut blocks, mut block): (_, Option<Vec<String>>) = (Vec::new(), None);
    for line in document.lines() {
        match &mut block {
            None if line == format!("```{fence}") => block = Some(Vec::new()),
            Some(lines) if line == "```" => {
                blocks.push(std::mem::take(lines));
                block = None;
            }
            Some(lines) => lines.push(line.to_owned()),
            None => {}
        }
    }
    assert!(block.is_none(), "a block without end");
    blocks
}

/// The folder, and where commands are looked for first.
struct Shell {
    folder: PathBuf,
    ingress: String,
}

impl Shell {
    fn run(&self, script: &str) -> Output {
        let program = Path::new(env!("CARGO_BIN_EXE_portcullis"));
        let folder = program.parent().expect("the folder of the program");
        Command::new("bash")
            .args(["-euo", "pipefail", "-c"])
            .arg(format!("PATH=\"$PROGRAMS:$PATH\"\n{script}"))
            .current_dir(&self.folder)
            .env("PROGRAMS", folder)
            .env("REPOSITORY", env!("CARGO_MANIFEST_DIR"))
            .env("INGRESS", &self.ingress)
            .output()
            .expect("bash")
    }
}

/// The status that a line of curl promises, and the line without the promise.
fn promised(line: &str) -> Option<(&str, &str)> {
    let (command, status) = line.rsplit_once(" # ")?;
    command.starts_with("curl ").then_some((command, status))
}

#[test]
fn every_command_of_the_httpbin_journey_runs_in_its_order() {
    let readme = fs::read_to_string(deploy("samples/httpbin/README.md")).unwrap();
    let builder = sample("httpbin", &["INBOUND", "ADMIN", "OBSERVE"]);
    let folder = builder.folder().to_owned();
    fs::create_dir(folder.join("istio")).unwrap();
    for file in fs::read_dir(deploy("samples/httpbin/istio")).unwrap() {
        let file = file.unwrap();
        fs::copy(file.path(), folder.join("istio").join(file.file_name())).unwrap();
    }
    let mut shell = Shell {
        folder,
        ingress: String::new(),
    };
    let mut blocks = blocks(&readme, "sh").into_iter();
    // step 1 makes the key pair that the server reads
    let first = blocks.next().unwrap().join("\n");
    let made = shell.run(&first);
    assert!(made.status.success(), "{made:?}");
    let server = builder.start();
    let upstream = Upstream::start();
    let envoy = hardened_envoy(server.check_address(), upstream.address());
    shell.ingress = envoy.address().to_string();
    let (mut before, mut statuses) = (String::new(), Vec::new());
    for line in blocks.flatten() {
        let Some((command, status)) = promised(&line) else {
            before.push_str(&line);
            before.push('\n');
            continue;
        };
        let script = format!("{before}\n{command}");
        let output = shell.run(&script);
        let told = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{script}: {output:?}");
        let expected = format!("HTTP/1.1 {status} ");
        assert!(told.contains(&expected), "{line}: {told}");
        if status == "200" {
            let (_, answer) = told.split_once(&expected).unwrap();
            let seen = answer.to_ascii_lowercase();
            assert!(seen.contains("alice") && seen.contains("shop"), "{told}");
            assert!(!seen.contains("authorization"), "{told}");
        }
        statuses.push(status.to_owned());
    }
    assert_eq!(statuses, ["401", "403", "200"]);
    let rest = shell.run(&before);
    assert!(rest.status.success(), "{rest:?}");
    assert!(before.contains("portcullis doctor") && before.contains("portcullis explain"));
}

/// The names of files that a command has: what stands after `-f`, `--from-file=` and the `=` of `--set-file`.
fn named_files(line: &str) -> Vec<String> {
    let mut words = line.split_whitespace().peekable();
    let mut files = Vec::new();
    while let Some(word) = words.next() {
        match word {
            "-f" => files.extend(words.peek().map(|file| (*file).to_owned())),
            "--set-file" => {
                let list = words.peek().expect("a list").trim_matches('\'');
                let pairs = list
                    .split(',')
                    .map(|pair| pair.split_once('=').expect("key=file").1);
                files.extend(pairs.map(str::to_owned));
            }
            word => files.extend(word.strip_prefix("--from-file=").map(str::to_owned)),
        }
    }
    files.extend(
        line.split_whitespace()
            .filter(|word| word.starts_with("$REPOSITORY/"))
            .map(str::to_owned),
    );
    files
}

#[test]
fn every_command_for_a_cluster_names_files_that_there_are() {
    let readme = fs::read_to_string(deploy("samples/httpbin/README.md")).unwrap();
    let mut count = 0;
    for line in blocks(&readme, "sh cluster").into_iter().flatten() {
        let known = ["kubectl ", "helm ", "INGRESS=$(kubectl "];
        assert!(known.iter().any(|start| line.starts_with(start)), "{line}");
        for file in named_files(&line) {
            let path = match file.strip_prefix("$REPOSITORY/") {
                Some(path) => Path::new(env!("CARGO_MANIFEST_DIR")).join(path),
                None => deploy("samples/httpbin").join(&file),
            };
            assert!(path.exists(), "{line}: there is no {}", path.display());
            count += 1;
        }
    }
    assert!(count >= 12, "{count} files are named");
    for line in blocks(&readme, "sh terminals").into_iter().flatten() {
        let file = line.rsplit(' ').next().unwrap();
        let path = match file.strip_prefix("$REPOSITORY/") {
            Some(path) => Path::new(env!("CARGO_MANIFEST_DIR")).join(path),
            None => deploy("samples/httpbin").join(file),
        };
        assert!(path.exists(), "{line}");
    }
}

#[test]
fn every_command_of_the_wso2_guide_runs_in_its_order() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let guide = fs::read_to_string(root.join("docs/guides/migrate-from-wso2.md")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let data = root.join("tests/data/import");
    // what the commands for the cluster would have written: all in one file, and the others empty lists
    for (name, from) in [
        ("apis.yaml", "wso2-httpbin.yaml"),
        ("secret.yaml", "wso2-secret.yaml"),
    ] {
        fs::copy(data.join(from), folder.path().join(name)).unwrap();
    }
    for name in ["adapter.yaml", "services.yaml"] {
        let list = "apiVersion: v1\nkind: List\nitems: []\n";
        fs::write(folder.path().join(name), list).unwrap();
    }
    let shell = Shell {
        folder: folder.path().to_owned(),
        ingress: String::new(),
    };
    let commands: Vec<String> = blocks(&guide, "sh").into_iter().flatten().collect();
    assert_eq!(commands.len(), 4, "{commands:?}");
    for command in &commands {
        let output = shell.run(command);
        assert!(output.status.success(), "{command}: {output:?}");
        if command.contains(" explain ") {
            let told = String::from_utf8_lossy(&output.stdout);
            assert!(told.contains("credential_missing"), "{told}");
        }
    }
    for line in blocks(&guide, "sh cluster").into_iter().flatten() {
        for file in named_files(&line)
            .iter()
            .filter(|file| file.starts_with("new/"))
        {
            assert!(
                folder.path().join(file).exists(),
                "{line}: {file} was not made"
            );
        }
    }
}
