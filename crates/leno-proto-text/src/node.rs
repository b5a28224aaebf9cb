//! A YAML document as a tree that remembers where each of its nodes stood.

use std::fmt;
use std::ops::Range;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::{Location, Spanned};

use crate::error::{Error, Position};

/// Envoy's deepest sensible configuration nests about forty levels.
const MAX_DEPTH: usize = 64;

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Node {
    pub(crate) value: Tree,
    pub(crate) at: Option<Position>,
    /// Where in the text its own bytes are, behind an alias too.
    span: Option<Range<usize>>,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Tree {
    Null,
    Bool(bool),
    Int(i128),
    /// `text` is what was written, where that is known.
    Float {
        value: f64,
        text: Option<String>,
    },
    String(String),
    List(Vec<Node>),
    Map(Vec<Entry>),
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Entry {
    pub(crate) key: String,
    pub(crate) key_at: Option<Position>,
    pub(crate) value: Node,
}

impl Node {
    /// Reads one document. JSON is read as the YAML that it is.
    pub(crate) fn parse(text: &str) -> Result<Node, Error> {
        let options = serde_saphyr::options! {
            budget: serde_saphyr::budget! { max_depth: MAX_DEPTH, flow_nesting_limit: MAX_DEPTH },
            // `yes`, `on` and `y` are strings to Envoy, as in YAML 1.2.
            strict_booleans: true,
        };
        let document: Spanned<Tree> =
            serde_saphyr::from_str_with_options(text, options).map_err(syntax_error)?;
        let mut node = Node::from(document);
        node.keep_numbers_text(text);
        Ok(node)
    }

    fn keep_numbers_text(&mut self, source: &str) {
        match &mut self.value {
            Tree::Float { text, .. } => {
                *text = self
                    .span
                    .clone()
                    .and_then(|span| source.get(span))
                    .map(str::to_owned);
            }
            Tree::List(items) => items.iter_mut().for_each(|item| item.keep_numbers_text(source)),
            Tree::Map(entries) => entries
                .iter_mut()
                .for_each(|entry| entry.value.keep_numbers_text(source)),
            Tree::Null | Tree::Bool(_) | Tree::Int(_) | Tree::String(_) => {}
        }
    }
}

impl Tree {
    /// What this is, to tell somebody who should have written something else.
    pub(crate) fn describe(&self) -> String {
        match self {
            Tree::Null => "null".into(),
            Tree::Bool(value) => format!("the boolean {value}"),
            Tree::Int(value) => format!("the number {value}"),
            Tree::Float { value, .. } => format!("the number {value}"),
            Tree::String(value) => format!("the string {value:?}"),
            Tree::List(_) => "a list".into(),
            Tree::Map(_) => "a mapping".into(),
        }
    }
}

impl From<Spanned<Tree>> for Node {
    fn from(spanned: Spanned<Tree>) -> Self {
        let own = spanned.defined.span();
        let span = own
            .byte_offset()
            .zip(own.byte_len())
            .and_then(|(start, length)| Some((usize::try_from(start).ok()?, usize::try_from(length).ok()?)))
            .and_then(|(start, length)| Some(start..start.checked_add(length)?));
        Node {
            at: position(spanned.referenced),
            value: spanned.value,
            span,
        }
    }
}

impl<'de> Deserialize<'de> for Tree {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TreeVisitor)
    }
}

struct TreeVisitor;

impl<'de> Visitor<'de> for TreeVisitor {
    type Value = Tree;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a scalar, a list or a mapping")
    }

    fn visit_unit<E>(self) -> Result<Tree, E> {
        Ok(Tree::Null)
    }

    fn visit_none<E>(self) -> Result<Tree, E> {
        Ok(Tree::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Tree, E> {
        Ok(Tree::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Tree, E> {
        Ok(Tree::Int(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Tree, E> {
        Ok(Tree::Int(value.into()))
    }

    fn visit_i128<E>(self, value: i128) -> Result<Tree, E> {
        Ok(Tree::Int(value))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Tree, E> {
        Ok(Tree::Float { value, text: None })
    }

    fn visit_str<E>(self, value: &str) -> Result<Tree, E> {
        Ok(Tree::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Tree, E> {
        Ok(Tree::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Tree, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element::<Spanned<Tree>>()? {
            items.push(item.into());
        }
        Ok(Tree::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Tree, A::Error> {
        let mut entries = Vec::new();
        while let Some(key) = map.next_key::<Spanned<String>>()? {
            let value = map.next_value::<Spanned<Tree>>()?.into();
            entries.push(Entry {
                key_at: position(key.referenced),
                key: key.value,
                value,
            });
        }
        Ok(Tree::Map(entries))
    }
}

fn position(location: Location) -> Option<Position> {
    (location.line() > 0).then(|| Position {
        line: location.line(),
        column: location.column(),
    })
}

fn syntax_error(error: serde_saphyr::Error) -> Error {
    let position = error.location().and_then(position);
    let bare = error.without_snippet().to_string();
    // The parser appends its own place; ours has one form everywhere.
    let message = match (position, bare.rfind(" at line ")) {
        (Some(_), Some(cut)) => bare.get(..cut).unwrap_or(&bare).to_owned(),
        _ => bare,
    };
    Error::Syntax { message, position }
}
