//! Scalars and enums in protobuf's JSON mapping.

use prost_reflect::bytes::Bytes;
use prost_reflect::{EnumDescriptor, Kind, MapKey, Value};

use crate::error::Problem;
use crate::node::Tree;

/// A value of a kind that is not a message.
pub(crate) fn value(kind: &Kind, tree: &Tree) -> Result<Value, Problem> {
    let value = match kind {
        Kind::Double => float(tree).map(Value::F64),
        // Out of f32's range would become infinity without a word.
        Kind::Float => float(tree)
            .filter(|v| !v.is_finite() || v.abs() <= f64::from(f32::MAX))
            .map(|v| Value::F32(v as f32)),
        Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => integer(tree).map(Value::I32),
        Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => integer(tree).map(Value::I64),
        Kind::Uint32 | Kind::Fixed32 => integer(tree).map(Value::U32),
        Kind::Uint64 | Kind::Fixed64 => integer(tree).map(Value::U64),
        Kind::Bool => match tree {
            Tree::Bool(value) => Some(Value::Bool(*value)),
            _ => None,
        },
        Kind::String => match tree {
            Tree::String(value) => Some(Value::String(value.clone())),
            // Where Envoy sees no small integer and no boolean, it sees a string: `7069e67` is hexadecimal.
            Tree::Float { text: Some(text), .. } => Some(Value::String(text.clone())),
            Tree::Int(value) if i32::try_from(*value).is_err() => Some(Value::String(value.to_string())),
            _ => None,
        },
        Kind::Bytes => match tree {
            Tree::String(text) => from_base64(text).map(|bytes| Value::Bytes(Bytes::from(bytes))),
            _ => None,
        },
        Kind::Enum(descriptor) => return enum_value(descriptor, tree),
        Kind::Message(_) => None,
    };
    value.ok_or_else(|| {
        let quote = matches!(
            (kind, tree),
            (Kind::String, Tree::Int(_) | Tree::Float { .. } | Tree::Bool(_))
        );
        let hint = if quote { ": put it in quotes" } else { "" };
        Problem::Expected {
            expected: name(kind).to_owned(),
            got: format!("{}{hint}", tree.describe()),
        }
    })
}

/// A map's key, which in JSON is always a string.
pub(crate) fn map_key(kind: &Kind, key: &str) -> Option<MapKey> {
    match kind {
        Kind::String => Some(MapKey::String(key.to_owned())),
        Kind::Bool => key.parse().ok().map(MapKey::Bool),
        Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => key.parse().ok().map(MapKey::I32),
        Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => key.parse().ok().map(MapKey::I64),
        Kind::Uint32 | Kind::Fixed32 => key.parse().ok().map(MapKey::U32),
        Kind::Uint64 | Kind::Fixed64 => key.parse().ok().map(MapKey::U64),
        _ => None,
    }
}

/// What a kind's values are called.
pub(crate) fn name(kind: &Kind) -> &'static str {
    match kind {
        Kind::Double | Kind::Float => "a number",
        Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => "an integer of 32 bits",
        Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => "an integer of 64 bits",
        Kind::Uint32 | Kind::Fixed32 => "an integer from 0 to 4294967295",
        Kind::Uint64 | Kind::Fixed64 => "an integer from 0 to 18446744073709551615",
        Kind::Bool => "true or false",
        Kind::String => "a string",
        Kind::Bytes => "bytes in base64",
        Kind::Enum(_) => "a name of the enumeration",
        Kind::Message(_) => "a mapping",
    }
}

fn enum_value(descriptor: &EnumDescriptor, tree: &Tree) -> Result<Value, Problem> {
    let unknown = |value: String| Problem::UnknownEnumValue {
        name: descriptor.full_name().to_owned(),
        value,
        allowed: descriptor.values().map(|value| value.name().to_owned()).collect(),
    };
    match tree {
        Tree::Null if descriptor.full_name() == "google.protobuf.NullValue" => Ok(Value::EnumNumber(0)),
        Tree::String(text) => match descriptor.get_value_by_name(text) {
            Some(value) => Ok(Value::EnumNumber(value.number())),
            None => Err(unknown(text.clone())),
        },
        Tree::Int(number) => i32::try_from(*number)
            .ok()
            .filter(|number| descriptor.get_value(*number).is_some())
            .map(Value::EnumNumber)
            .ok_or_else(|| unknown(number.to_string())),
        _ => Err(unknown(tree.describe())),
    }
}

/// Numbers may come in quotes, and integers with a decimal point.
fn integer<T: TryFrom<i128>>(tree: &Tree) -> Option<T> {
    // f64 counts exactly up to 2^53; beyond that, a fraction would be guessed away.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    let whole = match tree {
        Tree::Int(value) => *value,
        Tree::Float { value, .. } if value.fract() == 0.0 && value.abs() <= EXACT => *value as i128,
        Tree::String(text) => text.parse().ok()?,
        _ => return None,
    };
    T::try_from(whole).ok()
}

fn float(tree: &Tree) -> Option<f64> {
    match tree {
        Tree::Int(value) => Some(*value as f64),
        Tree::Float { value, .. } => Some(*value),
        Tree::String(text) => match text.as_str() {
            "NaN" => Some(f64::NAN),
            "Infinity" => Some(f64::INFINITY),
            "-Infinity" => Some(f64::NEG_INFINITY),
            text => text.parse().ok().filter(|value: &f64| value.is_finite()),
        },
        _ => None,
    }
}

/// Both alphabets, with or without padding, as protobuf's mapping accepts.
fn from_base64(text: &str) -> Option<Vec<u8>> {
    let digits = text.trim_end_matches('=');
    let mut bytes = Vec::with_capacity(digits.len() * 3 / 4);
    let (mut bits, mut count) = (0u32, 0u32);
    for c in digits.bytes().filter(|c| !c.is_ascii_whitespace()) {
        let digit = match c {
            b'A'..=b'Z' => c - b'A',
            b'a'..=b'z' => c - b'a' + 26,
            b'0'..=b'9' => c - b'0' + 52,
            b'+' | b'-' => 62,
            b'/' | b'_' => 63,
            _ => return None,
        };
        bits = (bits << 6) | u32::from(digit);
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count) as u8);
            bits &= (1 << count) - 1;
        }
    }
    // Six left-over bits are a lone digit; others must be zero.
    (count < 6 && bits == 0).then_some(bytes)
}

pub(crate) fn to_base64(bytes: &[u8]) -> String {
    let digit = |value: u32| match (value & 63) as u8 {
        value @ 0..26 => char::from(b'A' + value),
        value @ 26..52 => char::from(b'a' + value - 26),
        value @ 52..62 => char::from(b'0' + value - 52),
        62 => '+',
        _ => '/',
    };
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let word = chunk
            .iter()
            .enumerate()
            .fold(0u32, |word, (i, byte)| word | u32::from(*byte) << (16 - 8 * i));
        text.push(digit(word >> 18));
        text.push(digit(word >> 12));
        text.push(if chunk.len() > 1 { digit(word >> 6) } else { '=' });
        text.push(if chunk.len() > 2 { digit(word) } else { '=' });
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn string(text: &str) -> Tree {
        Tree::String(text.to_owned())
    }

    fn float(value: f64) -> Tree {
        Tree::Float { value, text: None }
    }

    #[test]
    fn integers_come_in_many_forms_and_keep_their_range() {
        assert_eq!(value(&Kind::Uint32, &Tree::Int(80)), Ok(Value::U32(80)));
        assert_eq!(value(&Kind::Uint32, &string("80")), Ok(Value::U32(80)));
        assert_eq!(value(&Kind::Uint32, &float(80.0)), Ok(Value::U32(80)));
        assert!(value(&Kind::Uint32, &Tree::Int(-1)).is_err());
        assert!(value(&Kind::Uint32, &float(0.5)).is_err());
        assert!(value(&Kind::Int64, &float(1e300)).is_err());
        assert_eq!(
            value(&Kind::Uint64, &Tree::Int(u64::MAX.into())),
            Ok(Value::U64(u64::MAX))
        );
    }

    #[test]
    fn a_number_for_a_string_is_told_to_be_quoted() {
        let problem = value(&Kind::String, &Tree::Int(1)).unwrap_err();
        assert_eq!(
            problem.to_string(),
            "expected a string, got the number 1: put it in quotes"
        );
    }

    #[test]
    fn base64_goes_there_and_back() {
        for length in 0..9u8 {
            let bytes: Vec<u8> = (0..length).map(|n| n.wrapping_mul(91) ^ 0xa5).collect();
            assert_eq!(from_base64(&to_base64(&bytes)), Some(bytes));
        }
        assert_eq!(to_base64(&[0xff, 0xef]), "/+8=");
    }

    #[test]
    fn base64_in_both_alphabets() {
        assert_eq!(from_base64("aGk="), Some(b"hi".to_vec()));
        assert_eq!(from_base64("aGk"), Some(b"hi".to_vec()));
        assert_eq!(from_base64("-_8="), from_base64("+/8="));
        assert_eq!(from_base64(""), Some(vec![]));
        assert_eq!(from_base64("a"), None);
        assert_eq!(from_base64("a*b="), None);
    }
}
