//! Hash policies: which requests stick together. xxHash64 with seed 0, as Envoy's.

use std::net::IpAddr;

use bytes::Bytes;
use xxhash_rust::xxh64::xxh64;

use super::matcher::query_parameter;
use super::notes::{Notes, Object};
use super::rewrite::substitute;
use crate::compile::hash::HashPolicy;
use crate::compile::matcher::RegexRewrite;
use crate::message::RequestHead;

/// A request's hash, and the cookie to set so that the next request has it again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hashed {
    pub hash: Option<u64>,
    /// A whole `set-cookie` value.
    pub set_cookie: Option<Bytes>,
}

/// `source`: the client's trusted address; `notes`: what filters have noted. `random` makes the value of a new cookie.
pub fn hash_by(
    policies: &[HashPolicy],
    head: &RequestHead,
    source: Option<IpAddr>,
    notes: Option<&Notes>,
    random: u64,
) -> Hashed {
    let mut hashed = Hashed::default();
    for policy in policies {
        let (one, terminal) = match policy {
            HashPolicy::Header {
                name,
                rewrite,
                terminal,
            } => (header(head, name, rewrite.as_ref()), *terminal),
            HashPolicy::SourceIp { terminal } => {
                let hash = source.map(hash_source);
                (hash, *terminal)
            }
            HashPolicy::Query { name, terminal } => {
                let value = head.query().and_then(|q| query_parameter(q, name.as_bytes()));
                (value.map(|v| xxh64(v, 0)), *terminal)
            }
            HashPolicy::FilterState { key, terminal } => {
                let hash = |object: &Object| object.hashable.then(|| xxh64(object.value.as_bytes(), 0));
                (
                    notes.and_then(|notes| notes.state(key, hash).flatten()),
                    *terminal,
                )
            }
            HashPolicy::Cookie { name, terminal, .. } => {
                let value = head.cookie(name).map(|v| xxh64(v, 0));
                (
                    value.or_else(|| new_cookie(policy, random, &mut hashed.set_cookie)),
                    *terminal,
                )
            }
        };
        // Envoy: the old value rotated by one, so that the order of policies counts and equal parts do not
        // cancel each other out.
        if let Some(one) = one {
            hashed.hash = Some(hashed.hash.map_or(one, |old| old.rotate_left(1) ^ one));
        }
        if terminal && hashed.hash.is_some() {
            break;
        }
    }
    hashed
}

/// A client's address.
pub fn hash_source(ip: IpAddr) -> u64 {
    xxh64(ip.to_canonical().to_string().as_bytes(), 0)
}

/// Several values: sorted, so that their order does not count.
fn header(head: &RequestHead, name: &str, rewrite: Option<&RegexRewrite>) -> Option<u64> {
    if let Some(rewrite) = rewrite {
        let mut values: Vec<Vec<u8>> = match head.field(name) {
            Some(only) if name.starts_with(':') => vec![substitute(rewrite, only)],
            _ => head
                .headers
                .get_all(name)
                .map(|value| substitute(rewrite, value))
                .collect(),
        };
        values.sort_unstable();
        return match values.as_slice() {
            [] => None,
            many => Some(many.iter().fold(0, |seed, value| xxh64(value, seed))),
        };
    }
    if let field @ (":path" | ":method" | ":authority" | ":scheme" | "host") = name {
        return head.field(field).map(|v| xxh64(v, 0));
    }
    let mut values: Vec<&[u8]> = head.headers.get_all(name).collect();
    match values.as_mut_slice() {
        [] => None,
        [one] => Some(xxh64(one, 0)),
        many => {
            many.sort_unstable();
            Some(many.iter().fold(0, |seed, value| xxh64(value, seed)))
        }
    }
}

/// A policy with a lifetime makes a cookie where there is none.
fn new_cookie(policy: &HashPolicy, random: u64, set_cookie: &mut Option<Bytes>) -> Option<u64> {
    let HashPolicy::Cookie {
        name,
        path,
        ttl: Some(ttl),
        attributes,
        ..
    } = policy
    else {
        return None;
    };
    let value = format!("{random:016x}");
    let mut text = format!("{name}=\"{value}\"");
    if !ttl.is_zero() {
        text.push_str(&format!("; Max-Age={}", ttl.as_secs()));
    }
    if let Some(path) = path {
        text.push_str(&format!("; Path={path}"));
    }
    for (name, value) in attributes {
        text.push_str(&format!("; {name}"));
        if !value.is_empty() {
            text.push_str(&format!("={value}"));
        }
    }
    text.push_str("; HttpOnly");
    *set_cookie = Some(text.into());
    Some(xxh64(value.as_bytes(), 0))
}
