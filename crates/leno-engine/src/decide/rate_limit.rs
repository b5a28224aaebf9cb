//! What a request is counted as: the entries of its descriptors.

use std::borrow::Cow;
use std::net::IpAddr;

use ipnet::IpNet;
use smallvec::SmallVec;

use super::matcher::decoded_parameter;
use crate::compile::rate_limit::{Action, RateLimit};
use crate::message::RequestHead;

/// A request and what is known of it before it goes on.
#[derive(Clone, Copy, Debug)]
pub struct Counted<'c> {
    pub head: &'c RequestHead,
    /// Of its route.
    pub cluster: Option<&'c str>,
    /// The client, as far as it is told by proxies that are trusted.
    pub remote: IpAddr,
}

/// Keys and values, in order.
pub type Entries<'e> = SmallVec<[(&'e str, Cow<'e, [u8]>); 4]>;

enum Entry<'e> {
    Is(&'e str, Cow<'e, [u8]>),
    LeftOut,
    /// There is no descriptor at all.
    Missing,
}

impl RateLimit {
    /// None: the request has no such descriptor.
    pub fn entries<'e>(&'e self, request: &Counted<'e>) -> Option<Entries<'e>> {
        let mut entries = Entries::new();
        for action in &self.actions {
            match action.entry(request) {
                Entry::Is(key, value) => entries.push((key, value)),
                Entry::LeftOut => {}
                Entry::Missing => return None,
            }
        }
        (!entries.is_empty()).then_some(entries)
    }
}

impl Action {
    fn entry<'e>(&'e self, request: &Counted<'e>) -> Entry<'e> {
        let query = || request.head.query().unwrap_or_default();
        let remote = request.remote.to_canonical();
        match self {
            Self::Cluster => match request.cluster {
                Some(cluster) => Entry::Is("destination_cluster", cluster.as_bytes().into()),
                None => Entry::Missing,
            },
            Self::Header { name, key, skip } => match request.head.field(name) {
                Some(value) => Entry::Is(key, value.into()),
                None => absent(*skip),
            },
            Self::Query { name, key, skip } => match decoded_parameter(query(), name.as_bytes()) {
                Some(value) => Entry::Is(key, value),
                None => absent(*skip),
            },
            Self::Remote => Entry::Is("remote_address", remote.to_string().into_bytes().into()),
            Self::MaskedRemote { v4, v6 } => {
                let bits = if remote.is_ipv4() { *v4 } else { *v6 };
                match IpNet::new(remote, bits) {
                    Ok(range) => {
                        let range = range.trunc().to_string();
                        Entry::Is("masked_remote_address", range.into_bytes().into())
                    }
                    Err(_) => Entry::Missing,
                }
            }
            Self::Fixed { key, value } => Entry::Is(key, value.as_bytes().into()),
            Self::Headers {
                key,
                value,
                wanted,
                headers,
            } => {
                let matches = headers.iter().all(|header| header.matches_request(request.head));
                matched(matches == *wanted, key, value)
            }
            Self::QueryMatch {
                key,
                value,
                wanted,
                parameters,
            } => {
                let matches = parameters.iter().all(|one| one.matches_decoded(query()));
                matched(matches == *wanted, key, value)
            }
            Self::RemoteIn {
                key,
                value,
                wanted,
                ranges,
            } => {
                let matches = ranges.iter().any(|range| range.contains(&remote));
                matched(matches == *wanted, key, value)
            }
        }
    }
}

fn absent<'e>(skip: bool) -> Entry<'e> {
    if skip { Entry::LeftOut } else { Entry::Missing }
}

fn matched<'e>(matches: bool, key: &'e str, value: &'e str) -> Entry<'e> {
    match matches {
        true => Entry::Is(key, value.as_bytes().into()),
        false => Entry::Missing,
    }
}
