//! What an expression comes to.

use std::borrow::Cow;
use std::cmp::Ordering;

use crate::error::{Error, fits};
use crate::expr::Constant;
use crate::function::Function;
use crate::node::Node;
use crate::options::Options;
use crate::strings;
use crate::time;
use crate::value::{Environment, Value};

type Result<T> = std::result::Result<T, Error>;

#[derive(Clone, Copy)]
pub(crate) struct Evaluation<'a> {
    pub(crate) environment: &'a dyn Environment,
    pub(crate) options: &'a Options,
}

pub(crate) fn evaluate<'a>(node: &'a Node, with: &Evaluation<'a>) -> Result<Value<'a>> {
    match node {
        Node::Constant(constant) => Ok(constant.into()),
        Node::Variable(name) => match with.environment.has(name) {
            true => Ok(Value::Variable {
                of: with.environment,
                name,
            }),
            false => Err(Error::NoVariable),
        },
        Node::Field {
            variable,
            field,
            test,
        } => {
            let found = with.environment.field(variable, field);
            match found {
                _ if !with.environment.has(variable) => Err(Error::NoVariable),
                found if *test => Ok(Value::Bool(found.is_some())),
                found => found.ok_or(Error::Missing),
            }
        }
        Node::Select { operand, field, test } => {
            let found = evaluate(operand, with)?.at(&Value::text(field.as_str()));
            match (found, test) {
                (Ok(_), true) => Ok(Value::Bool(true)),
                (Err(Error::Missing), true) => Ok(Value::Bool(false)),
                (found, _) => found,
            }
        }
        Node::And(both) => logical(both, false, with),
        Node::Or(both) => logical(both, true, with),
        Node::Not(operand) => match evaluate(operand, with)? {
            Value::Bool(value) => Ok(Value::Bool(!value)),
            _ => Err(Error::Types),
        },
        Node::Choice(three) => {
            let [condition, then, otherwise] = &**three;
            match evaluate(condition, with)? {
                Value::Bool(true) => evaluate(then, with),
                Value::Bool(false) => evaluate(otherwise, with),
                _ => Err(Error::Types),
            }
        }
        Node::Matches(text, pattern) => match evaluate(text, with)? {
            Value::Text(text) => Ok(Value::Bool(pattern.is_match(&text))),
            _ => Err(Error::Types),
        },
        Node::Call(function, arguments) => {
            let values: Vec<Value<'a>> = all(arguments, with)?;
            call(*function, &values, with)
        }
        Node::List(items) => all(items, with).map(Value::List),
        Node::Map(entries) => {
            let mut made: Vec<(Value<'a>, Value<'a>)> = Vec::with_capacity(entries.len());
            for (key, value) in entries {
                let (key, value) = (evaluate(key, with)?, evaluate(value, with)?);
                if made.iter().any(|(known, _)| known.equals(&key) == Ok(true)) {
                    return Err(Error::Types);
                }
                made.push((key, value));
            }
            Ok(Value::Map(made))
        }
    }
}

fn all<'a>(nodes: &'a [Node], with: &Evaluation<'a>) -> Result<Vec<Value<'a>>> {
    nodes.iter().map(|node| evaluate(node, with)).collect()
}

/// One that decides does so whatever is wrong with the other, on whichever side it stands.
fn logical<'a>([left, right]: &'a [Node; 2], decides: bool, with: &Evaluation<'a>) -> Result<Value<'a>> {
    let truth = |node: &'a Node| match evaluate(node, with) {
        Ok(Value::Bool(value)) => Ok(value),
        Ok(_) => Err(Error::Types),
        Err(error) => Err(error),
    };
    let left = truth(left);
    if left == Ok(decides) {
        return Ok(Value::Bool(decides));
    }
    match (left, truth(right)) {
        (_, Ok(right)) if right == decides => Ok(Value::Bool(decides)),
        (Err(error), _) | (Ok(_), Err(error)) => Err(error),
        (Ok(_), Ok(right)) => Ok(Value::Bool(right)),
    }
}

fn call<'a>(function: Function, values: &[Value<'a>], with: &Evaluation<'a>) -> Result<Value<'a>> {
    use Function as F;
    let truth = |truth: Result<bool>| truth.map(Value::Bool);
    match (function, values) {
        (F::Equal, [a, b]) => truth(a.equals(b)),
        (F::NotEqual, [a, b]) => truth(a.equals(b).map(|same| !same)),
        (F::Less, [a, b]) => truth(a.order(b).map(|order| order == Some(Ordering::Less))),
        (F::LessOrEqual, [a, b]) => truth(a.order(b).map(|o| o.is_some_and(Ordering::is_le))),
        (F::Greater, [a, b]) => truth(a.order(b).map(|order| order == Some(Ordering::Greater))),
        (F::GreaterOrEqual, [a, b]) => truth(a.order(b).map(|o| o.is_some_and(Ordering::is_ge))),
        (F::In, [item, of]) => truth(is_in(item, of)),
        (F::Index, [of, key]) => of.at(key),
        (F::Size, [of]) => size(of),
        (F::Contains, [Value::Text(text), Value::Text(part)]) => truth(Ok(text.contains(&**part))),
        (F::StartsWith, [Value::Text(text), Value::Text(part)]) => truth(Ok(text.starts_with(&**part))),
        (F::EndsWith, [Value::Text(text), Value::Text(part)]) => truth(Ok(text.ends_with(&**part))),
        (F::Dyn, [value]) => Ok(value.clone()),
        (F::ToInt, [value]) => to_int(value).map(Value::Int),
        (F::ToUint, [value]) => to_uint(value).map(Value::Uint),
        (F::ToDouble, [value]) => to_double(value).map(Value::Double),
        (F::ToText, [value]) => to_text(value),
        (F::ToBytes, [Value::Text(text)]) => Ok(Value::Bytes(match text {
            Cow::Borrowed(text) => Cow::Borrowed(text.as_bytes()),
            Cow::Owned(text) => Cow::Owned(text.clone().into_bytes()),
        })),
        (F::ToBytes, [value @ Value::Bytes(_)])
        | (F::ToDuration, [value @ Value::Duration(_)])
        | (F::ToTimestamp, [value @ Value::Timestamp(_)]) => Ok(value.clone()),
        (F::ToDuration, [Value::Text(text)]) => time::parse_duration(text).map(Value::Duration),
        (F::ToTimestamp, [Value::Text(text)]) => time::parse_timestamp(text).map(Value::Timestamp),
        (F::ToTimestamp, [Value::Int(seconds)]) => {
            time::timestamp(i128::from(*seconds) * 1_000_000_000).map(Value::Timestamp)
        }
        (F::Part(part), [Value::Timestamp(at)]) => time::part(*at, part, None).map(Value::Int),
        (F::Part(part), [Value::Timestamp(at), Value::Text(zone)]) => {
            time::part(*at, part, Some(zone)).map(Value::Int)
        }
        (F::Part(part), [Value::Duration(time)]) => time::duration_part(*time, part).map(Value::Int),
        (F::Negate, [Value::Int(value)]) => value.checked_neg().map(Value::Int).ok_or(Error::Range),
        (F::Negate, [Value::Double(value)]) => Ok(Value::Double(-value)),
        (F::Add | F::Subtract | F::Multiply | F::Divide | F::Modulo, [a, b]) => {
            arithmetic(function, a, b, with.options)
        }
        (function, values) => strings::call(function, values),
    }
}

fn is_in(item: &Value<'_>, of: &Value<'_>) -> Result<bool> {
    match of {
        Value::List(items) => Ok(items.iter().any(|one| one.equals(item) == Ok(true))),
        Value::Map(_) | Value::Table(_) | Value::Variable { .. } => match of.at(item) {
            Ok(_) => Ok(true),
            Err(Error::Missing) => Ok(false),
            Err(error) => Err(error),
        },
        _ => Err(Error::Types),
    }
}

fn size<'a>(of: &Value<'_>) -> Result<Value<'a>> {
    let size = match of {
        Value::Text(text) => text.chars().count(),
        Value::Bytes(bytes) => bytes.len(),
        Value::List(items) => items.len(),
        Value::Map(entries) => entries.len(),
        Value::Table(table) => table.len(),
        _ => return Err(Error::Types),
    };
    i64::try_from(size).map(Value::Int).map_err(|_| Error::Range)
}

fn arithmetic<'a>(function: Function, a: &Value<'a>, b: &Value<'a>, options: &Options) -> Result<Value<'a>> {
    use Function::{Add, Divide, Modulo, Multiply, Subtract};
    let checked = |value: Option<Value<'a>>| value.ok_or(Error::Range);
    match (a, b) {
        (Value::Int(_), Value::Int(0)) | (Value::Uint(_), Value::Uint(0))
            if matches!(function, Divide | Modulo) =>
        {
            Err(Error::DivisionByZero)
        }
        (Value::Int(a), Value::Int(b)) => checked(
            match function {
                Add => a.checked_add(*b),
                Subtract => a.checked_sub(*b),
                Multiply => a.checked_mul(*b),
                Divide => a.checked_div(*b),
                _ => a.checked_rem(*b),
            }
            .map(Value::Int),
        ),
        (Value::Uint(a), Value::Uint(b)) => checked(
            match function {
                Add => a.checked_add(*b),
                Subtract => a.checked_sub(*b),
                Multiply => a.checked_mul(*b),
                Divide => a.checked_div(*b),
                _ => a.checked_rem(*b),
            }
            .map(Value::Uint),
        ),
        (Value::Double(a), Value::Double(b)) => Ok(Value::Double(match function {
            Add => a + b,
            Subtract => a - b,
            Multiply => a * b,
            Divide => a / b,
            _ => return Err(Error::Types),
        })),
        (Value::Text(a), Value::Text(b)) if function == Add && options.string_concat => {
            fits(a.len() + b.len())?;
            Ok(Value::text([&**a, &**b].concat()))
        }
        (Value::Bytes(a), Value::Bytes(b)) if function == Add && options.string_concat => {
            fits(a.len() + b.len())?;
            Ok(Value::Bytes([&**a, &**b].concat().into()))
        }
        (Value::Timestamp(a), Value::Duration(b)) | (Value::Duration(b), Value::Timestamp(a))
            if function == Add =>
        {
            time::timestamp(a + b).map(Value::Timestamp)
        }
        (Value::Timestamp(a), Value::Duration(b)) if function == Subtract => {
            time::timestamp(a - b).map(Value::Timestamp)
        }
        (Value::Timestamp(a), Value::Timestamp(b)) | (Value::Duration(a), Value::Duration(b))
            if function == Subtract =>
        {
            time::duration(a - b).map(Value::Duration)
        }
        (Value::Duration(a), Value::Duration(b)) if function == Add => {
            time::duration(a + b).map(Value::Duration)
        }
        _ => Err(Error::Types),
    }
}

fn to_int(value: &Value<'_>) -> Result<i64> {
    match value {
        Value::Int(value) => Ok(*value),
        Value::Uint(value) => i64::try_from(*value).map_err(|_| Error::Range),
        // The ends themselves are no 64-bit numbers once they are doubles.
        Value::Double(value) if value.abs() < 9_223_372_036_854_775_807.0 => Ok(*value as i64),
        Value::Double(_) => Err(Error::Range),
        Value::Text(text) => text.parse().map_err(|_| Error::Form),
        Value::Timestamp(at) => i64::try_from(at.div_euclid(1_000_000_000)).map_err(|_| Error::Range),
        Value::Duration(time) => i64::try_from(time / 1_000_000_000).map_err(|_| Error::Range),
        _ => Err(Error::Types),
    }
}

fn to_uint(value: &Value<'_>) -> Result<u64> {
    match value {
        Value::Uint(value) => Ok(*value),
        Value::Int(value) => u64::try_from(*value).map_err(|_| Error::Range),
        Value::Double(value) if (0.0..18_446_744_073_709_551_615.0).contains(value) => Ok(*value as u64),
        Value::Double(_) => Err(Error::Range),
        Value::Text(text) => text.parse().map_err(|_| Error::Form),
        _ => Err(Error::Types),
    }
}

fn to_double(value: &Value<'_>) -> Result<f64> {
    match value {
        Value::Double(value) => Ok(*value),
        Value::Int(value) => Ok(*value as f64),
        Value::Uint(value) => Ok(*value as f64),
        Value::Text(text) => text.parse().map_err(|_| Error::Form),
        _ => Err(Error::Types),
    }
}

fn to_text<'a>(value: &Value<'a>) -> Result<Value<'a>> {
    Ok(match value {
        Value::Text(_) => value.clone(),
        Value::Bytes(bytes) => match std::str::from_utf8(bytes) {
            Ok(text) => Value::text(text.to_owned()),
            Err(_) => return Err(Error::Form),
        },
        Value::Bool(value) => Value::text(value.to_string()),
        Value::Int(value) => Value::text(value.to_string()),
        Value::Uint(value) => Value::text(value.to_string()),
        Value::Double(value) => Value::text(value.to_string()),
        Value::Duration(time) => Value::text(time::duration_json(*time)),
        Value::Timestamp(at) => Value::text(time::timestamp_text(*at).replace("+00:00", "Z")),
        _ => return Err(Error::Types),
    })
}

impl<'a> From<&'a Constant> for Value<'a> {
    fn from(constant: &'a Constant) -> Self {
        match constant {
            Constant::Null => Self::Null,
            Constant::Bool(value) => Self::Bool(*value),
            Constant::Int(value) => Self::Int(*value),
            Constant::Uint(value) => Self::Uint(*value),
            Constant::Double(value) => Self::Double(*value),
            Constant::Text(text) => Self::Text(Cow::Borrowed(text)),
            Constant::Bytes(bytes) => Self::Bytes(Cow::Borrowed(bytes)),
        }
    }
}
