//! What filters note of a request, for those after them and for its log: Envoy's dynamic metadata and filter state.
//!
//! Where nobody notes anything it is two pointers that point to nothing. What is noted of a connection is known to the
//! requests on it.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::rc::Rc;

use crate::compile::access_log::{FormatValues, MetadataKind, Operator, StateForm};
use crate::compile::metadata::{Fields, Value};

/// The object that says which names ALPN offers to the upstream, with commas between them.
pub const APPLICATION_PROTOCOLS: &str = "envoy.network.application_protocols";

/// The object that says where an `ORIGINAL_DST` cluster sends to.
pub const ORIGINAL_DST: &str = "envoy.network.transport_socket.original_dst_address";

/// The objects that say what a connection to a listener of the proxy's own is to be taken for: where it goes, and whose it
/// is (`original_dst` reads them).
pub const LOCAL: &str = "envoy.filters.listener.original_dst.local_ip";
pub const REMOTE: &str = "envoy.filters.listener.original_dst.remote_ip";

/// An address that metadata say: a text, or the first of a list.
pub fn address(value: &Value) -> Option<SocketAddr> {
    match value {
        Value::Text(text) => text.parse().ok(),
        Value::List(items) => items.iter().find_map(address),
        _ => None,
    }
}

#[derive(Debug, Default)]
pub struct Notes {
    own: RefCell<Option<Box<Noted>>>,
    of_connection: Option<Rc<Notes>>,
}

/// What a connection to a listener of the proxy's own is told of the filter state, by keys.
pub type Passed = Vec<(String, Object)>;

#[derive(Debug, Default)]
struct Noted {
    /// By namespaces.
    metadata: Fields,
    state: BTreeMap<Rc<str>, Object>,
}

/// One object of the filter state.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Object {
    pub value: String,
    /// Nobody may set it again.
    pub read_only: bool,
    /// A hash policy sees it.
    pub hashable: bool,
    /// How `%FILTER_STATE(…)%` shows it.
    pub shown: Shown,
    pub shared: Shared,
}

/// Whether connections to listeners of the proxy's own are told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Shared {
    #[default]
    No,
    /// The next one.
    Once,
    /// And those that come of it.
    Always,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Shown {
    /// As a text.
    Text,
    /// As a text, but not in JSON.
    Plain,
    /// Two numbers with a comma between them, by name but as a text (grpc_stats' `FilterObject`).
    Messages,
    /// As it is, which is JSON, but not as a text.
    Json,
    Nowhere,
}

// === impl Notes ===

impl Notes {
    /// Of a request, on a connection of which this is noted.
    pub fn beneath(of_connection: Option<Rc<Self>>) -> Self {
        Self {
            own: RefCell::default(),
            of_connection,
        }
    }

    /// Of a connection that has been told this.
    pub fn told(passed: Passed) -> Self {
        let notes = Self::default();
        for (key, object) in passed {
            notes.set_state(&Rc::from(key), object);
        }
        notes
    }

    pub fn is_empty(&self) -> bool {
        let above = self.of_connection.as_ref();
        self.own.borrow().is_none() && above.is_none_or(|above| above.is_empty())
    }

    /// For a connection to a listener of the proxy's own.
    pub fn passed(&self) -> Passed {
        let above = self.of_connection.as_ref().map(|above| above.passed());
        let mut all: BTreeMap<String, Object> = above.unwrap_or_default().into_iter().collect();
        if let Some(noted) = &*self.own.borrow() {
            for (key, object) in &noted.state {
                let shared = match object.shared {
                    Shared::No => continue,
                    Shared::Once => Shared::No,
                    Shared::Always => Shared::Always,
                };
                let object = object.clone();
                all.insert(key.as_ref().to_owned(), Object { shared, ..object });
            }
        }
        all.into_iter().collect()
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
        let noted = self.own.borrow();
        noted
            .as_ref()
            .is_some_and(|noted| noted.metadata.contains_key(namespace))
    }

    /// What stands at a path of a namespace; all of it, where the path is empty.
    pub fn metadata<T>(&self, namespace: &str, path: &[String], read: impl FnOnce(&Value) -> T) -> Option<T> {
        let noted = self.own.borrow();
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
        let above = self.of_connection.as_ref();
        if above.is_some_and(|above| above.state(key, |there| there.read_only) == Some(true)) {
            return false;
        }
        self.change(|noted| match noted.state.get(key) {
            Some(there) if there.read_only => false,
            _ => {
                noted.state.insert(Rc::clone(key), object);
                true
            }
        })
    }

    pub fn state<T>(&self, key: &str, read: impl FnOnce(&Object) -> T) -> Option<T> {
        let noted = self.own.borrow();
        match noted.as_ref().and_then(|noted| noted.state.get(key)) {
            Some(object) => Some(read(object)),
            None => self.of_connection.as_ref()?.state(key, read),
        }
    }

    /// The address that an object of the filter state is.
    pub fn address(&self, key: &str) -> Option<SocketAddr> {
        self.state(key, |object| object.value.parse().ok()).flatten()
    }

    fn change<T>(&self, change: impl FnOnce(&mut Noted) -> T) -> T {
        change(self.own.borrow_mut().get_or_insert_default())
    }
}

/// `%DYNAMIC_METADATA(…)%` and `%FILTER_STATE(…)%`.
impl FormatValues for Notes {
    fn write(&self, operator: &Operator, out: &mut Vec<u8>) -> bool {
        let Operator::FilterState { key, form } = operator else {
            return false;
        };
        let write = |object: &Object| match (object.shown, form) {
            (Shown::Text | Shown::Plain | Shown::Messages, StateForm::Plain) => {
                out.extend_from_slice(object.value.as_bytes());
                true
            }
            (Shown::Text, StateForm::Typed) => {
                Value::Text(object.value.clone()).write_json(out);
                true
            }
            (Shown::Messages, StateForm::Typed) => {
                write_messages(&object.value, out);
                true
            }
            (Shown::Json, StateForm::Typed) => {
                out.extend_from_slice(object.value.as_bytes());
                true
            }
            // A text has no fields.
            (Shown::Json, _)
            | (Shown::Plain, StateForm::Typed)
            | (Shown::Nowhere, _)
            | (_, StateForm::Field(_)) => false,
        };
        self.state(key, write).unwrap_or(false)
    }

    fn metadata(&self, kind: MetadataKind, namespace: &str, read: &mut dyn FnMut(&Value)) {
        if kind == MetadataKind::Dynamic {
            let _ = Notes::metadata(self, namespace, &[], read);
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
