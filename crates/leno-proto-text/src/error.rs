//! What was wrong in a text, where, and how to mend it.

use std::fmt;

/// A place in the text; both count from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Position {
    pub line: u64,
    pub column: u64,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

/// Why a text is not the message it should be, or a message has no text.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Error {
    /// Not YAML (or JSON) at all.
    #[error("{message}{}", Place(None, *position))]
    Syntax {
        message: String,
        position: Option<Position>,
    },
    /// Well-formed, but not this message. `path` is written as in the text: `static_resources.clusters[0].name`.
    #[error("{problem}{}", Place(Some(path), *position))]
    Field {
        path: String,
        problem: Box<Problem>,
        position: Option<Position>,
    },
    /// The message's type is not in the schema.
    #[error("no message type is named `{0}`")]
    UnknownMessage(String),
    /// A message that has no text, such as one with a time out of range.
    #[error("{type_name} cannot be written: {message}")]
    Write { type_name: String, message: String },
    #[error("cannot start a thread to read in: {0}")]
    Thread(String),
}

/// What is wrong with one field.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Problem {
    #[error("unknown field `{name}` of {message}{}", Hint(suggestion))]
    UnknownField {
        name: String,
        message: String,
        suggestion: Option<String>,
    },
    #[error("`{0}` is given twice")]
    Repeated(String),
    #[error("`{name}` excludes `{other}`: remove one of them")]
    Exclusive { name: String, other: String },
    #[error("expected {expected}, got {got}")]
    Expected { expected: String, got: String },
    #[error("unknown value `{value}` of {name}: use one of {}", allowed.join(", "))]
    UnknownEnumValue {
        name: String,
        value: String,
        allowed: Vec<String>,
    },
    #[error("no `@type`: name the message's type, as type.googleapis.com/…")]
    MissingType,
    #[error("unknown message type `{0}` in `@type`")]
    UnknownType(String),
    #[error("too deeply nested")]
    TooDeep,
}

/// ` — path — at line:column`, as far as it is known.
struct Place<'a>(Option<&'a str>, Option<Position>);

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.0.filter(|path| !path.is_empty()), self.1) {
            (Some(path), Some(at)) => write!(f, " — {path}, at {at}"),
            (Some(path), None) => write!(f, " — {path}"),
            (None, Some(at)) => write!(f, " — at {at}"),
            (None, None) => Ok(()),
        }
    }
}

struct Hint<'a>(&'a Option<String>);

impl fmt::Display for Hint<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(name) => write!(f, ": did you mean `{name}`?"),
            None => Ok(()),
        }
    }
}
