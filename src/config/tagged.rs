//! Choices that are written as `type: …` beside their own keys.
//!
//! serde's own internally tagged enums read the whole mapping before they choose, and what is
//! wrong in it then has no line. Here the variant is chosen first and its body is read from the
//! document itself, so that every error keeps its place. Only where `type` does not come first is
//! the mapping read before, and an error has the place of the mapping.

/// Declares an enum whose variants are told apart by `type`, and reads it as the module says.
macro_rules! tagged {
    (
        $(#[$meta:meta])*
        pub enum $name:ident {
            $( $(#[$variant_meta:meta])* $variant:ident($body:ty) = $tag:literal, )+
        }
    ) => {
        $(#[$meta])*
        pub enum $name {
            $( $(#[$variant_meta])* $variant($body), )+
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Choice;

                impl<'de> serde::de::Visitor<'de> for Choice {
                    type Value = $name;

                    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        f.write_str("a mapping with `type`")
                    }

                    fn visit_map<A: serde::de::MapAccess<'de>>(
                        self,
                        map: A,
                    ) -> Result<$name, A::Error> {
                        match $crate::config::tagged::choose(map)? {
                            $crate::config::tagged::Chosen::Streamed(tag, map) => match &*tag {
                                $( $tag => {
                                    let body = serde::de::value::MapAccessDeserializer::new(map);
                                    <$body as serde::Deserialize>::deserialize(body)
                                        .map($name::$variant)
                                } )+
                                other => Err(serde::de::Error::unknown_variant(other, &[$($tag),+])),
                            },
                            $crate::config::tagged::Chosen::Buffered(tag, body) => match &*tag {
                                $( $tag => <$body as serde::Deserialize>::deserialize(body)
                                    .map($name::$variant)
                                    .map_err(serde::de::Error::custom), )+
                                other => Err(serde::de::Error::unknown_variant(other, &[$($tag),+])),
                            },
                        }
                    }
                }

                deserializer.deserialize_map(Choice)
            }
        }
    };
}

use serde::de::{Error, MapAccess};
use serde_json::{Map, Value};

pub(crate) use tagged;

/// What has been read to know the variant.
pub(crate) enum Chosen<A> {
    /// The tag; the rest is still in the document.
    Streamed(String, A),
    /// The tag, and all the rest.
    Buffered(String, Value),
}

/// Reads `map` up to its `type`.
pub(crate) fn choose<'de, A: MapAccess<'de>>(mut map: A) -> Result<Chosen<A>, A::Error> {
    const TAG: &str = "type";
    let mut before = Map::new();
    while let Some(key) = map.next_key::<String>()? {
        if key != TAG {
            before.insert(key, map.next_value()?);
        } else if before.is_empty() {
            return Ok(Chosen::Streamed(map.next_value()?, map));
        } else {
            let tag = map.next_value()?;
            while let Some((key, value)) = map.next_entry()? {
                before.insert(key, value);
            }
            return Ok(Chosen::Buffered(tag, Value::Object(before)));
        }
    }
    Err(A::Error::missing_field(TAG))
}
