//! A token's claims as metadata and as values of headers.

use serde_json::{Map, Value as Json};

use crate::compile::metadata::{Fields, Number, Value};
use crate::message::base64;

/// Names of objects within one another.
pub(super) type Path = Vec<String>;

/// For metadata; `divided` are texts that become lists.
pub(super) fn fields(claims: &Map<String, Json>, divided: &[String]) -> Fields {
    let field = |(name, value): (&String, &Json)| {
        let value = match value {
            Json::String(text) if divided.contains(name) => {
                let words = text.split(' ').filter(|word| !word.is_empty());
                Value::List(words.map(|word| Value::Text(word.to_owned())).collect())
            }
            value => of_json(value),
        };
        (name.clone(), value)
    };
    claims.iter().map(field).collect()
}

fn of_json(value: &Json) -> Value {
    match value {
        Json::Null => Value::Null,
        Json::Bool(value) => Value::Bool(*value),
        Json::Number(number) => Value::Number(Number::from(number.as_f64().unwrap_or_default())),
        Json::String(text) => Value::Text(text.clone()),
        Json::Array(items) => Value::List(items.iter().map(of_json).collect()),
        Json::Object(object) => Value::Fields(fields(object, &[])),
    }
}

/// A claim as a header has it: lists and objects as their JSON in base64. None: there is none, or no header can say it.
pub(super) fn header(claims: &Map<String, Json>, path: &Path) -> Option<Vec<u8>> {
    let (first, rest) = path.split_first()?;
    let claim = rest
        .iter()
        .try_fold(claims.get(first)?, |at, name| at.as_object()?.get(name))?;
    let text = match claim {
        Json::Null => return None,
        Json::Bool(value) => value.to_string().into_bytes(),
        Json::Number(number) => decimal(number.as_f64()?).into_bytes(),
        Json::String(text) => text.clone().into_bytes(),
        Json::Array(_) | Json::Object(_) => {
            let mut json = Vec::new();
            of_json(claim).write_json(&mut json);
            base64::encode(&json)
        }
    };
    // A line of its own could be in it.
    let is_value = !text.is_empty() && !text.iter().any(|byte| matches!(byte, 0 | b'\r' | b'\n'));
    is_value.then_some(text)
}

/// What is no whole number from zero on has six digits behind its point, as in Envoy.
fn decimal(number: f64) -> String {
    match number >= 0.0 && number < u64::MAX as f64 && number.fract() == 0.0 {
        true => (number as u64).to_string(),
        false => format!("{number:.6}"),
    }
}
