//! Things whose `type` chooses their body: the variant is known before the body is read, so that a
//! mistake in the body is reported where it stands.
//!
//! The enum is declared externally tagged (serde's default) and described to schemars with
//! `#[schemars(tag = "type")]`; an enum with `#[serde(tag = "type")]` works too, but its mistakes
//! lose their place.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

use serde::de::value::StrDeserializer;
use serde::de::{
    DeserializeSeed, Deserializer, EnumAccess, Error, IgnoredAny, IntoDeserializer, MapAccess,
    VariantAccess, Visitor,
};
use serde::{Deserialize, forward_to_deserialize_any};

use crate::config::locator::Locator;

/// The key that chooses.
const TAG: &str = "type";

/// Reads a map of things that have a `type`, which stands at `section` of the document.
#[derive(Debug)]
pub struct TaggedMap<'l, T> {
    section: &'static str,
    locator: &'l Locator,
    value: PhantomData<T>,
}

impl<'l, T> TaggedMap<'l, T> {
    /// Reads the map at `section` of the document that `locator` knows.
    #[must_use]
    pub fn new(section: &'static str, locator: &'l Locator) -> Self {
        Self {
            section,
            locator,
            value: PhantomData,
        }
    }
}

impl<'de, T: Deserialize<'de>> DeserializeSeed<'de> for TaggedMap<'_, T> {
    type Value = BTreeMap<String, T>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de, T: Deserialize<'de>> Visitor<'de> for TaggedMap<'_, T> {
    type Value = BTreeMap<String, T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map from names to things with a `type`")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut things = BTreeMap::new();
        while let Some(name) = map.next_key::<String>()? {
            let path = match self.section {
                "" => format!("{name}.{TAG}"),
                section => format!("{section}.{name}.{TAG}"),
            };
            let tag = self.locator.scalar(&path);
            let thing = map.next_value_seed(Tagged(tag, PhantomData))?;
            things.insert(name, thing);
        }
        Ok(things)
    }
}

struct Tagged<'t, T>(Option<&'t str>, PhantomData<T>);

impl<'de, T: Deserialize<'de>> DeserializeSeed<'de> for Tagged<'_, T> {
    type Value = T;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<T, D::Error> {
        T::deserialize(TaggedValue {
            tag: self.0,
            inner: deserializer,
        })
    }
}

/// A value whose tag is known.
struct TaggedValue<'t, D> {
    tag: Option<&'t str>,
    inner: D,
}

impl<'de, D: Deserializer<'de>> Deserializer<'de> for TaggedValue<'_, D> {
    type Error = D::Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        self.inner.deserialize_any(visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        let known = variants.join(", ");
        let variant = match self.tag {
            // what stands there is not told: any value may be a secret in the wrong place
            Some(tag) => variants
                .iter()
                .find(|variant| **variant == tag)
                .ok_or_else(|| D::Error::custom(format!("unknown type; known are {known}")))?,
            None => {
                return Err(D::Error::custom(format!(
                    "`{TAG}` is missing; known are {known}"
                )));
            }
        };
        visitor.visit_enum(Variant {
            variant,
            inner: self.inner,
        })
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option
        unit unit_struct newtype_struct seq tuple tuple_struct map struct identifier ignored_any
    }
}

struct Variant<D> {
    variant: &'static str,
    inner: D,
}

impl<'de, D: Deserializer<'de>> EnumAccess<'de> for Variant<D> {
    type Error = D::Error;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Self), D::Error> {
        let name: StrDeserializer<'_, D::Error> = self.variant.into_deserializer();
        Ok((seed.deserialize(name)?, self))
    }
}

impl<'de, D: Deserializer<'de>> VariantAccess<'de> for Variant<D> {
    type Error = D::Error;

    fn unit_variant(self) -> Result<(), D::Error> {
        self.inner.deserialize_map(WithoutTag(Nothing))
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, D::Error> {
        seed.deserialize(Untagged(self.inner))
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, _: V) -> Result<V::Value, D::Error> {
        Err(D::Error::custom("a list cannot have a `type`"))
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.inner.deserialize_map(WithoutTag(visitor))
    }
}

/// A body without its tag.
struct Untagged<D>(D);

impl<'de, D: Deserializer<'de>> Deserializer<'de> for Untagged<D> {
    type Error = D::Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        self.0.deserialize_map(WithoutTag(visitor))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option
        unit unit_struct newtype_struct seq tuple tuple_struct map struct enum identifier ignored_any
    }
}

struct WithoutTag<V>(V);

impl<'de, V: Visitor<'de>> Visitor<'de> for WithoutTag<V> {
    type Value = V::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.expecting(f)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<V::Value, A::Error> {
        self.0.visit_map(Body(map))
    }
}

/// The entries of a map but its tag.
struct Body<A>(A);

impl<'de, A: MapAccess<'de>> MapAccess<'de> for Body<A> {
    type Error = A::Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        mut seed: K,
    ) -> Result<Option<K::Value>, A::Error> {
        loop {
            match self.0.next_key_seed(KeyOrTag(seed))? {
                None => return Ok(None),
                Some(Ok(key)) => return Ok(Some(key)),
                Some(Err(unused)) => {
                    self.0.next_value::<IgnoredAny>()?;
                    seed = unused;
                }
            }
        }
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, A::Error> {
        self.0.next_value_seed(seed)
    }
}

/// Reads a key with the seed, or gives the seed back where the key is the tag.
struct KeyOrTag<K>(K);

impl<'de, K: DeserializeSeed<'de>> DeserializeSeed<'de> for KeyOrTag<K> {
    type Value = Result<K::Value, K>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        let key = String::deserialize(deserializer)?;
        if key == TAG {
            Ok(Err(self.0))
        } else {
            self.0.deserialize(key.into_deserializer()).map(Ok)
        }
    }
}

/// A body without any key.
struct Nothing;

impl<'de> Visitor<'de> for Nothing {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("nothing but a `type`")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        match map.next_key::<String>()? {
            None => Ok(()),
            Some(key) => Err(A::Error::custom(format!("unknown field `{key}`"))),
        }
    }
}
