//! What expressions are about, and come to.

use std::borrow::Cow;
use std::fmt;

use crate::error::Error;

/// Where values come from.
pub trait Environment {
    /// A field of a variable: `request.path`. None: it has no such field, or it is empty now.
    fn field(&self, variable: &str, field: &str) -> Option<Value<'_>>;

    /// Whether there is such a variable.
    fn has(&self, variable: &str) -> bool;
}

/// A map by names that is looked up and not copied.
pub trait Table: fmt::Debug {
    fn get(&self, name: &str) -> Option<Value<'_>>;

    fn len(&self) -> usize;

    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[derive(Clone)]
pub enum Value<'a> {
    Null,
    Bool(bool),
    Int(i64),
    Uint(u64),
    Double(f64),
    Text(Cow<'a, str>),
    Bytes(Cow<'a, [u8]>),
    /// In nanoseconds.
    Duration(i128),
    /// In nanoseconds since 1970.
    Timestamp(i128),
    List(Vec<Value<'a>>),
    Map(Vec<(Value<'a>, Value<'a>)>),
    Table(&'a dyn Table),
    /// All of a variable.
    Variable {
        of: &'a dyn Environment,
        name: &'a str,
    },
}

// === impl Value ===

impl<'a> Value<'a> {
    pub fn text(text: impl Into<Cow<'a, str>>) -> Self {
        Self::Text(text.into())
    }

    /// What may hold any byte: those that are no UTF-8 are replaced.
    pub fn lossy(bytes: Cow<'a, [u8]>) -> Self {
        Self::Text(match bytes {
            Cow::Borrowed(bytes) => String::from_utf8_lossy(bytes),
            Cow::Owned(bytes) => String::from_utf8_lossy(&bytes).into_owned().into(),
        })
    }

    /// Of `value.key` and `value[key]`.
    pub(crate) fn at(&self, key: &Value<'_>) -> Result<Value<'a>, Error> {
        match (self, key) {
            (Self::List(items), key) => {
                let index = match key {
                    Value::Int(index) => usize::try_from(*index).ok(),
                    Value::Uint(index) => usize::try_from(*index).ok(),
                    Value::Double(index) if index.fract() == 0.0 && (0.0..1e9).contains(index) => {
                        Some(*index as usize)
                    }
                    _ => return Err(Error::Types),
                };
                index.and_then(|at| items.get(at)).cloned().ok_or(Error::Missing)
            }
            (Self::Map(entries), key) => {
                let found = entries.iter().find(|(known, _)| known.equals(key) == Ok(true));
                found.map(|(_, value)| value.clone()).ok_or(Error::Missing)
            }
            (Self::Table(table), Value::Text(name)) => table.get(name).ok_or(Error::Missing),
            (Self::Variable { of, name }, Value::Text(field)) => of.field(name, field).ok_or(Error::Missing),
            (Self::Table(_) | Self::Variable { .. }, _) => Err(Error::Missing),
            _ => Err(Error::Types),
        }
    }

    /// As Envoy writes it into a text (`%CEL(…)%`).
    pub fn print(&self, out: &mut Vec<u8>) {
        let text = match self {
            Self::Null => "NULL".to_owned(),
            Self::Bool(value) => value.to_string(),
            Self::Int(value) => value.to_string(),
            Self::Uint(value) => value.to_string(),
            Self::Double(value) => six_digits(*value),
            Self::Text(text) => return out.extend_from_slice(text.as_bytes()),
            Self::Bytes(bytes) => return out.extend_from_slice(bytes),
            Self::Duration(nanoseconds) => crate::time::duration_text(*nanoseconds),
            Self::Timestamp(nanoseconds) => crate::time::timestamp_text(*nanoseconds),
            Self::List(_) => "CelList value".to_owned(),
            Self::Map(_) | Self::Table(_) | Self::Variable { .. } => "CelMap value".to_owned(),
        };
        out.extend_from_slice(text.as_bytes());
    }
}

/// As C's `%g` writes it.
fn six_digits(value: f64) -> String {
    if !value.is_finite() {
        return match value {
            value if value.is_nan() => "nan".to_owned(),
            value if value < 0.0 => "-inf".to_owned(),
            _ => "inf".to_owned(),
        };
    }
    let scientific = format!("{value:.5e}");
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let trimmed = |text: &str| match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text.to_owned(),
    };
    if (-4..6).contains(&exponent) {
        let digits = usize::try_from(5 - exponent).unwrap_or(0);
        return trimmed(&format!("{value:.digits$}"));
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{}e{sign}{:02}", trimmed(mantissa), exponent.abs())
}

impl fmt::Debug for Value<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("null"),
            Self::Bool(value) => value.fmt(f),
            Self::Int(value) => value.fmt(f),
            Self::Uint(value) => write!(f, "{value}u"),
            Self::Double(value) => value.fmt(f),
            Self::Text(value) => value.fmt(f),
            Self::Bytes(value) => write!(f, "b{value:?}"),
            Self::Duration(value) => write!(f, "{value}ns"),
            Self::Timestamp(value) => write!(f, "{value}ns since 1970"),
            Self::List(items) => f.debug_list().entries(items).finish(),
            Self::Map(entries) => f
                .debug_map()
                .entries(entries.iter().map(|(key, value)| (key, value)))
                .finish(),
            Self::Table(table) => table.fmt(f),
            Self::Variable { name, .. } => f.write_str(name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_have_six_digits() {
        for (value, text) in [
            (1.0, "1"),
            (0.1, "0.1"),
            (123_456.7, "123457"),
            (1_234_567.0, "1.23457e+06"),
            (0.0001, "0.0001"),
            (0.000_012_5, "1.25e-05"),
            (-2.5, "-2.5"),
            (0.0, "0"),
            (f64::NAN, "nan"),
            (f64::NEG_INFINITY, "-inf"),
        ] {
            assert_eq!(six_digits(value), text);
        }
    }
}
