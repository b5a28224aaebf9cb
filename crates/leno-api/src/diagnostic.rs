//! What is told to the user: a code, a place, what is wrong and how to mend it.

use std::fmt;
use std::sync::Arc;

use crate::codes::Code;
use crate::key::ObjectKey;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Severity {
    /// Nothing to do.
    Info,
    /// In force, but not as it may have been meant.
    Warning,
    /// Not in force.
    Error,
}

/// `file:line:column`, both counted from one; a line of zero means the file as a whole.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Place {
    pub file: Arc<str>,
    pub line: u32,
    pub column: u32,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Diagnostic {
    pub code: Code,
    pub severity: Severity,
    pub place: Place,
    pub object: Option<ObjectKey>,
    /// The field: `spec.http[0].route[1].weight`; empty: the object as a whole.
    pub path: String,
    pub message: String,
    /// How to mend it; may be empty.
    pub hint: String,
    /// The line of the file that the place points at.
    pub snippet: Option<String>,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Error => "error",
        })
    }
}

impl Place {
    pub fn whole_file(file: &Arc<str>) -> Self {
        Self {
            file: file.clone(),
            line: 0,
            column: 0,
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.line == 0 {
            return f.write_str(&self.file);
        }
        write!(f, "{}:{}:{}", self.file, self.line, self.column)
    }
}

impl Diagnostic {
    pub fn new(code: Code, severity: Severity, place: Place, message: impl Into<String>) -> Self {
        Self {
            code,
            severity,
            place,
            object: None,
            path: String::new(),
            message: message.into(),
            hint: String::new(),
            snippet: None,
        }
    }

    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = hint.into();
        self
    }

    pub fn object(mut self, object: ObjectKey) -> Self {
        self.object = Some(object);
        self
    }

    pub fn path(mut self, path: impl Into<String>) -> Self {
        self.path = path.into();
        self
    }

    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }
}

/// `error[LN0102]: unknown field hots — reviews.yaml:7:3 (VirtualService default/reviews, spec.hots) — did you mean hosts?`
impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}[{}]: {} — {}",
            self.severity, self.code, self.message, self.place
        )?;
        match (&self.object, self.path.is_empty()) {
            (Some(object), true) => write!(f, " ({object})")?,
            (Some(object), false) => write!(f, " ({object}, {})", self.path)?,
            (None, false) => write!(f, " ({})", self.path)?,
            (None, true) => {}
        }
        if !self.hint.is_empty() {
            write!(f, " — {}", self.hint)?;
        }
        Ok(())
    }
}
