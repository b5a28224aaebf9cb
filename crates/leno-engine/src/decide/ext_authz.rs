//! Authorizers outside of the proxy (`envoy.service.auth.v3`): what they are told of a connection, whichever filter asks.

use std::collections::HashMap;
use std::net::SocketAddr;

use crate::compile::Rejection;
use crate::compile::access_log::{End, FormatValues, Operator, SanKind, Side, TlsFact};
use crate::compile::at::At;
use crate::compile::matcher::{StringMatcher, string};
use crate::compile::metadata::{Value, message};
use crate::compile::pb::auth::attribute_context::{Peer as Party, TlsSession};
use crate::compile::pb::{core, matcher as pb};
use crate::decide::notes::Notes;
use crate::decide::rbac::Peer;

/// The method that is called.
pub(crate) const CHECK: &str = "/envoy.service.auth.v3.Authorization/Check";

/// What an authorizer is told of a connection besides where it comes from and goes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tells {
    pub(crate) certificate: bool,
    pub(crate) tls_session: bool,
}

impl Tells {
    /// The two ends: the client, and this workload.
    pub(crate) fn parties(&self, peer: &Peer<'_>, values: &dyn FormatValues) -> (Party, Party) {
        let client = Party {
            address: Some(address(peer.source)),
            principal: first_of(peer).to_owned(),
            certificate: match self.certificate {
                true => fact(values, TlsFact::Certificate).unwrap_or_default(),
                false => String::new(),
            },
            ..Default::default()
        };
        let own = [
            TlsFact::Sans(End::Local, SanKind::Uri),
            TlsFact::Sans(End::Local, SanKind::Dns),
        ];
        let sans = || own.iter().find_map(|fact| self::fact(values, fact.clone()));
        let principal = match peer.tls {
            false => None,
            true => sans()
                .and_then(|names| names.split(',').next().map(str::to_owned))
                .or_else(|| fact(values, TlsFact::Subject(End::Local))),
        };
        let here = Party {
            address: Some(address(peer.destination)),
            principal: principal.unwrap_or_default(),
            ..Default::default()
        };
        (client, here)
    }

    pub(crate) fn session(&self, peer: &Peer<'_>) -> Option<TlsSession> {
        self.tls_session.then(|| TlsSession {
            sni: peer.server_name.unwrap_or_default().to_owned(),
        })
    }
}

/// The first of a certificate's names: a URI, else a DNS name, else the subject.
fn first_of<'p>(peer: &Peer<'p>) -> &'p str {
    let named = peer.uris.first().or_else(|| peer.names.first());
    named.map_or(peer.subject, String::as_str)
}

fn fact(values: &dyn FormatValues, fact: TlsFact) -> Option<String> {
    let mut out = Vec::new();
    let known = values.write(&Operator::Tls(Side::Downstream, fact), &mut out);
    (known && !out.is_empty()).then(|| text(&out))
}

/// What is no UTF-8 is told by `!`.
pub(crate) fn text(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        out.push_str(chunk.valid());
        out.extend(chunk.invalid().iter().map(|_| '!'));
    }
    out
}

fn address(of: SocketAddr) -> core::Address {
    use core::socket_address::PortSpecifier;
    core::Address {
        address: Some(core::address::Address::SocketAddress(core::SocketAddress {
            address: of.ip().to_canonical().to_string(),
            port_specifier: Some(PortSpecifier::PortValue(of.port().into())),
            ..Default::default()
        })),
    }
}

/// What has been noted under these namespaces.
pub(crate) fn noted(namespaces: &[String], notes: Option<&Notes>) -> core::Metadata {
    let of = |namespace: &String| {
        let read = |value: &Value| match value {
            Value::Fields(fields) => Some(message(fields)),
            _ => None,
        };
        let found = notes?.metadata(namespace, &[], read).flatten()?;
        Some((namespace.clone(), found))
    };
    core::Metadata {
        filter_metadata: namespaces.iter().filter_map(of).collect::<HashMap<_, _>>(),
        ..Default::default()
    }
}

/// Names of headers.
#[derive(Debug, Default)]
pub(crate) struct Names(Vec<StringMatcher>);

impl Names {
    pub(crate) fn compile(
        at: &At<'_>,
        field: &'static str,
        message: &Option<pb::ListStringMatcher>,
    ) -> Result<Option<Self>, Rejection> {
        let Some(pb::ListStringMatcher { patterns }) = message else {
            return Ok(None);
        };
        let patterns = at.field(field).some("patterns", patterns, string)?;
        Ok(Some(Self(patterns)))
    }

    pub(crate) fn contains(&self, name: &[u8]) -> bool {
        self.0.iter().any(|matcher| matcher.matches(name))
    }
}
