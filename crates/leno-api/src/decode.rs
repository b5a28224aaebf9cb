//! From the tree to Rust types, through serde.
//!
//! Why not straight from YAML with serde: here every failure has the field's path and place, all unknown fields
//! are found in one pass and not only the first, and a field can be declared as known but not served
//! ([`NotServed`]) or without effect ([`Ignored`]) by its type alone, next to its siblings.

mod access;

use std::cell::RefCell;
use std::fmt;

use serde::de::{self, Deserializer, Visitor};

use access::{Fields, Items, Variant};

use crate::codes::Code;
use crate::diagnostic::Severity;
use crate::node::{Entry, Node, Pos, Value};
use crate::suggest::nearest;

const NOT_SERVED: &str = "$leno::NotServed";
const IGNORED: &str = "$leno::Ignored";

/// A field that Istio or the Gateway API has and leno does not have yet: giving it is an error that names it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct NotServed;

/// A field without effect in leno, and harmless: giving it is a warning.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Ignored;

/// What was found while decoding one object.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Problem {
    pub(crate) code: Code,
    pub(crate) severity: Severity,
    pub(crate) pos: Pos,
    pub(crate) path: String,
    pub(crate) message: String,
    pub(crate) hint: String,
}

/// Decodes a tree; problems are complete even when there is a value.
pub(crate) fn decode<T: de::DeserializeOwned>(root: &Node) -> (Option<T>, Vec<Problem>) {
    let problems = RefCell::new(Vec::new());
    let decoder = Decoder {
        node: root,
        path: &Path::Root,
        problems: &problems,
    };
    let result = T::deserialize(decoder).map_err(|failure| failure.at(decoder));
    let mut problems = problems.into_inner();
    match result {
        Ok(value) => (Some(value), problems),
        Err(failure) => {
            problems.push(*failure.0);
            (None, problems)
        }
    }
}

#[derive(Clone, Copy)]
struct Decoder<'a> {
    node: &'a Node,
    path: &'a Path<'a>,
    problems: &'a RefCell<Vec<Problem>>,
}

/// The path from the root, on the stack: it is only spelled out when something is wrong.
enum Path<'a> {
    Root,
    Field(&'a Path<'a>, &'a str),
    Index(&'a Path<'a>, usize),
}

/// A problem whose place is filled in by the innermost value that it happened in.
#[derive(Debug)]
struct Failure(Box<Problem>);

// === impl Path ===

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Root => Ok(()),
            Self::Field(Path::Root, name) => f.write_str(name),
            Self::Field(parent, name) => write!(f, "{parent}.{name}"),
            Self::Index(parent, index) => write!(f, "{parent}[{index}]"),
        }
    }
}

// === impl Failure ===

impl Failure {
    fn new(code: Code, message: String, hint: String) -> Self {
        let (pos, path) = (Pos::default(), String::new());
        Self(Box::new(Problem {
            code,
            severity: Severity::Error,
            pos,
            path,
            message,
            hint,
        }))
    }

    fn at(mut self, decoder: Decoder<'_>) -> Self {
        if self.0.pos == Pos::default() {
            self.0.pos = decoder.node.pos;
            self.0.path = decoder.path.to_string();
        }
        self
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl std::error::Error for Failure {}

impl de::Error for Failure {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::new(Code::WrongValue, message.to_string(), String::new())
    }

    fn missing_field(field: &'static str) -> Self {
        Self::new(
            Code::MissingField,
            format!("the field {field} is missing"),
            format!("add {field}"),
        )
    }

    fn unknown_variant(variant: &str, expected: &'static [&'static str]) -> Self {
        let hint = match nearest(variant, expected.iter().copied()) {
            Some(near) => format!("did you mean {near}?"),
            None => format!("use one of {}", expected.join(", ")),
        };
        Self::new(
            Code::WrongValue,
            format!("{variant:?} is not a known value"),
            hint,
        )
    }
}

// === impl Decoder ===

impl<'a> Decoder<'a> {
    fn wrong(self, expected: &dyn fmt::Display) -> Failure {
        let hint = match (&self.node.value, expected.to_string().as_str()) {
            (Value::Int(_) | Value::Float(_) | Value::Bool(_), "text") => "put it in quotes".to_owned(),
            (Value::Text(text), "a whole number" | "a number") if text.parse::<f64>().is_ok() => {
                "take the quotes away".to_owned()
            }
            _ => String::new(),
        };
        let message = format!("{} where {expected} is expected", self.node.describe());
        Failure::new(Code::WrongValue, message, hint).at(self)
    }

    fn note(self, code: Code, severity: Severity, message: String, hint: String) {
        let path = self.path.to_string();
        self.problems.borrow_mut().push(Problem {
            code,
            severity,
            pos: self.node.pos,
            path,
            message,
            hint,
        });
    }

    fn unknown_field(self, entry: &Entry, fields: &[&str]) {
        let hint = match nearest(&entry.key, fields.iter().copied()) {
            Some(near) => format!("did you mean {near}?"),
            None => format!("known here: {}", fields.join(", ")),
        };
        self.problems.borrow_mut().push(Problem {
            code: Code::UnknownField,
            severity: Severity::Error,
            pos: entry.key_pos,
            path: Path::Field(self.path, &entry.key).to_string(),
            message: format!("unknown field {}", entry.key),
            hint,
        });
    }

    fn integer(self) -> Result<i64, Failure> {
        match self.node.value {
            Value::Int(number) => Ok(number),
            Value::Float(number) if number.fract() == 0.0 && number.abs() < 9e15 => Ok(number as i64),
            _ => Err(self.wrong(&"a whole number")),
        }
    }

    fn visit_int<'de, V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        let number = self.integer()?;
        match u64::try_from(number) {
            Ok(unsigned) => visitor.visit_u64(unsigned),
            Err(_) => visitor.visit_i64(number),
        }
        .map_err(|failure: Failure| failure.at(self))
    }
}

macro_rules! integers {
    ($($method:ident)*) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
            self.visit_int(visitor)
        })*
    };
}

impl<'de> Deserializer<'de> for Decoder<'_> {
    type Error = Failure;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        match &self.node.value {
            Value::Null => visitor.visit_unit(),
            Value::Bool(value) => visitor.visit_bool(*value),
            Value::Int(_) => return self.visit_int(visitor),
            Value::Float(value) => visitor.visit_f64(*value),
            Value::Text(text) => visitor.visit_str(text),
            Value::List(_) => return self.deserialize_seq(visitor),
            Value::Map(_) => return self.deserialize_map(visitor),
        }
        .map_err(|failure: Failure| failure.at(self))
    }

    integers! {
        deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64
        deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        match self.node.value {
            Value::Bool(value) => visitor.visit_bool(value),
            _ => Err(self.wrong(&"true or false")),
        }
    }

    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        match self.node.value {
            Value::Float(value) => visitor.visit_f64(value),
            Value::Int(value) => visitor.visit_f64(value as f64),
            _ => Err(self.wrong(&"a number")),
        }
    }

    fn deserialize_f32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        self.deserialize_f64(visitor)
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        match &self.node.value {
            Value::Text(text) => visitor
                .visit_str(text)
                .map_err(|failure: Failure| failure.at(self)),
            _ => Err(self.wrong(&"text")),
        }
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        self.deserialize_str(visitor)
    }

    fn deserialize_char<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        self.deserialize_str(visitor)
    }

    fn deserialize_bytes<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        self.deserialize_str(visitor)
    }

    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        self.deserialize_str(visitor)
    }

    fn deserialize_identifier<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        self.deserialize_str(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        match self.node.value {
            Value::Null => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        match self.node.value {
            Value::Null => visitor.visit_unit(),
            _ => Err(self.wrong(&"nothing")),
        }
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Failure> {
        self.deserialize_unit(visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Failure> {
        // An empty list or a plain false asks for nothing.
        let asks = match &self.node.value {
            Value::List(items) => !items.is_empty(),
            value => *value != Value::Bool(false),
        };
        match name {
            NOT_SERVED if asks => {
                let message = format!("{} is not served by leno yet", self.path);
                self.note(
                    Code::NotServed,
                    Severity::Error,
                    message,
                    "leave it out for now".into(),
                );
                visitor.visit_unit()
            }
            IGNORED if asks => {
                let message = format!("{} has no effect in leno", self.path);
                self.note(
                    Code::Ignored,
                    Severity::Warning,
                    message,
                    "it may be left out".into(),
                );
                visitor.visit_unit()
            }
            NOT_SERVED | IGNORED => visitor.visit_unit(),
            _ => visitor.visit_newtype_struct(self),
        }
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        match &self.node.value {
            Value::List(items) => visitor
                .visit_seq(Items {
                    decoder: self,
                    items: items.iter(),
                    index: 0,
                })
                .map_err(|failure: Failure| failure.at(self)),
            _ => Err(self.wrong(&"a list")),
        }
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Failure> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: usize,
        visitor: V,
    ) -> Result<V::Value, Failure> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        match &self.node.value {
            Value::Map(entries) => visitor
                .visit_map(Fields {
                    decoder: self,
                    entries: entries.iter(),
                    current: None,
                    known: None,
                })
                .map_err(|failure: Failure| failure.at(self)),
            _ => Err(self.wrong(&"a mapping")),
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Failure> {
        match &self.node.value {
            Value::Map(entries) => visitor
                .visit_map(Fields {
                    decoder: self,
                    entries: entries.iter(),
                    current: None,
                    known: Some(fields),
                })
                .map_err(|failure: Failure| failure.at(self)),
            _ => Err(self.wrong(&"a mapping")),
        }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Failure> {
        match &self.node.value {
            Value::Text(_) => visitor
                .visit_enum(Variant(self))
                .map_err(|failure: Failure| failure.at(self)),
            _ => Err(self.wrong(&"text")),
        }
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        visitor.visit_unit()
    }

    serde::forward_to_deserialize_any! { i128 u128 }
}

// === impl NotServed, Ignored ===

struct Nothing;

impl<'de> Visitor<'de> for Nothing {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("anything")
    }

    fn visit_unit<E: de::Error>(self) -> Result<(), E> {
        Ok(())
    }
}

impl<'de> de::Deserialize<'de> for NotServed {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer
            .deserialize_newtype_struct(NOT_SERVED, Nothing)
            .map(|()| Self)
    }
}

impl<'de> de::Deserialize<'de> for Ignored {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer
            .deserialize_newtype_struct(IGNORED, Nothing)
            .map(|()| Self)
    }
}
