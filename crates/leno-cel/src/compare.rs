//! Equality and order. Numbers compare with one another, whatever their types.

use std::cmp::Ordering;

use crate::error::Error;
use crate::value::Value;

impl Value<'_> {
    /// Of values of different types it is false.
    pub(crate) fn equals(&self, other: &Value<'_>) -> Result<bool, Error> {
        if let Some(order) = numbers(self, other) {
            return Ok(order == Some(Ordering::Equal));
        }
        Ok(match (self, other) {
            (Self::Null, Value::Null) => true,
            (Self::Bool(a), Value::Bool(b)) => a == b,
            (Self::Text(a), Value::Text(b)) => a == b,
            (Self::Bytes(a), Value::Bytes(b)) => a == b,
            (Self::Duration(a), Value::Duration(b)) | (Self::Timestamp(a), Value::Timestamp(b)) => a == b,
            (Self::List(a), Value::List(b)) => {
                a.len() == b.len() && all(a.iter().zip(b).map(|(a, b)| a.equals(b)))?
            }
            (Self::Map(a), Value::Map(b)) => {
                let same = |(key, value): &(Value<'_>, Value<'_>)| match other.at(key) {
                    Ok(there) => value.equals(&there),
                    Err(_) => Ok(false),
                };
                a.len() == b.len() && all(a.iter().map(same))?
            }
            (Self::Table(_) | Self::Variable { .. }, _) | (_, Value::Table(_) | Value::Variable { .. }) => {
                return Err(Error::Types);
            }
            _ => false,
        })
    }

    /// Which comes first; of values of different types nothing is said.
    pub(crate) fn order(&self, other: &Value<'_>) -> Result<Option<Ordering>, Error> {
        if let Some(order) = numbers(self, other) {
            return Ok(order);
        }
        Ok(Some(match (self, other) {
            (Self::Bool(a), Value::Bool(b)) => a.cmp(b),
            (Self::Text(a), Value::Text(b)) => a.cmp(b),
            (Self::Bytes(a), Value::Bytes(b)) => a.cmp(b),
            (Self::Duration(a), Value::Duration(b)) | (Self::Timestamp(a), Value::Timestamp(b)) => a.cmp(b),
            _ => return Err(Error::Types),
        }))
    }
}

fn all(results: impl Iterator<Item = Result<bool, Error>>) -> Result<bool, Error> {
    for result in results {
        if !result? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// None: they are not both numbers. Nothing is equal to what is no number.
fn numbers(a: &Value<'_>, b: &Value<'_>) -> Option<Option<Ordering>> {
    let whole = |value: &Value<'_>| match value {
        Value::Int(value) => Some(i128::from(*value)),
        Value::Uint(value) => Some(i128::from(*value)),
        _ => None,
    };
    Some(match (whole(a), whole(b), a, b) {
        (Some(a), Some(b), ..) => Some(a.cmp(&b)),
        (Some(a), None, _, Value::Double(b)) => with_double(a, *b),
        (None, Some(b), Value::Double(a), _) => with_double(b, *a).map(Ordering::reverse),
        (None, None, Value::Double(a), Value::Double(b)) => a.partial_cmp(b),
        _ => return None,
    })
}

/// Exactly: not every whole number is a double.
fn with_double(whole: i128, double: f64) -> Option<Ordering> {
    if double.is_nan() {
        return None;
    }
    // A cast of what is too large is the largest there is, which no 64-bit number is.
    let floor = double.floor() as i128;
    Some(whole.cmp(&floor).then(match double.fract() == 0.0 {
        true => Ordering::Equal,
        false => Ordering::Less,
    }))
}
