//! What serde asks of lists, mappings, keys and enumerations.

use serde::de::{
    self, DeserializeSeed, Deserializer, EnumAccess, MapAccess, SeqAccess, VariantAccess, Visitor,
};

use super::{Decoder, Failure, Path};
use crate::codes::Code;
use crate::node::{Entry, Node, Value};

pub(super) struct Items<'a> {
    pub(super) decoder: Decoder<'a>,
    pub(super) items: std::slice::Iter<'a, Node>,
    pub(super) index: usize,
}

impl<'de> SeqAccess<'de> for Items<'_> {
    type Error = Failure;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Failure> {
        let Some(node) = self.items.next() else {
            return Ok(None);
        };
        let path = Path::Index(self.decoder.path, self.index);
        self.index += 1;
        let decoder = Decoder {
            node,
            path: &path,
            problems: self.decoder.problems,
        };
        seed.deserialize(decoder)
            .map(Some)
            .map_err(|failure| failure.at(decoder))
    }
}

pub(super) struct Fields<'a> {
    pub(super) decoder: Decoder<'a>,
    pub(super) entries: std::slice::Iter<'a, Entry>,
    pub(super) current: Option<&'a Entry>,
    /// The fields of a struct; None: a map with keys of its own.
    pub(super) known: Option<&'static [&'static str]>,
}

impl<'de> MapAccess<'de> for Fields<'_> {
    type Error = Failure;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Failure> {
        for entry in self.entries.by_ref() {
            if let Some(known) = self.known {
                if !known.contains(&entry.key.as_str()) {
                    self.decoder.unknown_field(entry, known);
                    continue;
                }
                // In Kubernetes a null field is a field that is not there.
                if entry.value.value == Value::Null {
                    continue;
                }
            }
            self.current = Some(entry);
            return seed.deserialize(KeyDecoder(&entry.key)).map(Some);
        }
        Ok(None)
    }

    fn next_value_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<T::Value, Failure> {
        let Some(entry) = self.current.take() else {
            return Err(de::Error::custom("a value without a key"));
        };
        let path = Path::Field(self.decoder.path, &entry.key);
        let decoder = Decoder {
            node: &entry.value,
            path: &path,
            problems: self.decoder.problems,
        };
        seed.deserialize(decoder).map_err(|failure| failure.at(decoder))
    }
}

/// Keys are text, and numbers where the type asks for them (`portLevelMtls`).
struct KeyDecoder<'a>(&'a str);

impl<'de> Deserializer<'de> for KeyDecoder<'_> {
    type Error = Failure;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        visitor.visit_str(self.0)
    }

    fn deserialize_u32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        match self.0.parse() {
            Ok(number) => visitor.visit_u32(number),
            Err(_) => {
                let message = format!("the key {:?} where a number is expected", self.0);
                Err(Failure::new(Code::WrongValue, message, String::new()))
            }
        }
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u64 u128 f32 f64 char str string bytes byte_buf option unit
        unit_struct newtype_struct seq tuple tuple_struct map struct enum identifier ignored_any
    }
}

/// An enumeration's value: only names, no payload.
pub(super) struct Variant<'a>(pub(super) Decoder<'a>);

impl<'de> EnumAccess<'de> for Variant<'_> {
    type Error = Failure;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Self), Failure> {
        Ok((seed.deserialize(self.0)?, self))
    }
}

impl<'de> VariantAccess<'de> for Variant<'_> {
    type Error = Failure;

    fn unit_variant(self) -> Result<(), Failure> {
        Ok(())
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, _: T) -> Result<T::Value, Failure> {
        Err(self.0.wrong(&"a mapping"))
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, _: V) -> Result<V::Value, Failure> {
        Err(self.0.wrong(&"a list"))
    }

    fn struct_variant<V: Visitor<'de>>(self, _: &'static [&'static str], _: V) -> Result<V::Value, Failure> {
        Err(self.0.wrong(&"a mapping"))
    }
}
