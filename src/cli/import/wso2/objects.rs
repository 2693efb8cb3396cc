//! The objects that the adapter was configured with.

use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use crate::cli::import::input::Input;
use crate::problem::{Problem, Problems};

/// What the files hold.
#[derive(Debug, Default)]
pub(super) struct Objects {
    /// HTTPAPISpecs.
    pub(super) specs: Vec<Object>,
    /// HTTPAPISpecBindings.
    pub(super) bindings: Vec<Object>,
    /// Handlers of the adapter.
    pub(super) handlers: Vec<Object>,
    /// Rules.
    pub(super) rules: Vec<Object>,
    /// Services of Kubernetes.
    pub(super) services: Vec<Object>,
    /// The certificate or public key, as PEM.
    pub(super) key: Option<String>,
    /// What was in the files beside those, by kind and name.
    pub(super) others: Vec<String>,
}

/// An object, and the file that it is of.
#[derive(Debug)]
pub(super) struct Object {
    file: String,
    value: Value,
}

impl Object {
    /// What stands at a JSON pointer.
    pub(super) fn at(&self, pointer: &str) -> Option<&Value> {
        self.value.pointer(pointer)
    }

    /// The text at a JSON pointer.
    pub(super) fn text(&self, pointer: &str) -> Option<&str> {
        self.at(pointer)?.as_str()
    }

    /// The list at a JSON pointer; empty where there is none.
    pub(super) fn list(&self, pointer: &str) -> &[Value] {
        let list = self.at(pointer).and_then(Value::as_array);
        list.map(Vec::as_slice).unwrap_or_default()
    }

    /// Its name.
    pub(super) fn name(&self) -> &str {
        self.text("/metadata/name").unwrap_or_default()
    }

    /// Its namespace.
    pub(super) fn namespace(&self) -> &str {
        self.text("/metadata/namespace").unwrap_or("default")
    }

    /// Something is wrong with it.
    pub(super) fn problem(&self, path: &str, message: impl Into<String>) -> Problems {
        Problems::from(Problem {
            file: self.file.as_str().into(),
            line: None,
            path: path.to_owned(),
            message: message.into(),
        })
    }
}

impl Objects {
    /// Reads the files.
    ///
    /// # Errors
    /// What cannot be read, and where there is no HTTPAPISpec.
    pub(super) fn read(files: &[PathBuf]) -> Result<Self, Problems> {
        let mut objects = Self::default();
        for file in files {
            objects.add(file)?;
        }
        if objects.specs.is_empty() {
            return Err(wrong(
                files.first(),
                "there is no HTTPAPISpec in the files: it says which API a service is",
            ));
        }
        Ok(objects)
    }

    fn add(&mut self, file: &Path) -> Result<(), Problems> {
        if file
            .extension()
            .is_some_and(|extension| extension == "pem" || extension == "crt")
        {
            let text = std::fs::read_to_string(file)
                .map_err(|error| wrong(Some(file), &format!("cannot be read: {error}")))?;
            return self.add_key(Some(file), text);
        }
        let input = Input::read(file)?;
        for document in input.documents {
            let items = document.get("items").and_then(Value::as_array).cloned();
            for value in items.unwrap_or_else(|| vec![document.clone()]) {
                self.add_object(file, value)?;
            }
        }
        Ok(())
    }

    fn add_object(&mut self, file: &Path, value: Value) -> Result<(), Problems> {
        let object = Object {
            file: file.display().to_string(),
            value,
        };
        let list = match object.text("/kind").unwrap_or_default() {
            "HTTPAPISpec" => &mut self.specs,
            "HTTPAPISpecBinding" => &mut self.bindings,
            "handler" => &mut self.handlers,
            "rule" => &mut self.rules,
            "Service" => &mut self.services,
            "Secret" => return self.add_secret(file, &object),
            kind => {
                let name = format!("{kind} `{}`", object.name());
                self.others.push(name);
                return Ok(());
            }
        };
        list.push(object);
        Ok(())
    }

    /// The public certificate of a Secret; nothing else of it is read.
    fn add_secret(&mut self, file: &Path, secret: &Object) -> Result<(), Problems> {
        let plain = secret.text("/stringData/server.pem").map(str::to_owned);
        let encoded = secret.text("/data/server.pem");
        let decoded = encoded.map(|text| {
            let text: String = text.split_whitespace().collect();
            let bytes = STANDARD.decode(text).ok();
            bytes
                .and_then(|bytes| String::from_utf8(bytes).ok())
                .ok_or_else(|| secret.problem("data.server.pem", "it is no base64 of a PEM text"))
        });
        match (plain, decoded) {
            (Some(text), _) => self.add_key(Some(file), text),
            (None, Some(text)) => self.add_key(Some(file), text?),
            (None, None) => {
                self.others.push(format!("Secret `{}`", secret.name()));
                Ok(())
            }
        }
    }

    fn add_key(&mut self, file: Option<&Path>, text: String) -> Result<(), Problems> {
        if text.contains("PRIVATE KEY") {
            return Err(wrong(
                file,
                "it holds a private key: give the certificate alone",
            ));
        }
        if !text.contains("-----BEGIN CERTIFICATE-----")
            && !text.contains("-----BEGIN PUBLIC KEY-----")
        {
            return Err(wrong(
                file,
                "it holds no certificate and no public key (PEM)",
            ));
        }
        let text = text.trim_end().to_owned() + "\n";
        if self.key.as_ref().is_some_and(|key| *key != text) {
            return Err(wrong(
                file,
                "there are two certificates: the adapter had one",
            ));
        }
        self.key = Some(text);
        Ok(())
    }
}

fn wrong(file: Option<&(impl AsRef<Path> + ?Sized)>, message: &str) -> Problems {
    let file = file.map(|file| file.as_ref().display().to_string());
    Problems::from(Problem {
        file: file.unwrap_or_default().into(),
        line: None,
        path: String::new(),
        message: message.to_owned(),
    })
}
