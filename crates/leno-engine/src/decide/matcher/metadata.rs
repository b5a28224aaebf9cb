//! Whether what filters have noted is as it should be.

use crate::compile::matcher::metadata::{FilterStateMatcher, MetadataMatcher, ValueMatcher};
use crate::compile::metadata::Value;
use crate::decide::notes::{Notes, Shown};

impl MetadataMatcher {
    /// Without notes there is nothing to be found.
    pub fn matches(&self, notes: Option<&Notes>) -> bool {
        let found = notes
            .and_then(|notes| notes.metadata(&self.namespace, &self.path, |value| self.value.matches(value)));
        found.unwrap_or(false) != self.invert
    }
}

impl ValueMatcher {
    pub fn matches(&self, value: &Value) -> bool {
        match (self, value) {
            (Self::Or(any), value) => any.iter().any(|one| one.matches(value)),
            (Self::Present(wanted), _) => *wanted,
            (Self::Null, value) => *value == Value::Null,
            (Self::Number(wanted), Value::Number(number)) => f64::from(*number) == *wanted,
            (Self::Range { start, end }, Value::Number(number)) => {
                (*start..*end).contains(&f64::from(*number))
            }
            (Self::Text(matcher), Value::Text(text)) => matcher.matches(text.as_bytes()),
            (Self::Bool(wanted), Value::Bool(value)) => wanted == value,
            (Self::OneOf(one), Value::List(items)) => items.iter().any(|item| one.matches(item)),
            _ => false,
        }
    }
}

impl FilterStateMatcher {
    pub fn matches(&self, notes: Option<&Notes>) -> bool {
        let is_so = |notes: &Notes| {
            notes.state(&self.key, |object| {
                object.shown != Shown::Nowhere && self.value.matches(object.value.as_bytes())
            })
        };
        notes.and_then(is_so).unwrap_or(false)
    }
}
