//! What an authorizer is told, whichever protocol it speaks.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::decide::ext_authz::{Names, Tells};
use crate::message::{RequestHead, Version};

/// Says that not all of the body is told.
pub(super) const PARTIAL_BODY: &str = "x-envoy-auth-partial-body";

#[derive(Debug)]
pub(super) struct Told {
    /// Of all its headers; None: all.
    pub(super) allowed: Option<Names>,
    pub(super) disallowed: Option<Names>,
    /// Where it comes from, what it wants and by which right is told whatever is allowed: over HTTP.
    pub(super) always: bool,
    /// Headers as they are, each by itself.
    pub(super) raw: bool,
    pub(super) tells: Tells,
    /// The field of the node's metadata that the workload's labels are in.
    pub(super) labels: String,
    pub(super) namespaces: Vec<String>,
    pub(super) route_namespaces: Vec<String>,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Body {
    pub(super) most: usize,
    /// A longer one is told as far as it goes; else it is refused.
    pub(super) partial: bool,
    pub(super) as_bytes: bool,
}

/// What is told besides the head.
#[derive(Debug)]
pub(super) struct Asking<'a> {
    pub(super) body: Option<Gathered>,
    pub(super) extensions: &'a BTreeMap<String, String>,
}

/// The fields of a head that an authorizer may see.
pub(super) fn told<'h>(rules: &'h Told, head: &'h RequestHead) -> impl Iterator<Item = (&'h [u8], &'h [u8])> {
    let own: [(&[u8], &[u8]); 4] = [
        (b":authority", &head.authority),
        (b":path", &head.path),
        (b":method", &head.method),
        (b":scheme", &head.scheme),
    ];
    // What a head of HTTP/1.1 says of it is no header here.
    let upgrade = head.upgrade.as_ref().filter(|_| head.version != Version::Http2);
    let upgrade = upgrade.into_iter().flat_map(|protocol| {
        let wants: [(&[u8], &[u8]); 2] = [(b"connection", b"Upgrade"), (b"upgrade", protocol)];
        wants
    });
    let always = move |name: &[u8]| {
        rules.always && matches!(name, b":authority" | b":path" | b":method" | b"authorization")
    };
    let may = move |name: &[u8]| {
        name != PARTIAL_BODY.as_bytes()
            && !rules
                .disallowed
                .as_ref()
                .is_some_and(|names| names.contains(name))
            && (always(name) || rules.allowed.as_ref().is_none_or(|names| names.contains(name)))
    };
    own.into_iter()
        .chain(head.headers.iter())
        .chain(upgrade)
        .filter(move |(name, _)| may(name))
}

/// A body as far as it has come.
#[derive(Debug)]
pub(super) struct Gathered {
    pub(super) rules: Body,
    /// No more than may be told.
    pub(super) told: Bytes,
    pub(super) size: usize,
}

impl Gathered {
    pub(super) fn is_partial(&self) -> &'static str {
        match self.told.len() == self.size {
            true => "false",
            false => "true",
        }
    }
}
