//! From the tree to the message: field by field, keeping the path.

mod well_known;

use prost_reflect::{
    DescriptorPool, DynamicMessage, FieldDescriptor, Kind, MapKey, MessageDescriptor, Value,
};

use crate::error::{Error, Position, Problem};
use crate::node::{Entry, Node, Tree};
use crate::scalar;
use crate::well_known::Form;

pub(crate) struct Reader<'a> {
    pub(crate) pool: &'a DescriptorPool,
    path: Vec<Step>,
}

enum Step {
    Field(String),
    Index(usize),
    Key(String),
}

// === impl Reader ===

impl<'a> Reader<'a> {
    pub(crate) fn new(pool: &'a DescriptorPool) -> Self {
        Reader {
            pool,
            path: Vec::new(),
        }
    }

    /// Reads a whole document; one that is empty is the empty message.
    pub(crate) fn read(
        mut self,
        descriptor: &MessageDescriptor,
        node: &Node,
    ) -> Result<DynamicMessage, Error> {
        match node.value {
            Tree::Null => Ok(DynamicMessage::new(descriptor.clone())),
            _ => self.message(descriptor, node),
        }
    }

    pub(crate) fn message(
        &mut self,
        descriptor: &MessageDescriptor,
        node: &Node,
    ) -> Result<DynamicMessage, Error> {
        if let Some(form) = Form::of(descriptor) {
            return self.well_known(form, descriptor, node);
        }
        let entries = self.map(node, || format!("a mapping of {}", descriptor.full_name()))?;
        self.fields(descriptor, entries.iter())
    }

    pub(crate) fn fields<'n>(
        &mut self,
        descriptor: &MessageDescriptor,
        entries: impl Iterator<Item = &'n Entry>,
    ) -> Result<DynamicMessage, Error> {
        let mut message = DynamicMessage::new(descriptor.clone());
        let mut seen = Vec::new();
        for entry in entries {
            self.path.push(Step::Field(entry.key.clone()));
            let field = self.find(descriptor, entry)?;
            // The YAML parser refuses the same key twice; here are left the two spellings of one field.
            if seen.contains(&field.number()) {
                return Err(self.error(Problem::Repeated(field.name().to_owned()), entry.key_at));
            }
            seen.push(field.number());
            if let Some(value) = self.field(&field, &entry.value)? {
                self.refuse_second_choice(&message, &field, entry)?;
                message.set_field(&field, value);
            }
            self.path.pop();
        }
        Ok(message)
    }

    /// By `.proto` name or JSON name, as protobuf's JSON mapping demands of every parser.
    fn find(&self, descriptor: &MessageDescriptor, entry: &Entry) -> Result<FieldDescriptor, Error> {
        descriptor
            .get_field_by_name(&entry.key)
            .or_else(|| descriptor.get_field_by_json_name(&entry.key))
            .ok_or_else(|| {
                let problem = Problem::UnknownField {
                    name: entry.key.clone(),
                    message: descriptor.full_name().to_owned(),
                    suggestion: closest(descriptor, &entry.key),
                };
                self.error(problem, entry.key_at)
            })
    }

    /// Of a `oneof` there may be one: protobuf would let the last win without a word.
    fn refuse_second_choice(
        &self,
        message: &DynamicMessage,
        field: &FieldDescriptor,
        entry: &Entry,
    ) -> Result<(), Error> {
        let other = field
            .containing_oneof()
            .and_then(|oneof| oneof.fields().find(|other| message.has_field(other)));
        match other {
            None => Ok(()),
            Some(other) => {
                let problem = Problem::Exclusive {
                    name: entry.key.clone(),
                    other: other.name().to_owned(),
                };
                Err(self.error(problem, entry.key_at))
            }
        }
    }

    /// A field's value; `None` for a null, which means an absent field.
    fn field(&mut self, field: &FieldDescriptor, node: &Node) -> Result<Option<Value>, Error> {
        let kind = field.kind();
        if matches!(node.value, Tree::Null) && !takes_null(&kind) {
            return Ok(None);
        }
        if field.is_map() {
            self.map_field(&kind, node).map(Some)
        } else if field.is_list() {
            let Tree::List(items) = &node.value else {
                return Err(self.unexpected("a list", node));
            };
            let mut values = Vec::with_capacity(items.len());
            for (index, item) in items.iter().enumerate() {
                self.path.push(Step::Index(index));
                values.push(self.value(&kind, item)?);
                self.path.pop();
            }
            Ok(Some(Value::List(values)))
        } else {
            self.value(&kind, node).map(Some)
        }
    }

    fn map_field(&mut self, kind: &Kind, node: &Node) -> Result<Value, Error> {
        let Some(entry_type) = kind.as_message() else {
            return Err(self.unexpected("a mapping", node));
        };
        let (key_kind, value_kind) = (
            entry_type.map_entry_key_field().kind(),
            entry_type.map_entry_value_field().kind(),
        );
        let mut values = std::collections::HashMap::new();
        for entry in self.map(node, || "a mapping".to_owned())? {
            self.path.push(Step::Key(entry.key.clone()));
            let key: MapKey = scalar::map_key(&key_kind, &entry.key)
                .ok_or_else(|| self.error(expected(scalar::name(&key_kind), &entry.key), entry.key_at))?;
            values.insert(key, self.value(&value_kind, &entry.value)?);
            self.path.pop();
        }
        Ok(Value::Map(values))
    }

    fn value(&mut self, kind: &Kind, node: &Node) -> Result<Value, Error> {
        match kind {
            Kind::Message(descriptor) => self.message(descriptor, node).map(Value::Message),
            _ => scalar::value(kind, &node.value).map_err(|problem| self.error(problem, node.at)),
        }
    }

    pub(crate) fn map<'n>(
        &self,
        node: &'n Node,
        what: impl FnOnce() -> String,
    ) -> Result<&'n [Entry], Error> {
        match &node.value {
            Tree::Map(entries) => Ok(entries),
            _ => Err(self.unexpected(&what(), node)),
        }
    }

    pub(crate) fn unexpected(&self, what: &str, node: &Node) -> Error {
        let problem = Problem::Expected {
            expected: what.to_owned(),
            got: node.value.describe(),
        };
        self.error(problem, node.at)
    }

    pub(crate) fn error(&self, problem: Problem, position: Option<Position>) -> Error {
        let mut path = String::new();
        for step in &self.path {
            match step {
                Step::Field(name) if path.is_empty() => path.push_str(name),
                Step::Field(name) => path.extend([".", name]),
                Step::Index(index) => path.extend(["[", &index.to_string(), "]"]),
                Step::Key(key) => path.extend(["[\"", &key.escape_debug().to_string(), "\"]"]),
            }
        }
        Error::Field {
            path,
            problem: Box::new(problem),
            position,
        }
    }

    /// Runs `read` one field further down the path.
    pub(crate) fn below<T>(
        &mut self,
        name: &str,
        read: impl FnOnce(&mut Self) -> Result<T, Error>,
    ) -> Result<T, Error> {
        self.path.push(Step::Field(name.to_owned()));
        let value = read(self)?;
        self.path.pop();
        Ok(value)
    }
}

fn expected(what: &str, got: &str) -> Problem {
    Problem::Expected {
        expected: what.to_owned(),
        got: format!("the string {got:?}"),
    }
}

/// Null is a value of its own only for these two.
fn takes_null(kind: &Kind) -> bool {
    match kind {
        Kind::Message(descriptor) => descriptor.full_name() == "google.protobuf.Value",
        Kind::Enum(descriptor) => descriptor.full_name() == "google.protobuf.NullValue",
        _ => false,
    }
}

/// The field whose name is nearest to `name`, in the spelling of `name`, if one is near enough for a typing error.
fn closest(descriptor: &MessageDescriptor, name: &str) -> Option<String> {
    let limit = (name.chars().count() / 3).clamp(1, 3);
    descriptor
        .fields()
        .flat_map(|field| [field.name().to_owned(), field.json_name().to_owned()])
        .map(|candidate| (distance(&candidate, name), candidate))
        .filter(|(distance, _)| *distance <= limit)
        .min()
        .map(|(_, candidate)| candidate)
}

/// Levenshtein's distance.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.chars().count()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        for (cell, y) in row.iter_mut().skip(1).zip(b.chars()) {
            let above = *cell;
            left = (diagonal + usize::from(x != y)).min(above + 1).min(left + 1);
            diagonal = above;
            *cell = left;
        }
        if let Some(first) = row.first_mut() {
            *first = i + 1;
        }
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distance_counts_edits() {
        assert_eq!(distance("clusters", "clusters"), 0);
        assert_eq!(distance("clusters", "cluster"), 1);
        assert_eq!(distance("lb_policy", "lb_polciy"), 2);
        assert_eq!(distance("", "abc"), 3);
    }
}
