//! [CEL's extension for texts](https://pkg.go.dev/github.com/google/cel-go/ext#Strings). Places count characters.

use crate::error::{Error, fits};
use crate::function::Function;
use crate::value::Value;

pub(crate) fn call<'a>(function: Function, values: &[Value<'a>]) -> Result<Value<'a>, Error> {
    use Function as F;
    use Value::{Int, Text};
    match (function, values) {
        (F::CharAt, [Text(text), Int(at)]) => {
            let at = place(text, *at)?;
            let found: String = text.chars().skip(at).take(1).collect();
            Ok(Value::text(found))
        }
        (F::IndexOf, [Text(text), Text(part)]) => Ok(index(text, part, 0)),
        (F::IndexOf, [Text(text), Text(part), Int(from)]) => Ok(index(text, part, place(text, *from)?)),
        (F::LastIndexOf, [Text(text), Text(part)]) => Ok(last_index(text, part, usize::MAX)),
        (F::LastIndexOf, [Text(text), Text(part), Int(to)]) => Ok(last_index(text, part, place(text, *to)?)),
        (F::Join, [Value::List(items)]) => join(items, ""),
        (F::Join, [Value::List(items), Text(between)]) => join(items, between),
        (F::LowerAscii, [Text(text)]) => Ok(Value::text(text.to_ascii_lowercase())),
        (F::UpperAscii, [Text(text)]) => Ok(Value::text(text.to_ascii_uppercase())),
        (F::Replace, [Text(text), Text(old), Text(new)]) => replace(text, old, new, usize::MAX),
        (F::Replace, [Text(text), Text(old), Text(new), Int(times)]) => {
            replace(text, old, new, usize::try_from(*times).unwrap_or(usize::MAX))
        }
        (F::Split, [Text(text), Text(at)]) => split(text, at, usize::MAX),
        (F::Split, [Text(text), Text(at), Int(most)]) => {
            split(text, at, usize::try_from(*most).unwrap_or(usize::MAX))
        }
        (F::Substring, [Text(text), Int(from)]) => {
            let from = place(text, *from)?;
            Ok(Value::text(text.chars().skip(from).collect::<String>()))
        }
        (F::Substring, [Text(text), Int(from), Int(to)]) => {
            let (from, to) = (place(text, *from)?, place(text, *to)?);
            let length = to.checked_sub(from).ok_or(Error::Range)?;
            let found: String = text.chars().skip(from).take(length).collect();
            Ok(Value::text(found))
        }
        (F::Trim, [Text(text)]) => Ok(Value::text(text.trim().to_owned())),
        _ => Err(Error::Types),
    }
}

/// The end is a place too.
fn place(text: &str, at: i64) -> Result<usize, Error> {
    let at = usize::try_from(at).map_err(|_| Error::Range)?;
    match at <= text.chars().count() {
        true => Ok(at),
        false => Err(Error::Range),
    }
}

fn bytes_before(text: &str, characters: usize) -> usize {
    let found = text.char_indices().nth(characters);
    found.map_or(text.len(), |(at, _)| at)
}

/// -1: it is not there.
fn counted<'a>(text: &str, found: Option<usize>) -> Value<'a> {
    let before = found.and_then(|at| text.get(..at));
    let count = before.and_then(|before| i64::try_from(before.chars().count()).ok());
    Value::Int(count.unwrap_or(-1))
}

fn index<'a>(text: &str, part: &str, from: usize) -> Value<'a> {
    let start = bytes_before(text, from);
    let found = text.get(start..).and_then(|rest| rest.find(part));
    counted(text, found.map(|at| start + at))
}

fn last_index<'a>(text: &str, part: &str, to: usize) -> Value<'a> {
    let end = bytes_before(text, to).saturating_add(part.len()).min(text.len());
    // The part may end behind the last place it may begin at, but not within a character.
    let end = (end..=text.len()).find(|at| text.is_char_boundary(*at));
    let found = end.and_then(|end| text.get(..end)?.rfind(part));
    counted(text, found)
}

fn join<'a>(items: &[Value<'a>], between: &str) -> Result<Value<'a>, Error> {
    let mut joined = String::new();
    for (at, item) in items.iter().enumerate() {
        let Value::Text(text) = item else {
            return Err(Error::Types);
        };
        if at > 0 {
            joined.push_str(between);
        }
        joined.push_str(text);
        fits(joined.len())?;
    }
    Ok(Value::text(joined))
}

fn replace<'a>(text: &str, old: &str, new: &str, times: usize) -> Result<Value<'a>, Error> {
    let mut replaced = String::new();
    let mut done = 0;
    for (at, found) in text.match_indices(old).take(times) {
        replaced.push_str(text.get(done..at).unwrap_or_default());
        replaced.push_str(new);
        fits(replaced.len())?;
        done = at + found.len();
    }
    replaced.push_str(text.get(done..).unwrap_or_default());
    fits(replaced.len())?;
    Ok(Value::text(replaced))
}

fn split<'a>(text: &str, at: &str, most: usize) -> Result<Value<'a>, Error> {
    let own = |part: &str| Value::text(part.to_owned());
    Ok(Value::List(match (most, at) {
        (0, _) => Vec::new(),
        (most, "") => {
            let cut = bytes_before(text, most.saturating_sub(1));
            let (alone, rest) = text.split_at(cut);
            let rest = Some(rest).filter(|rest| !rest.is_empty());
            let alone = alone.chars().map(|c| Value::text(c.to_string()));
            alone.chain(rest.map(own)).collect()
        }
        (most, at) => text.splitn(most, at).map(own).collect(),
    }))
}
