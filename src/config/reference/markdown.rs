//! Tables of keys, made of a JSON schema.

use std::collections::BTreeSet;

use serde_json::Value;

/// What a schema says, as Markdown.
pub(super) struct Reference<'s> {
    schema: &'s Value,
    /// The types that have been told.
    told: BTreeSet<&'s str>,
    text: String,
}

/// Types that are told where they are used: their tables would say nothing more.
const PLAIN: [&str; 2] = ["HumanDuration", "ByteSize"];

/// What has a table of its own.
const BELOW: &str = "map, see below";

impl<'s> Reference<'s> {
    pub(super) fn of(schema: &'s Value) -> Self {
        Self {
            schema,
            told: BTreeSet::new(),
            text: String::new(),
        }
    }

    /// Each section of the configuration.
    pub(super) fn sections(mut self) -> String {
        for (name, section) in fields(self.schema) {
            self.told.clear();
            self.text.push_str(&format!("### `{name}`\n\n"));
            self.describe(section);
            self.tell(name, inner(section));
        }
        self.text
    }

    /// Each kind of document.
    pub(super) fn documents(mut self) -> String {
        for document in list(self.schema, "anyOf") {
            self.told.clear();
            let document = self.resolve(document);
            let kind = fields(document)
                .find(|(name, _)| *name == "kind")
                .and_then(|(_, kind)| constants(self.resolve(kind)).into_iter().next());
            let kind = kind.map_or("", |(kind, _)| kind);
            self.text.push_str(&format!("### {kind}\n\n"));
            self.describe(document);
            self.table(document, &[]);
            self.tell_fields(kind, document);
        }
        self.text
    }

    /// Tells the type of `schema`, which stands at `path`, and what it is made of.
    fn tell(&mut self, path: &str, schema: &'s Value) {
        if let Some(name) = reference_name(schema)
            && (PLAIN.contains(&name) || !self.told.insert(name))
        {
            return;
        }
        let schema = self.resolve(schema);
        let variants = list(schema, "oneOf").chain(list(schema, "anyOf"));
        let variants: Vec<&Value> = variants.filter(|variant| !is_null(variant)).collect();
        if !variants.is_empty() {
            for variant in variants {
                self.tell_variant(path, variant);
            }
        } else if let Some(element) = map_of(schema) {
            self.tell(&format!("{path}.<name>"), inner(element));
        } else if let Some(element) = schema.get("items") {
            self.tell(&format!("{path}[]"), inner(element));
        } else if schema.get("properties").is_some() {
            self.text.push_str(&format!("`{path}`:\n\n"));
            self.table(schema, &[]);
            self.tell_fields(path, schema);
        }
    }

    /// Tells one form of a type that has several; those that are a word are told where it is used.
    fn tell_variant(&mut self, path: &str, variant: &'s Value) {
        let tag = fields(variant)
            .find(|(name, _)| *name == "type")
            .and_then(|(_, tag)| tag.get("const")?.as_str());
        let Some(tag) = tag else {
            if let Some((name, field)) = only_field(variant) {
                self.tell(&format!("{path}.{name}"), inner(field));
            } else if constants(variant).is_empty() {
                self.tell(path, variant);
            }
            return;
        };
        self.told.clear();
        self.text
            .push_str(&format!("`{path}` with `type: {tag}`:\n\n"));
        self.describe(variant);
        let body = reference_name(variant).map(|_| self.resolve(variant));
        if let Some(body) = body {
            self.table(body, &[]);
            self.tell_fields(path, body);
        } else {
            self.table(variant, &["type"]);
            self.tell_fields(path, variant);
        }
    }

    fn tell_fields(&mut self, path: &str, schema: &'s Value) {
        for (name, field) in fields(schema) {
            self.tell(&format!("{path}.{name}"), inner(field));
        }
    }

    fn describe(&mut self, schema: &Value) {
        if let Some(description) = description(schema) {
            self.text.push_str(&format!("{description}.\n\n"));
        }
    }

    fn table(&mut self, schema: &'s Value, without: &[&str]) {
        let required: Vec<&str> = list(schema, "required").filter_map(Value::as_str).collect();
        let fields: Vec<_> = fields(schema)
            .filter(|(name, _)| !without.contains(name))
            .collect();
        if fields.is_empty() {
            self.text.push_str("No further keys.\n\n");
            return;
        }
        self.text
            .push_str("| key | value | default | meaning |\n|---|---|---|---|\n");
        for (name, field) in fields {
            let default = match field.get("default") {
                Some(Value::Null) | None if required.contains(&name) => "required".to_owned(),
                Some(Value::Null) | None => String::new(),
                Some(value) => format!("`{}`", plain(value)),
            };
            let row = format!(
                "| `{name}` | {} | {} | {} |\n",
                cell(&self.value(inner(field))),
                cell(&default),
                cell(&self.meaning(field))
            );
            self.text.push_str(&row);
        }
        self.text.push('\n');
    }

    /// What a key means, and what each of the words does that it can have.
    fn meaning(&self, field: &'s Value) -> String {
        let own = description(field).or_else(|| description(self.resolve(inner(field))));
        let schema = self.resolve(inner(field));
        let words = constants(schema);
        let mut meaning = own.unwrap_or_default().to_owned();
        if words.len() > 1 || !meaning.contains('`') {
            for (word, text) in words {
                if let Some(text) = text {
                    meaning.push_str(&format!("; `{word}`: {text}"));
                }
            }
        }
        for form in list(schema, "oneOf") {
            if let (Some((name, _)), Some(text)) = (only_field(form), description(form)) {
                meaning.push_str(&format!("; `{{ {name}: … }}`: {text}"));
            }
        }
        meaning
    }

    /// What a key can have, in a few words.
    fn value(&self, schema: &'s Value) -> String {
        if let Some(name) = reference_name(schema) {
            match name {
                "HumanDuration" => return "duration".to_owned(),
                "ByteSize" => return "size".to_owned(),
                _ => {}
            }
        }
        let schema = self.resolve(schema);
        let words = constants(schema);
        let variants = list(schema, "oneOf").chain(list(schema, "anyOf"));
        let forms: Vec<String> = variants
            .filter(|variant| constants(variant).is_empty() && !is_null(variant))
            .map(|variant| self.form(variant))
            .collect();
        let mut parts: Vec<String> = words.iter().map(|(word, _)| format!("`{word}`")).collect();
        parts.extend(forms);
        if !parts.is_empty() {
            parts.dedup();
            return parts.join(", ");
        }
        if let Some(element) = schema.get("items") {
            let element = self.value(inner(element));
            return format!("list of {}", element.replace(BELOW, "maps, see below"));
        }
        if let Some(element) = map_of(schema) {
            return format!("map of {}", self.value(inner(element)));
        }
        type_name(schema)
    }

    /// One form of a value that has several.
    fn form(&self, variant: &'s Value) -> String {
        let resolved = self.resolve(variant);
        let keys: Vec<String> = fields(resolved)
            .map(
                |(name, field)| match field.get("const").and_then(Value::as_str) {
                    Some(word) => format!("{name}: {word}"),
                    None => format!("{name}: …"),
                },
            )
            .collect();
        if keys.is_empty() {
            self.value(variant)
        } else {
            format!("`{{ {} }}`", keys.join(", "))
        }
    }

    fn resolve(&self, schema: &'s Value) -> &'s Value {
        reference_name(schema)
            .and_then(|name| self.schema.get("$defs")?.get(name))
            .unwrap_or(schema)
    }
}

/// The name of the type that `schema` refers to.
fn reference_name(schema: &Value) -> Option<&str> {
    schema.get("$ref")?.as_str()?.strip_prefix("#/$defs/")
}

/// The schema of an optional value without the option.
fn inner(schema: &Value) -> &Value {
    let mut forms = list(schema, "anyOf").filter(|form| !is_null(form));
    match (forms.next(), forms.next()) {
        (Some(form), None) => form,
        _ => schema,
    }
}

/// The field of a form that has just one, and no tag.
fn only_field(form: &Value) -> Option<(&str, &Value)> {
    let mut fields = fields(form);
    let first = fields.next().filter(|(name, _)| *name != "type")?;
    fields.next().is_none().then_some(first)
}

fn is_null(schema: &Value) -> bool {
    schema.get("type").and_then(Value::as_str) == Some("null")
}

fn fields(schema: &Value) -> impl Iterator<Item = (&str, &Value)> {
    let properties = schema.get("properties").and_then(Value::as_object);
    properties
        .into_iter()
        .flatten()
        .map(|(name, field)| (name.as_str(), field))
}

fn list<'s>(schema: &'s Value, key: &str) -> impl Iterator<Item = &'s Value> + use<'s> {
    schema
        .get(key)
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
}

/// What the values of a map are.
fn map_of(schema: &Value) -> Option<&Value> {
    schema
        .get("additionalProperties")
        .filter(|value| value.is_object())
}

/// The words that a value can be, with what they mean.
fn constants(schema: &Value) -> Vec<(&str, Option<&str>)> {
    let one = |form| {
        Some((
            Value::as_str(Value::get(form, "const")?)?,
            description(form),
        ))
    };
    let mut words: Vec<_> = one(schema).into_iter().collect();
    words.extend(list(schema, "oneOf").filter_map(one));
    let plain =
        list(schema, "enum").chain(list(schema, "oneOf").flat_map(|form| list(form, "enum")));
    words.extend(plain.filter_map(Value::as_str).map(|word| (word, None)));
    words
}

/// The first paragraph of a description, on one line and without its final period.
fn description(schema: &Value) -> Option<&str> {
    let text = schema.get("description")?.as_str()?;
    Some(text.trim_end().trim_end_matches('.'))
}

fn type_name(schema: &Value) -> String {
    let kind = schema.get("type");
    let name = kind.and_then(Value::as_str).or_else(|| {
        let kinds = kind?.as_array()?;
        kinds
            .iter()
            .filter_map(Value::as_str)
            .find(|kind| *kind != "null")
    });
    let is_whole = schema.get("properties").is_some();
    match name {
        Some("string") => "text",
        Some("integer") => "whole number",
        Some("number") => "number",
        Some("boolean") => "`true`, `false`",
        Some("array") => "list",
        Some("object") if is_whole => BELOW,
        Some("object") => "map",
        _ => "any value",
    }
    .to_owned()
}

/// A default as it would be written.
fn plain(value: &Value) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned)
}

/// A text that can stand in a cell of a table.
fn cell(text: &str) -> String {
    text.replace('\n', " ").replace('|', "\\|")
}
