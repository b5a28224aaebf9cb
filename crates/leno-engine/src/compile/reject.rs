//! Why a message is not accepted: every rejection carries the field's path.

use std::fmt;

/// `filter_chains[0].filters[1].typed_config.route_config`
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldPath(Vec<Segment>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Segment {
    Field(&'static str),
    Index(usize),
    Key(String),
}

impl FieldPath {
    #[must_use]
    pub fn field(&self, name: &'static str) -> Self {
        self.with(Segment::Field(name))
    }

    #[must_use]
    pub fn index(&self, at: usize) -> Self {
        self.with(Segment::Index(at))
    }

    #[must_use]
    pub fn key(&self, key: &str) -> Self {
        self.with(Segment::Key(key.to_owned()))
    }

    fn with(&self, segment: Segment) -> Self {
        let mut path = self.0.clone();
        path.push(segment);
        Self(path)
    }

    /// A rejection of the field at this path.
    pub fn reject(&self, reason: impl Into<String>) -> Rejection {
        Rejection {
            path: self.clone(),
            reason: reason.into(),
        }
    }
}

impl fmt::Display for FieldPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, segment) in self.0.iter().enumerate() {
            match segment {
                Segment::Field(name) if i == 0 => write!(f, "{name}")?,
                Segment::Field(name) => write!(f, ".{name}")?,
                Segment::Index(at) => write!(f, "[{at}]")?,
                Segment::Key(key) => write!(f, "[\"{key}\"]")?,
            }
        }
        Ok(())
    }
}

/// A message that is not accepted, and the field that is why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {reason}")]
pub struct Rejection {
    pub path: FieldPath,
    pub reason: String,
}

/// Fields that are known, not supported, and change neither routing nor security: counted and logged.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Warnings(pub Vec<Rejection>);

impl Warnings {
    pub fn no_effect(&mut self, path: &FieldPath, reason: &str) {
        self.0.push(path.reject(reason));
    }
}
