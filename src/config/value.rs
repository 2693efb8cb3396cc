//! The values that every section of the configuration is made of: durations, sizes and secrets.

use std::borrow::Cow;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Error, IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::config::reader::{ReadError, Reader};
use crate::secret::Secret;

/// A duration with its unit: `400ms`, `30s`, `5m`, `24h`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct HumanDuration(pub Duration);

/// A number of bytes with its unit: `256KiB`, `4MiB`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteSize(pub usize);

/// Where a secret is kept: never in the document itself.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum SecretSource {
    /// In this file; a final line feed is not part of the secret. It is read again when it changes.
    File(PathBuf),
    /// In this environment variable.
    Env(String),
}

/// The largest secret, in bytes.
const MAX_SECRET_BYTES: usize = 64 * 1024;

const NEVER_INLINE: &str = "secrets are never inline: write { file: … } or { env: … }";

impl<'de> Deserialize<'de> for SecretSource {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(SecretSourceVisitor)
    }
}

/// Refuses what is no map without telling it: it may be the secret itself.
struct SecretSourceVisitor;

impl<'de> Visitor<'de> for SecretSourceVisitor {
    type Value = SecretSource;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("{ file: … } or { env: … }")
    }

    fn visit_str<E: Error>(self, _: &str) -> Result<SecretSource, E> {
        Err(E::custom(NEVER_INLINE))
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<SecretSource, E> {
        Err(E::custom(NEVER_INLINE))
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<SecretSource, E> {
        Err(E::custom(NEVER_INLINE))
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<SecretSource, E> {
        Err(E::custom(NEVER_INLINE))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<SecretSource, A::Error> {
        let source = match map.next_key::<String>()?.as_deref() {
            Some("file") => SecretSource::File(map.next_value()?),
            Some("env") => SecretSource::Env(map.next_value()?),
            _ => return Err(A::Error::custom(NEVER_INLINE)),
        };
        match map.next_key::<IgnoredAny>()? {
            None => Ok(source),
            Some(_) => Err(A::Error::custom(
                "a secret has one place: { file: … } or { env: … }",
            )),
        }
    }
}

impl SecretSource {
    /// Reads the secret.
    ///
    /// # Errors
    /// Where it cannot be read, or is empty.
    pub fn load(&self, reader: &mut Reader) -> Result<Secret<Vec<u8>>, ReadError> {
        let mut bytes = match self {
            Self::File(path) => reader.read(path, MAX_SECRET_BYTES)?,
            Self::Env(name) => reader.env(name)?.into_bytes(),
        };
        if bytes.ends_with(b"\n") {
            bytes.pop();
            if bytes.ends_with(b"\r") {
                bytes.pop();
            }
        }
        if bytes.is_empty() {
            Err(ReadError::Empty)
        } else {
            Ok(Secret::new(bytes))
        }
    }
}

const DURATION_UNITS: [(&str, u64); 5] = [
    ("ms", 1),
    ("s", 1000),
    ("m", 60_000),
    ("h", 3_600_000),
    ("d", 86_400_000),
];
const SIZE_UNITS: [(&str, usize); 3] = [("KiB", 1024), ("MiB", 1024 * 1024), ("B", 1)];

impl HumanDuration {
    /// Reads `30s`, or a sum: `1h 30m`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut rest = text;
        let mut millis: u64 = 0;
        loop {
            let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
            let (number, after) = rest.split_at_checked(digits)?;
            let letters = after.bytes().take_while(u8::is_ascii_lowercase).count();
            let (unit, after) = after.split_at_checked(letters)?;
            let (_, factor) = DURATION_UNITS.iter().find(|(name, _)| *name == unit)?;
            let part = number.parse::<u64>().ok()?.checked_mul(*factor)?;
            millis = millis.checked_add(part)?;
            if after.is_empty() {
                return Some(Self(Duration::from_millis(millis)));
            }
            rest = after.strip_prefix(' ').unwrap_or(after);
        }
    }
}

impl fmt::Display for HumanDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX);
        let whole = |factor: &u64| millis >= *factor && millis.is_multiple_of(*factor);
        let (unit, factor) = DURATION_UNITS
            .iter()
            .rev()
            .find(|(_, factor)| whole(factor))
            .unwrap_or(&("ms", 1));
        write!(f, "{}{unit}", millis / factor)
    }
}

impl ByteSize {
    /// Reads `256KiB`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = text.split_at_checked(digits)?;
        let (_, factor) = SIZE_UNITS.iter().find(|(name, _)| *name == unit)?;
        Some(Self(number.parse::<usize>().ok()?.checked_mul(*factor)?))
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = |factor: usize| self.0 >= factor && self.0.is_multiple_of(factor);
        let (unit, factor) = SIZE_UNITS
            .into_iter()
            .filter(|(_, factor)| whole(*factor))
            .max_by_key(|(_, factor)| *factor)
            .unwrap_or(("B", 1));
        write!(f, "{}{unit}", self.0 / factor)
    }
}

macro_rules! text_value {
    ($name:ident, $expected:literal, $pattern:literal) => {
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = Cow::<'de, str>::deserialize(deserializer)?;
                Self::parse(&text)
                    .ok_or_else(|| Error::custom(concat!("it must be a ", $expected)))
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl JsonSchema for $name {
            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({ "type": "string", "pattern": $pattern, "description": $expected })
            }
        }
    };
}

text_value!(
    HumanDuration,
    "duration with a unit (ms, s, m, h, d), such as 30s",
    "^[0-9]+(ms|s|m|h|d)( ?[0-9]+(ms|s|m|h|d))*$"
);
text_value!(
    ByteSize,
    "size with a unit (B, KiB, MiB), such as 256KiB",
    "^[0-9]+(B|KiB|MiB)$"
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_and_sizes_need_a_unit_and_print_as_read() {
        for text in ["400ms", "30s", "5m", "36h", "2d", "0ms"] {
            assert_eq!(HumanDuration::parse(text).unwrap().to_string(), text);
        }
        for (text, printed) in [("1h 30m", "90m"), ("1h30m", "90m"), ("1m 500ms", "60500ms")] {
            assert_eq!(HumanDuration::parse(text).unwrap().to_string(), printed);
        }
        for text in ["256KiB", "4MiB", "17B"] {
            assert_eq!(ByteSize::parse(text).unwrap().to_string(), text);
        }
        for text in [
            "",
            "30",
            "s",
            "-1s",
            "1.5s",
            "30 s",
            "30S",
            "1h ",
            " 1h",
            "1h  30m",
            "1h 30",
            "18446744073709551615ms 1ms",
            "99999999999999999999s",
            "18446744073709551615d",
        ] {
            assert!(HumanDuration::parse(text).is_none(), "{text}");
            assert!(ByteSize::parse(text).is_none(), "{text}");
        }
    }
}
