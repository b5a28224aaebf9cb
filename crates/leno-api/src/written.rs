//! An object as it was written, with every place, in a tenth of the room that its tree takes.
//!
//! Of a mesh of a million endpoints most of what is read is never looked at again, but any of it may be: for the place
//! of a mistake, for `leno get`, to tell whether a file now says something else. So it is kept as one row of bytes,
//! each value in the order in which it was written:
//!
//! ```text
//! value = line column tag content      line: less that of the object; numbers: LEB128, 7 bits a byte
//! list  = count bytes value...         bytes: how long what follows is, to step over it
//! map   = count bytes (key line column value)...
//! ```

use std::sync::Arc;

use crate::node::{Entry, Node, Pos, Value};

const NULL: u8 = 0;
const FALSE: u8 = 1;
const TRUE: u8 = 2;
const INT: u8 = 3;
const FLOAT: u8 = 4;
const TEXT: u8 = 5;
const LIST: u8 = 6;
const MAP: u8 = 7;

/// Equal ones say the same at the same place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Written {
    line: u32,
    bytes: Arc<[u8]>,
}

/// The rest of what has not been read; nothing more, where what should follow does not.
struct Rest<'b> {
    line: u32,
    bytes: &'b [u8],
}

/// What a value begins with.
struct Head {
    pos: Pos,
    tag: u8,
}

// === impl Written ===

impl Written {
    pub(crate) fn new(node: &Node) -> Self {
        let mut bytes = Vec::new();
        write(node, node.pos.line, &mut bytes);
        Self {
            line: node.pos.line,
            bytes: bytes.into(),
        }
    }

    pub(crate) fn pos(&self) -> Pos {
        self.rest().head().map_or(Pos::default(), |head| head.pos)
    }

    pub(crate) fn node(&self) -> Node {
        self.rest().node().unwrap_or(Node {
            pos: self.pos(),
            value: Value::Null,
        })
    }

    /// The place of `spec.http[0].match`, or of the nearest enclosing value that exists.
    pub(crate) fn pos_of(&self, path: &str) -> Pos {
        let mut rest = self.rest();
        let mut pos = self.pos();
        for step in path.split(['.', '[']).filter(|step| !step.is_empty()) {
            let step = step.trim_end_matches(']');
            match rest.enter(step) {
                Some(entered) => pos = entered,
                None => break,
            }
        }
        pos
    }

    fn rest(&self) -> Rest<'_> {
        Rest {
            line: self.line,
            bytes: &self.bytes,
        }
    }
}

// === impl Rest ===

impl<'b> Rest<'b> {
    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.bytes.split_first()?;
        self.bytes = rest;
        Some(*first)
    }

    fn number(&mut self) -> Option<u64> {
        let mut number = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            number |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                break;
            }
        }
        Some(number)
    }

    fn length(&mut self) -> Option<usize> {
        usize::try_from(self.number()?).ok()
    }

    fn take(&mut self, length: usize) -> Option<&'b [u8]> {
        let (taken, rest) = self.bytes.split_at_checked(length)?;
        self.bytes = rest;
        Some(taken)
    }

    fn text(&mut self) -> Option<&'b str> {
        let length = self.length()?;
        std::str::from_utf8(self.take(length)?).ok()
    }

    fn pos(&mut self) -> Option<Pos> {
        // Lines wrap around: an alias stands below what it means, and what it means may stand above the object.
        let line = u32::try_from(self.number()?).ok()?.wrapping_add(self.line);
        let column = u32::try_from(self.number()?).ok()?;
        Some(Pos { line, column })
    }

    fn head(&mut self) -> Option<Head> {
        let pos = self.pos()?;
        Some(Head {
            pos,
            tag: self.byte()?,
        })
    }

    fn node(&mut self) -> Option<Node> {
        let Head { pos, tag } = self.head()?;
        let value = match tag {
            FALSE | TRUE => Value::Bool(tag == TRUE),
            INT => Value::Int(i64::from_le_bytes(self.take(8)?.try_into().ok()?)),
            FLOAT => Value::Float(f64::from_le_bytes(self.take(8)?.try_into().ok()?)),
            TEXT => Value::Text(self.text()?.to_owned()),
            LIST => {
                let (count, _) = (self.length()?, self.length()?);
                Value::List((0..count).map_while(|_| self.node()).collect())
            }
            MAP => {
                let (count, _) = (self.length()?, self.length()?);
                Value::Map((0..count).map_while(|_| self.entry()).collect())
            }
            _ => Value::Null,
        };
        Some(Node { pos, value })
    }

    fn entry(&mut self) -> Option<Entry> {
        Some(Entry {
            key: self.text()?.to_owned(),
            key_pos: self.pos()?,
            value: self.node()?,
        })
    }

    /// Over a value.
    fn step_over(&mut self) -> Option<()> {
        let length = match self.head()?.tag {
            NULL | FALSE | TRUE => 0,
            INT | FLOAT => 8,
            TEXT => self.length()?,
            _ => {
                self.length()?;
                self.length()?
            }
        };
        self.take(length).map(drop)
    }

    /// To the value under a key, or of an index, of the one that comes next; where it stands.
    fn enter(&mut self, step: &str) -> Option<Pos> {
        match self.head()?.tag {
            LIST => {
                let (count, _) = (self.length()?, self.length()?);
                let index = step.parse::<usize>().ok().filter(|index| *index < count)?;
                for _ in 0..index {
                    self.step_over()?;
                }
                let there = self.bytes;
                let pos = self.pos()?;
                self.bytes = there;
                Some(pos)
            }
            MAP => {
                let (count, _) = (self.length()?, self.length()?);
                for _ in 0..count {
                    let key = self.text()?;
                    let pos = self.pos()?;
                    if key == step {
                        return Some(pos);
                    }
                    self.step_over()?;
                }
                None
            }
            _ => None,
        }
    }
}

fn write(node: &Node, line: u32, into: &mut Vec<u8>) {
    pos(node.pos, line, into);
    match &node.value {
        Value::Null => into.push(NULL),
        Value::Bool(value) => into.push(if *value { TRUE } else { FALSE }),
        Value::Int(value) => {
            into.push(INT);
            into.extend(value.to_le_bytes());
        }
        Value::Float(value) => {
            into.push(FLOAT);
            into.extend(value.to_le_bytes());
        }
        Value::Text(value) => {
            into.push(TEXT);
            text(value, into);
        }
        Value::List(items) => {
            into.push(LIST);
            within(items.len(), into, |into| {
                items.iter().for_each(|item| write(item, line, into));
            });
        }
        Value::Map(entries) => {
            into.push(MAP);
            within(entries.len(), into, |into| {
                for entry in entries {
                    text(&entry.key, into);
                    pos(entry.key_pos, line, into);
                    write(&entry.value, line, into);
                }
            });
        }
    }
}

fn within(count: usize, into: &mut Vec<u8>, content: impl FnOnce(&mut Vec<u8>)) {
    number(count as u64, into);
    let begun = into.len();
    content(into);
    let mut length = Vec::new();
    number((into.len() - begun) as u64, &mut length);
    into.splice(begun..begun, length);
}

fn pos(pos: Pos, line: u32, into: &mut Vec<u8>) {
    number(u64::from(pos.line.wrapping_sub(line)), into);
    number(u64::from(pos.column), into);
}

fn text(text: &str, into: &mut Vec<u8>) {
    number(text.len() as u64, into);
    into.extend(text.as_bytes());
}

fn number(mut number: u64, into: &mut Vec<u8>) {
    while number >= 0x80 {
        into.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    into.push(number as u8);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::documents;

    const TEXT: &str = "defaults: &defaults {timeout: 1.5, on: true}\n\
                        spec:\n  http:\n  - match: [{uri: {prefix: /a}}, {port: -7}]\n    name: first\n  - *defaults\n\
                        \x20 none:\n  long: \"LONG\"\n";

    fn tree() -> Node {
        documents(&format!("---\n\n{}", TEXT.replace("LONG", &"x".repeat(300))))
            .remove(0)
            .unwrap()
    }

    #[test]
    fn what_is_written_is_read_back_whole() {
        assert_eq!(Written::new(&tree()).node(), tree());
    }

    #[test]
    fn places_are_those_of_the_tree_or_of_what_encloses_them() {
        let (tree, written) = (tree(), Written::new(&tree()));
        assert_eq!(written.pos(), tree.pos);
        for path in [
            "",
            "spec",
            "spec.http",
            "spec.http[0].match[1].port",
            "spec.http[0].match[2]",
            "spec.http[1].timeout",
            "spec.http[1].on",
            "spec.http[0].name.more",
            "spec.none.more",
            "spec.long",
            "absent",
        ] {
            assert_eq!(written.pos_of(path), tree.pos_of(path), "{path}");
        }
    }

    #[test]
    fn it_differs_when_a_value_or_a_place_does() {
        let read = |text: &str| Written::new(&documents(text).remove(0).unwrap());
        assert_eq!(read("a: 1\n"), read("a: 1\n"));
        assert_ne!(read("a: 1\n"), read("a: 2\n"));
        assert_ne!(read("a: 1\n"), read("a:  1\n"));
        assert_ne!(read("a: 1\n"), read("\na: 1\n"));
    }

    #[test]
    fn a_list_of_small_values_takes_little() {
        let endpoint = "- {address: 10.0.0.1, labels: {app: reviews, version: v1}}\n";
        let list = documents(&endpoint.repeat(1_000)).remove(0).unwrap();
        let taken = Written::new(&list).bytes.len();
        assert!(taken < 130 * 1_000, "{taken} bytes");
    }
}
