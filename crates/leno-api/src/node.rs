//! Text to a tree in which every value and every key knows its place.
//!
//! YAML 1.2 by events, so that a broken document does not take the following ones with it. Plain scalars
//! resolve as in the Kubernetes API server (which reads YAML as go-yaml does: `yes`, `no`, `on`, `off` are
//! booleans). What aliases expand to is counted, so that a few lines cannot become gigabytes.

use std::collections::{HashMap, HashSet};

use serde_saphyr::granit_parser::{Event, Options, Parser, ScalarStyle, Span};

use crate::codes::Code;

/// Nodes of one document, counting every expansion of an alias.
const MAX_NODES: usize = 500_000;
/// Bytes of text in one document, counting every expansion of an alias.
const MAX_BYTES: usize = 32 << 20;
/// How deep values may nest. Kubernetes objects stay below 20.
const MAX_DEPTH: usize = 64;

/// Line and column, both from one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Pos {
    pub line: u32,
    pub column: u32,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    pub pos: Pos,
    pub value: Value,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(String),
    List(Vec<Node>),
    Map(Vec<Entry>),
}

#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    pub key: String,
    pub key_pos: Pos,
    pub value: Node,
}

/// Why a document could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken {
    pub code: Code,
    pub pos: Pos,
    pub message: String,
    pub hint: String,
}

// === impl Node ===

impl Node {
    /// The value of a key, if this is a mapping that has it.
    pub fn get(&self, key: &str) -> Option<&Node> {
        self.entry(key).map(|entry| &entry.value)
    }

    pub fn entry(&self, key: &str) -> Option<&Entry> {
        match &self.value {
            Value::Map(entries) => entries.iter().find(|entry| entry.key == key),
            _ => None,
        }
    }

    pub fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// What a reader would call it: "a list", "the number 5".
    pub fn describe(&self) -> String {
        match &self.value {
            Value::Null => "nothing".into(),
            Value::Bool(value) => format!("the boolean {value}"),
            Value::Int(value) => format!("the number {value}"),
            Value::Float(value) => format!("the number {value}"),
            Value::Text(text) => format!("the text \"{}\"", text.chars().take(40).collect::<String>()),
            Value::List(_) => "a list".into(),
            Value::Map(_) => "a mapping".into(),
        }
    }

    /// The place of `spec.http[0].match`, or of the nearest enclosing value that exists.
    pub fn pos_of(&self, path: &str) -> Pos {
        let mut node = self;
        let mut pos = self.pos;
        for step in path.split(['.', '[']).filter(|step| !step.is_empty()) {
            let step = step.trim_end_matches(']');
            match (&node.value, step.parse::<usize>()) {
                (Value::List(items), Ok(index)) => match items.get(index) {
                    Some(item) => (node, pos) = (item, item.pos),
                    None => break,
                },
                (Value::Map(_), _) => match node.entry(step) {
                    Some(entry) => (node, pos) = (&entry.value, entry.key_pos),
                    None => break,
                },
                _ => break,
            }
        }
        pos
    }

    /// Nodes and bytes of text below and including this one.
    fn size(&self) -> (usize, usize) {
        let add = |a: (usize, usize), b: (usize, usize)| (a.0 + b.0, a.1 + b.1);
        match &self.value {
            Value::List(items) => items.iter().map(Node::size).fold((1, 0), add),
            Value::Map(entries) => entries
                .iter()
                .map(|entry| add(entry.value.size(), (1, entry.key.len())))
                .fold((1, 0), add),
            Value::Text(text) => (1, text.len()),
            _ => (1, 0),
        }
    }

    fn depth(&self) -> usize {
        match &self.value {
            Value::List(items) => 1 + items.iter().map(Node::depth).max().unwrap_or(0),
            Value::Map(entries) => 1 + entries.iter().map(|e| e.value.depth()).max().unwrap_or(0),
            _ => 1,
        }
    }
}

/// Reads all documents of a text; empty ones are left out.
pub fn documents(text: &str) -> Vec<Result<Node, Broken>> {
    let mut options = Options::default();
    options.set_emit_comments(false);
    options.block_nesting_limit = MAX_DEPTH;
    options.flow_nesting_limit = MAX_DEPTH;
    let mut reader = Reader {
        parser: Parser::new_from_str_with_options(text, options),
        document: Document::default(),
    };
    let mut all = Vec::new();
    loop {
        match reader.next_document() {
            Ok(None) => return all,
            Ok(Some(Node {
                value: Value::Null, ..
            })) => {}
            Ok(Some(node)) => all.push(Ok(node)),
            Err(broken) => {
                all.push(Err(broken));
                if !matches!(reader.parser.proceed_next_document(), Ok(true)) {
                    return all;
                }
            }
        }
    }
}

struct Reader<'t, T: serde_saphyr::granit_parser::BorrowedInput<'t>> {
    parser: Parser<'t, T>,
    document: Document,
}

/// What is counted and remembered within one document.
#[derive(Default)]
struct Document {
    anchors: HashMap<usize, Node>,
    nodes: usize,
    bytes: usize,
}

impl<'t, T: serde_saphyr::granit_parser::BorrowedInput<'t>> Reader<'t, T> {
    fn next_event(&mut self) -> Result<Option<(Event<'t>, Pos)>, Broken> {
        match self.parser.next_event() {
            None => Ok(None),
            Some(Ok((event, span))) => Ok(Some((event, start(span)))),
            Some(Err(error)) => {
                let mark = error.marker();
                Err(Broken {
                    code: Code::Syntax,
                    pos: Pos {
                        line: narrow(mark.line()),
                        column: narrow(mark.col() + 1),
                    },
                    message: format!("not valid YAML: {}", error.info()),
                    hint: "check indentation, quotes and brackets at this place".into(),
                })
            }
        }
    }

    fn next_document(&mut self) -> Result<Option<Node>, Broken> {
        self.document = Document::default();
        let mut root = None;
        while let Some((event, pos)) = self.next_event()? {
            match event {
                Event::StreamEnd => break,
                Event::DocumentEnd => {
                    return Ok(Some(root.unwrap_or(Node {
                        pos,
                        value: Value::Null,
                    })));
                }
                Event::StreamStart | Event::DocumentStart(..) => {}
                event => root = Some(self.node(event, pos, 0)?),
            }
        }
        Ok(root)
    }

    fn node(&mut self, event: Event<'t>, pos: Pos, depth: usize) -> Result<Node, Broken> {
        if depth > MAX_DEPTH {
            return Err(too_large(pos, format!("values nest deeper than {MAX_DEPTH}")));
        }
        let anchor = event.anchor_id();
        let node = match event {
            Event::Scalar(text, style, _, ref tag) => {
                let as_text =
                    style != ScalarStyle::Plain || tag.as_ref().is_some_and(|tag| tag.suffix() == "str");
                self.count(pos, 1, text.len())?;
                Node {
                    pos,
                    value: if as_text {
                        Value::Text(text.into_owned())
                    } else {
                        resolve(&text)
                    },
                }
            }
            Event::SequenceStart(..) => self.list(pos, depth)?,
            Event::MappingStart(..) => self.map(pos, depth)?,
            Event::Alias(id) => self.alias(id, pos, depth)?,
            _ => Node {
                pos,
                value: Value::Null,
            },
        };
        if let Some(id) = anchor {
            self.document.anchors.insert(id, node.clone());
        }
        Ok(node)
    }

    fn alias(&mut self, id: usize, pos: Pos, depth: usize) -> Result<Node, Broken> {
        let Some(mut node) = self.document.anchors.get(&id).cloned() else {
            return Err(Broken {
                code: Code::Syntax,
                pos,
                message: "an alias refers to a value that contains it, or to none".into(),
                hint: "define the anchor before the alias".into(),
            });
        };
        let (nodes, bytes) = node.size();
        self.count(pos, nodes, bytes)?;
        if depth + node.depth() > MAX_DEPTH {
            return Err(too_large(pos, format!("values nest deeper than {MAX_DEPTH}")));
        }
        node.pos = pos;
        Ok(node)
    }

    fn list(&mut self, pos: Pos, depth: usize) -> Result<Node, Broken> {
        self.count(pos, 1, 0)?;
        let mut items = Vec::new();
        while let Some((event, at)) = self.next_event()? {
            if matches!(event, Event::SequenceEnd) {
                break;
            }
            items.push(self.node(event, at, depth + 1)?);
        }
        Ok(Node {
            pos,
            value: Value::List(items),
        })
    }

    fn map(&mut self, pos: Pos, depth: usize) -> Result<Node, Broken> {
        self.count(pos, 1, 0)?;
        let mut entries: Vec<Entry> = Vec::new();
        let mut seen = HashSet::new();
        let mut merged: Vec<Entry> = Vec::new();
        while let Some((event, key_pos)) = self.next_event()? {
            if matches!(event, Event::MappingEnd) {
                break;
            }
            let merges = matches!(&event, Event::Scalar(text, ScalarStyle::Plain, ..) if text == "<<");
            let key = match self.node(event, key_pos, depth + 1)?.value {
                Value::Text(text) => text,
                Value::Int(number) => number.to_string(),
                Value::Bool(value) => value.to_string(),
                _ => return Err(syntax(key_pos, "a key must be text", "write the key as a name")),
            };
            let Some((event, at)) = self.next_event()? else {
                break;
            };
            let value = self.node(event, at, depth + 1)?;
            if merges {
                merge(&mut merged, value)?;
            } else if seen.insert(key.clone()) {
                entries.push(Entry { key, key_pos, value });
            } else {
                return Err(Broken {
                    code: Code::DuplicateKey,
                    pos: key_pos,
                    message: format!("the key {key} is given twice"),
                    hint: "keep one of them".into(),
                });
            }
        }
        entries.extend(merged.into_iter().filter(|entry| seen.insert(entry.key.clone())));
        Ok(Node {
            pos,
            value: Value::Map(entries),
        })
    }

    fn count(&mut self, pos: Pos, nodes: usize, bytes: usize) -> Result<(), Broken> {
        self.document.nodes += nodes;
        self.document.bytes += bytes;
        if self.document.nodes > MAX_NODES || self.document.bytes > MAX_BYTES {
            return Err(too_large(
                pos,
                format!("a document of more than {MAX_NODES} values or {MAX_BYTES} bytes"),
            ));
        }
        Ok(())
    }
}

/// The YAML 1.1 merge key: `<<: *defaults`, or a list of such.
fn merge(into: &mut Vec<Entry>, value: Node) -> Result<(), Broken> {
    match value.value {
        Value::Map(entries) => into.extend(entries),
        Value::List(items) => {
            for item in items {
                match item.value {
                    Value::Map(entries) => into.extend(entries),
                    _ => {
                        return Err(syntax(
                            item.pos,
                            "<< merges mappings only",
                            "name anchors of mappings",
                        ));
                    }
                }
            }
        }
        _ => {
            return Err(syntax(
                value.pos,
                "<< merges mappings only",
                "name the anchor of a mapping",
            ));
        }
    }
    Ok(())
}

/// A plain scalar's meaning: YAML's core schema, with the booleans of go-yaml.
fn resolve(text: &str) -> Value {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Value::Null,
        "true" | "True" | "TRUE" | "yes" | "Yes" | "YES" | "on" | "On" | "ON" => return Value::Bool(true),
        "false" | "False" | "FALSE" | "no" | "No" | "NO" | "off" | "Off" | "OFF" => {
            return Value::Bool(false);
        }
        _ => {}
    }
    let radix = |prefix: &str, radix| {
        text.strip_prefix(prefix)
            .and_then(|digits| i64::from_str_radix(digits, radix).ok())
    };
    if let Some(number) = radix("0x", 16)
        .or_else(|| radix("0o", 8))
        .or_else(|| text.parse().ok())
    {
        return Value::Int(number);
    }
    let numeric = text.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '+' | '-' | '.'))
        && text.bytes().any(|b| b.is_ascii_digit())
        && text
            .bytes()
            .all(|b| b.is_ascii_digit() || matches!(b, b'+' | b'-' | b'.' | b'e' | b'E'));
    match text.parse::<f64>() {
        Ok(number) if numeric && number.is_finite() => Value::Float(number),
        _ => Value::Text(text.to_owned()),
    }
}

fn start(span: Span) -> Pos {
    Pos {
        line: narrow(span.start.line()),
        column: narrow(span.start.col() + 1),
    }
}

fn narrow(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

fn syntax(pos: Pos, message: &str, hint: &str) -> Broken {
    Broken {
        code: Code::Syntax,
        pos,
        message: message.into(),
        hint: hint.into(),
    }
}

fn too_large(pos: Pos, message: String) -> Broken {
    Broken {
        code: Code::TooLarge,
        pos,
        message,
        hint: "split the file, or write fewer aliases".into(),
    }
}

#[cfg(test)]
mod tests;
