//! A value of a document, and where it stands.

use serde_json::Value;

use crate::cli::doctor::files::Source;

/// A value, and where it stands.
#[derive(Debug, Clone)]
pub(super) struct Located<'a> {
    pub(super) source: &'a Source,
    /// Its path in the document of `source`.
    pub(super) path: String,
    pub(super) value: &'a Value,
}

impl<'a> Located<'a> {
    /// What stands at `key`.
    pub(super) fn get(&self, key: &str) -> Option<Self> {
        let value = self.value.get(key)?;
        let path = match self.path.as_str() {
            "" => key.to_owned(),
            path => format!("{path}.{key}"),
        };
        Some(Self {
            path,
            value,
            ..*self
        })
    }

    /// What stands at a dotted path.
    pub(super) fn at(&self, path: &str) -> Option<Self> {
        let mut keys = path.split('.');
        let first = self.get(keys.next()?)?;
        keys.try_fold(first, |found, key| found.get(key))
    }

    /// The text at a dotted path.
    pub(super) fn text_at(&self, path: &str) -> Option<&'a str> {
        self.at(path)?.value.as_str()
    }

    /// The first of `keys` that there is: names in snake case and camel case.
    pub(super) fn either(&self, keys: [&str; 2]) -> Option<Self> {
        keys.into_iter().find_map(|key| self.get(key))
    }

    /// The elements of a list; none where it is no list.
    pub(super) fn items(&self) -> Vec<Self> {
        let list = self.value.as_array().map(Vec::as_slice).unwrap_or_default();
        let items = list.iter().enumerate().map(|(at, value)| Self {
            path: format!("{}[{at}]", self.path),
            value,
            ..*self
        });
        items.collect()
    }

    /// The elements of the list at a dotted path.
    pub(super) fn items_at(&self, path: &str) -> Vec<Self> {
        self.at(path).map(|list| list.items()).unwrap_or_default()
    }

    /// The keys of a mapping and what stands there; none where it is no mapping.
    pub(super) fn entries(&self) -> Vec<(&'a str, Self)> {
        let keys = self.value.as_object().into_iter().flatten();
        keys.filter_map(|(key, _)| Some((key.as_str(), self.get(key)?)))
            .collect()
    }

    /// The texts of the mapping at a dotted path, such as labels.
    pub(super) fn labels_at(&self, path: &str) -> Vec<(&'a str, &'a str)> {
        let entries = self.at(path).map(|map| map.entries()).unwrap_or_default();
        let texts = entries
            .into_iter()
            .filter_map(|(key, value)| Some((key, value.value.as_str()?)));
        texts.collect()
    }

    /// What stands at `path`, or else this.
    pub(super) fn at_or_self(&self, path: &str) -> Self {
        self.at(path).unwrap_or_else(|| self.clone())
    }

    /// The line in its file.
    pub(super) fn line(&self) -> u32 {
        self.source.line(&self.path)
    }
}
