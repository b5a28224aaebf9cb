//! What filters note of a request, for those after them and for its log: Envoy's dynamic metadata and filter state.
//!
//! Where nobody notes anything it is one pointer that points to nothing.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use crate::compile::access_log::{FormatValues, Operator};
use crate::compile::metadata::{Fields, Value};

/// The object that says which names ALPN offers to the upstream, with commas between them.
pub const APPLICATION_PROTOCOLS: &str = "envoy.network.application_protocols";

#[derive(Debug, Default)]
pub struct Notes(RefCell<Option<Box<Noted>>>);

#[derive(Debug, Default)]
struct Noted {
    /// By namespaces.
    metadata: Fields,
    state: BTreeMap<Rc<str>, Object>,
}

/// One object of the filter state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    pub value: String,
    /// Nobody may set it again.
    pub read_only: bool,
    /// A hash policy sees it.
    pub hashable: bool,
    /// How `%FILTER_STATE(…)%` shows it.
    pub shown: Shown,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shown {
    /// As a text.
    Text,
    /// As a text, but not in JSON.
    Plain,
    /// Two numbers with a comma between them, by name but as a text (grpc_stats' `FilterObject`).
    Messages,
    Nowhere,
}

// === impl Notes ===

impl Notes {
    pub fn is_empty(&self) -> bool {
        self.0.borrow().is_none()
    }

    /// Fields of a namespace; those that are there are replaced.
    pub fn set_metadata(&self, namespace: &str, fields: Fields) {
        self.change(|noted| match noted.metadata.get_mut(namespace) {
            Some(Value::Fields(known)) => known.extend(fields),
            _ => drop(noted.metadata.insert(namespace.to_owned(), Value::Fields(fields))),
        });
    }

    /// The same, but objects within are put together, and lists appended to one another.
    pub fn merge_metadata(&self, namespace: &str, fields: &Fields) {
        self.change(|noted| match noted.metadata.get_mut(namespace) {
            Some(Value::Fields(known)) => merge(known, fields),
            _ => {
                let fields = Value::Fields(fields.clone());
                drop(noted.metadata.insert(namespace.to_owned(), fields));
            }
        });
    }

    pub fn has_metadata(&self, namespace: &str) -> bool {
        let noted = self.0.borrow();
        noted
            .as_ref()
            .is_some_and(|noted| noted.metadata.contains_key(namespace))
    }

    /// What stands at a path of a namespace; all of it, where the path is empty.
    pub fn metadata<T>(&self, namespace: &str, path: &[String], read: impl FnOnce(&Value) -> T) -> Option<T> {
        let noted = self.0.borrow();
        let mut at = noted.as_ref()?.metadata.get(namespace)?;
        for name in path {
            match at {
                Value::Fields(fields) => at = fields.get(name)?,
                _ => return None,
            }
        }
        Some(read(at))
    }

    /// False: what is there may not be replaced.
    pub fn set_state(&self, key: &Rc<str>, object: Object) -> bool {
        self.change(|noted| match noted.state.get(key) {
            Some(there) if there.read_only => false,
            _ => {
                noted.state.insert(Rc::clone(key), object);
                true
            }
        })
    }

    pub fn state<T>(&self, key: &str, read: impl FnOnce(&Object) -> T) -> Option<T> {
        let noted = self.0.borrow();
        noted.as_ref()?.state.get(key).map(read)
    }

    fn change<T>(&self, change: impl FnOnce(&mut Noted) -> T) -> T {
        change(self.0.borrow_mut().get_or_insert_default())
    }
}

/// `%DYNAMIC_METADATA(…)%` and `%FILTER_STATE(…)%`.
impl FormatValues for Notes {
    fn write(&self, operator: &Operator, out: &mut Vec<u8>) -> bool {
        match operator {
            Operator::DynamicMetadata { namespace, path } => {
                let write = |value: &Value| {
                    match value {
                        Value::Null => return false,
                        Value::Text(text) => out.extend_from_slice(text.as_bytes()),
                        value => value.write_json(out),
                    }
                    true
                };
                self.metadata(namespace, path, write).unwrap_or(false)
            }
            Operator::FilterState { key, plain } => {
                let write = |object: &Object| match (object.shown, plain) {
                    (Shown::Text | Shown::Plain | Shown::Messages, true) => {
                        out.extend_from_slice(object.value.as_bytes());
                        true
                    }
                    (Shown::Text, false) => {
                        Value::Text(object.value.clone()).write_json(out);
                        true
                    }
                    (Shown::Messages, false) => {
                        write_messages(&object.value, out);
                        true
                    }
                    (Shown::Plain, false) | (Shown::Nowhere, _) => false,
                };
                self.state(key, write).unwrap_or(false)
            }
            _ => false,
        }
    }

    fn write_json(&self, operator: &Operator, out: &mut Vec<u8>) -> Option<bool> {
        match operator {
            Operator::DynamicMetadata { namespace, path } => {
                let write = |value: &Value| value.write_json(out);
                Some(self.metadata(namespace, path, write).is_some())
            }
            Operator::FilterState { plain: false, .. } => Some(self.write(operator, out)),
            _ => None,
        }
    }
}

/// A zero is left out, as protobuf's JSON does.
fn write_messages(value: &str, out: &mut Vec<u8>) {
    let names = ["requestMessageCount", "responseMessageCount"];
    let fields = names.iter().zip(value.split(','));
    let fields = fields.filter(|(_, count)| *count != "0");
    let fields: Vec<String> = fields
        .map(|(name, count)| format!("\"{name}\":\"{count}\""))
        .collect();
    out.extend_from_slice(format!("{{{}}}", fields.join(",")).as_bytes());
}

fn merge(known: &mut Fields, more: &Fields) {
    for (name, value) in more {
        match (known.get_mut(name), value) {
            (Some(Value::Fields(known)), Value::Fields(more)) => merge(known, more),
            (Some(Value::List(known)), Value::List(more)) => known.extend(more.iter().cloned()),
            _ => drop(known.insert(name.clone(), value.clone())),
        }
    }
}
