//! Where the catalog comes from.

use std::collections::HashSet;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::check_name;
use crate::config::findings::Findings;

/// Where the catalog comes from.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CatalogConfig {
    /// The sources. Each is taken whole or not at all, apart from the others; where two contradict,
    /// the later one is refused and keeps its last good documents.
    pub sources: Vec<SourceConfig>,
}

/// One source.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SourceConfig {
    /// What it is called.
    pub name: String,
    /// What kind of source it is.
    #[serde(rename = "type")]
    pub kind: SourceType,
    /// A folder whose `*.yaml` and `*.yml` files are read, or one file; for `type: file` alone.
    #[serde(default)]
    pub path: PathBuf,
}

/// What kind of source it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum SourceType {
    /// Files, read again when they change.
    File,
    /// What FIWARE's management API of an admin listener wrote into the `store`.
    Store,
}

impl CatalogConfig {
    /// Finds what is wrong.
    pub fn check(&self, findings: &mut Findings) {
        if self.sources.is_empty() {
            findings.wrong(
                "sources",
                "name a source at least: { name: main, type: file, path: … }",
            );
        }
        let mut names = HashSet::new();
        for (at, source) in self.sources.iter().enumerate() {
            findings.within(&format!("sources[{at}]"), |findings| {
                findings.within("name", |findings| {
                    let mut own = Findings::new();
                    check_name(&source.name, &mut own);
                    for finding in own.found() {
                        findings.wrong("", finding.message.clone());
                    }
                });
                if !names.insert(&source.name) {
                    findings.wrong("name", format!("`{}` stands twice", source.name));
                }
                match (source.kind, source.path.as_os_str().is_empty()) {
                    (SourceType::File, true) => {
                        findings.wrong("path", "is needed with type file, and must not be empty");
                    }
                    (SourceType::Store, false) => findings.wrong(
                        "path",
                        "is for type file alone; the section `store` says where the store is",
                    ),
                    (SourceType::File, false) | (SourceType::Store, true) => {}
                }
            });
        }
    }
}
