//! Where tokens are in a request, and whose they may be there.

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::provider::Provider;
use crate::decide::matcher::{decoded, decoded_parameter, parameters};
use crate::message::RequestHead;

/// Of one provider, or of all.
#[derive(Debug)]
pub(super) struct Places {
    /// By name and what stands before the token.
    headers: BTreeMap<(String, String), Issuers>,
    parameters: BTreeMap<String, Issuers>,
    cookies: BTreeMap<String, Issuers>,
}

/// Whose tokens are taken at a place; the empty name is everybody's.
pub(super) type Issuers = Vec<String>;

/// A token, not yet looked at.
#[derive(Debug)]
pub(super) struct Carried<'p> {
    pub(super) text: Vec<u8>,
    pub(super) issuers: &'p Issuers,
    place: Place<'p>,
}

#[derive(Debug)]
enum Place<'p> {
    Header(&'p str),
    Parameter(&'p str),
    Cookie,
}

// === impl Places ===

impl Places {
    pub(super) fn of<'p>(providers: impl IntoIterator<Item = &'p Provider>) -> Self {
        let mut places = Self {
            headers: BTreeMap::new(),
            parameters: BTreeMap::new(),
            cookies: BTreeMap::new(),
        };
        for provider in providers {
            let issuer = || provider.issuer.clone();
            for header in &provider.from_headers {
                places.headers.entry(header.clone()).or_default().push(issuer());
            }
            for name in &provider.from_params {
                places.parameters.entry(name.clone()).or_default().push(issuer());
            }
            for name in &provider.from_cookies {
                places.cookies.entry(name.clone()).or_default().push(issuer());
            }
        }
        places
    }

    /// The last comes first into question, as in Envoy.
    pub(super) fn carried(&self, head: &RequestHead) -> Vec<Carried<'_>> {
        let mut found = Vec::new();
        for ((name, prefix), issuers) in &self.headers {
            for value in values(head, name) {
                let Some(text) = after_prefix(&value, prefix.as_bytes()) else {
                    continue;
                };
                found.push(Carried {
                    text: text.to_vec(),
                    issuers,
                    place: Place::Header(name),
                });
            }
        }
        let query = head.query().unwrap_or_default();
        for (name, issuers) in &self.parameters {
            if let Some(value) = decoded_parameter(query, name.as_bytes()) {
                found.push(Carried {
                    text: value.into_owned(),
                    issuers,
                    place: Place::Parameter(name),
                });
            }
        }
        for (name, issuers) in &self.cookies {
            if let Some(value) = head.cookie(name) {
                found.push(Carried {
                    text: value.to_vec(),
                    issuers,
                    place: Place::Cookie,
                });
            }
        }
        found
    }
}

// === impl Carried ===

impl Carried<'_> {
    pub(super) fn may_be_of(&self, issuer: &str) -> bool {
        self.issuers.iter().any(|one| one.is_empty() || one == issuer)
    }

    /// Takes it out of the request; a cookie stays, as in Envoy.
    pub(super) fn remove(&self, head: &mut RequestHead) {
        match self.place {
            Place::Header(name) => drop(head.headers.remove(name)),
            Place::Parameter(name) => remove_parameter(head, name),
            Place::Cookie => {}
        }
    }
}

/// Each value of a header by itself, but those of `authorization` as one: it may be there only once.
fn values<'h>(head: &'h RequestHead, name: &'h str) -> Vec<Cow<'h, [u8]>> {
    match name.starts_with(':') || matches!(name, "host" | "authorization") {
        true => head.joined(name).into_iter().collect(),
        false => head.headers.get_all(name).map(Cow::Borrowed).collect(),
    }
}

/// From the first symbol behind the prefix on that a token may have; the prefix may stand anywhere, as in Envoy. None: it
/// is not there.
fn after_prefix<'v>(value: &'v [u8], prefix: &[u8]) -> Option<&'v [u8]> {
    if prefix.is_empty() {
        return Some(value);
    }
    let at = value.windows(prefix.len()).position(|part| part == prefix)?;
    let rest = value.get(at + prefix.len()..)?;
    let is_symbol = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.".contains(byte);
    match rest.iter().position(is_symbol) {
        Some(start) => rest.get(start..),
        None => Some(value),
    }
}

/// The others stay as the client wrote them.
fn remove_parameter(head: &mut RequestHead, name: &str) {
    let Some(query) = head.query() else {
        return;
    };
    let mut path = head.path_only().to_vec();
    let mut separator = b'?';
    for (key, value) in parameters(query).filter(|(key, _)| *decoded(key) != *name.as_bytes()) {
        if key.is_empty() && value.is_empty() {
            continue;
        }
        path.push(separator);
        path.extend_from_slice(key);
        path.push(b'=');
        path.extend_from_slice(value);
        separator = b'&';
    }
    head.path = path.into();
}
