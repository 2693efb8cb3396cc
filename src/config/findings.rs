//! Problems of one document while it is being checked: by path, before they have a file and line.

/// What is wrong in a document, each with its path.
#[derive(Debug, Default)]
pub struct Findings {
    prefix: String,
    found: Vec<Finding>,
    warnings: Vec<Finding>,
}

/// One problem, or one warning.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The path in the document: `authenticators.partners.credentials[0].header`.
    pub path: String,
    /// What is wrong and what to do: lower case, no final period, no secret.
    pub message: String,
}

impl Findings {
    /// Nothing so far.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Something is wrong at `path`, which is relative to where we are.
    pub fn wrong(&mut self, path: &str, message: impl Into<String>) {
        let path = self.join(path);
        self.found.push(Finding {
            path,
            message: message.into(),
        });
    }

    /// Something is dangerous at `path`, although it is allowed.
    pub fn warn(&mut self, path: &str, message: impl Into<String>) {
        let path = self.join(path);
        self.warnings.push(Finding {
            path,
            message: message.into(),
        });
    }

    /// Checks a part of the document, at `path` below where we are. Parts are joined by dots;
    /// a part that begins with `[` is an index.
    pub fn within<T>(&mut self, path: &str, check: impl FnOnce(&mut Self) -> T) -> T {
        let outer = std::mem::take(&mut self.prefix);
        self.prefix = outer.clone();
        self.prefix = self.join(path);
        let result = check(self);
        self.prefix = outer;
        result
    }

    /// What is wrong.
    #[must_use]
    pub fn found(&self) -> &[Finding] {
        &self.found
    }

    /// What is dangerous.
    #[must_use]
    pub fn warnings(&self) -> &[Finding] {
        &self.warnings
    }

    /// How many problems there are, to see whether a part added any.
    #[must_use]
    pub fn count(&self) -> usize {
        self.found.len()
    }

    fn join(&self, path: &str) -> String {
        match (self.prefix.as_str(), path) {
            (prefix, "") => prefix.to_owned(),
            ("", path) => path.to_owned(),
            (prefix, path) if path.starts_with('[') => format!("{prefix}{path}"),
            (prefix, path) => format!("{prefix}.{path}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_joined() {
        let mut findings = Findings::new();
        findings.within("authenticators", |findings| {
            findings.within("partners", |findings| {
                findings.wrong("issuer", "must be https");
                findings.within("credentials", |findings| {
                    findings.within("[0]", |findings| findings.wrong("header", "no"))
                });
            });
            findings.wrong("", "none");
        });
        let paths: Vec<&str> = findings
            .found()
            .iter()
            .map(|finding| finding.path.as_str())
            .collect();
        assert_eq!(
            paths,
            [
                "authenticators.partners.issuer",
                "authenticators.partners.credentials[0].header",
                "authenticators"
            ]
        );
    }
}
