//! A value of the runtime, and the layers that it comes from.

use std::collections::BTreeMap;

use leno_proto::google::protobuf::{self, value::Kind};

use super::Share;

/// A value, and what it may be read as.
#[derive(Clone, Debug, PartialEq)]
pub struct Value {
    /// As it is shown.
    text: String,
    form: Form,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Form {
    Number(f64),
    Switch(bool),
    Share(Share),
    /// Nothing that is read here.
    Text,
}

/// Values by key; of two layers the later counts.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Layer {
    pub name: String,
    pub values: BTreeMap<String, Value>,
}

/// Of all layers.
pub fn merged<'l>(layers: impl IntoIterator<Item = &'l Layer>) -> BTreeMap<String, Value> {
    let values = layers.into_iter().flat_map(|layer| &layer.values);
    values.map(|(key, value)| (key.clone(), value.clone())).collect()
}

// === impl Value ===

impl Value {
    pub fn text(&self) -> &str {
        &self.text
    }

    /// A share of all requests; a whole number is so many in a hundred.
    pub fn share(&self) -> Option<Share> {
        match self.form {
            Form::Share(share) => Some(share),
            _ => {
                let percent = self.whole()?.min(100);
                Some(Share(u32::try_from(percent * 10_000).unwrap_or(u32::MAX)))
            }
        }
    }

    pub fn whole(&self) -> Option<u64> {
        self.number()
            .filter(|number| *number >= 0.0)
            .map(|number| number as u64)
    }

    pub fn number(&self) -> Option<f64> {
        match self.form {
            Form::Number(number) => Some(number),
            _ => None,
        }
    }

    pub fn switch(&self) -> Option<bool> {
        match self.form {
            Form::Switch(on) => Some(on),
            Form::Number(number) if number.fract() == 0.0 => Some(number != 0.0),
            _ => None,
        }
    }

    /// As a person writes it, in a file or at the admin port: YAML, of which only what a runtime reads is understood.
    pub fn of_text(text: &str) -> Self {
        let form = match text.trim() {
            "true" | "True" | "TRUE" => Form::Switch(true),
            "false" | "False" | "FALSE" => Form::Switch(false),
            other => match number(other) {
                Some(number) => Form::Number(number),
                None => share_of_text(other).map_or(Form::Text, Form::Share),
            },
        };
        Self {
            text: text.to_owned(),
            form,
        }
    }

    /// Text in quotes is a number if it looks like one, and no switch.
    fn of_string(text: &str) -> Self {
        Self {
            text: text.to_owned(),
            form: number(text.trim()).map_or(Form::Text, Form::Number),
        }
    }

    fn of_struct(fields: &protobuf::Struct) -> Self {
        let numerator = match fields
            .fields
            .get("numerator")
            .and_then(|value| value.kind.as_ref())
        {
            Some(Kind::NumberValue(number)) => *number as u32,
            _ => 0,
        };
        let denominator = match fields
            .fields
            .get("denominator")
            .and_then(|value| value.kind.as_ref())
        {
            Some(Kind::StringValue(name)) => name.as_str(),
            _ => "HUNDRED",
        };
        Self {
            text: format!("{{numerator: {numerator}, denominator: {denominator}}}"),
            form: Form::Share(share(numerator, denominator)),
        }
    }
}

/// Flattened: what is within a structure is under its name and a dot. Not a runtime's: a list or a null, whose key is
/// told.
pub(crate) fn of_struct(message: &protobuf::Struct) -> Result<BTreeMap<String, Value>, String> {
    let mut values = BTreeMap::new();
    for (key, value) in &message.fields {
        walk(key, value, &mut values)?;
    }
    Ok(values)
}

fn walk(key: &str, value: &protobuf::Value, out: &mut BTreeMap<String, Value>) -> Result<(), String> {
    let value = match &value.kind {
        None | Some(Kind::NullValue(_) | Kind::ListValue(_)) => return Err(key.to_owned()),
        Some(Kind::StringValue(text)) => Value::of_string(text),
        Some(Kind::NumberValue(number)) => Value {
            text: number.to_string(),
            form: Form::Number(*number),
        },
        Some(Kind::BoolValue(on)) => Value {
            text: on.to_string(),
            form: Form::Switch(*on),
        },
        Some(Kind::StructValue(fields)) => {
            let has = |name| fields.fields.contains_key(name);
            if !fields.fields.is_empty() && !has("numerator") && !has("denominator") {
                for (name, inner) in &fields.fields {
                    walk(&format!("{key}.{name}"), inner, out)?;
                }
                return Ok(());
            }
            Value::of_struct(fields)
        }
    };
    out.insert(key.to_owned(), value);
    Ok(())
}

/// Of a finite one.
fn number(text: &str) -> Option<f64> {
    text.parse().ok().filter(|number: &f64| number.is_finite())
}

fn share(numerator: u32, denominator: &str) -> Share {
    let factor = match denominator {
        "MILLION" => 1,
        "TEN_THOUSAND" => 100,
        _ => 10_000,
    };
    Share(numerator.saturating_mul(factor).min(1_000_000))
}

/// `{numerator: 5, denominator: MILLION}`, also on lines of their own.
fn share_of_text(text: &str) -> Option<Share> {
    let inner = text.strip_prefix('{').and_then(|text| text.strip_suffix('}'));
    let mut fields = BTreeMap::new();
    for field in inner.unwrap_or(text).split([',', '\n']) {
        let (name, value) = field.split_once(':')?;
        let bare = |text: &str| text.trim().trim_matches(['"', '\'']).to_owned();
        fields.insert(bare(name), bare(value));
    }
    let numerator = fields.remove("numerator")?.parse().ok()?;
    let denominator = fields.remove("denominator").unwrap_or_default();
    fields.is_empty().then(|| share(numerator, &denominator))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_person_writes_is_read_as_what_it_looks_like() {
        let value = |text| {
            let value = Value::of_text(text);
            (
                value.share().map(|share| share.0),
                value.whole(),
                value.number(),
                value.switch(),
            )
        };
        assert_eq!(value("25"), (Some(250_000), Some(25), Some(25.0), Some(true)));
        assert_eq!(value("0"), (Some(0), Some(0), Some(0.0), Some(false)));
        assert_eq!(
            value("200"),
            (Some(1_000_000), Some(200), Some(200.0), Some(true))
        );
        assert_eq!(value("1.5"), (Some(10_000), Some(1), Some(1.5), None));
        assert_eq!(value("-3"), (None, None, Some(-3.0), Some(true)));
        assert_eq!(value("true"), (None, None, None, Some(true)));
        assert_eq!(
            value("{numerator: 5, denominator: TEN_THOUSAND}"),
            (Some(500), None, None, None)
        );
        assert_eq!(
            value("numerator: 7\ndenominator: MILLION"),
            (Some(7), None, None, None)
        );
        assert_eq!(value("many"), (None, None, None, None));
        assert_eq!(value("inf"), (None, None, None, None));
    }
}
