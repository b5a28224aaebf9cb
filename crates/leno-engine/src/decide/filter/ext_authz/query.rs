//! Parameters of a path's query, set and removed as an authorizer says. As in Envoy the whole is written anew, in the order
//! of the names, and nothing is encoded or decoded.

use std::collections::BTreeMap;

use crate::decide::matcher::parameters;
use crate::message::RequestHead;

pub(super) fn change(head: &mut RequestHead, set: &[(String, String)], remove: &[String]) {
    if set.is_empty() && remove.is_empty() {
        return;
    }
    let mut query = BTreeMap::<Vec<u8>, Vec<Vec<u8>>>::new();
    let said = head.query().unwrap_or_default();
    for (name, value) in parameters(said).filter(|(name, value)| !(name.is_empty() && value.is_empty())) {
        query.entry(name.to_vec()).or_default().push(value.to_vec());
    }
    for (name, value) in set {
        query.insert(name.clone().into_bytes(), vec![value.clone().into_bytes()]);
    }
    for name in remove {
        query.remove(name.as_bytes());
    }
    let end = head.path.iter().position(|byte| *byte == b'?');
    let mut path = head.path[..end.unwrap_or(head.path.len())].to_vec();
    let pairs = query
        .iter()
        .flat_map(|(name, values)| values.iter().map(move |value| (name, value)));
    let mut before = b'?';
    for (name, value) in pairs {
        path.push(before);
        path.extend_from_slice(name);
        path.push(b'=');
        path.extend_from_slice(value);
        before = b'&';
    }
    head.path = path.into();
}

/// What a path takes; `strict`: all that is no part of a parameter is written as `%XX`.
pub(super) fn is_encoded(text: &str, strict: bool) -> bool {
    let unreserved = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        rest = match (first, after) {
            (b'%', [high, low, after @ ..]) if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => after,
            (b'%', _) if strict => return false,
            (byte, after) if unreserved(*byte) => after,
            (byte, after) if !strict && *byte > b' ' && *byte != 0x7f && !b"#".contains(byte) => after,
            _ => return false,
        };
    }
    true
}
