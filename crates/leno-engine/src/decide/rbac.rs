//! Whether a request, or a connection, is allowed; and by which policy.

use std::net::{IpAddr, SocketAddr};

use crate::compile::rbac::{Action, Permission, Policy, Principal, Rbac};
use crate::message::RequestHead;

/// Who asks, and for what.
#[derive(Clone, Copy, Debug)]
pub struct Caller<'c> {
    /// None: a connection. What is said of requests then matches nothing.
    pub request: Option<&'c RequestHead>,
    /// The client, as far as it is told by proxies that are trusted.
    pub remote: IpAddr,
    pub peer: Peer<'c>,
}

/// The other end of a connection.
#[derive(Clone, Copy, Debug)]
pub struct Peer<'c> {
    pub address: IpAddr,
    /// Where it wanted to go.
    pub destination: SocketAddr,
    pub server_name: Option<&'c str>,
    pub tls: bool,
    /// Of its certificate, which was verified: URI names, DNS names, and the subject as RFC 2253 writes it.
    pub uris: &'c [String],
    pub names: &'c [String],
    pub subject: &'c str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict<'r> {
    pub allowed: bool,
    /// The policy that matched; the first in the order of their names.
    pub policy: Option<&'r str>,
}

impl Rbac {
    pub fn decide(&self, caller: &Caller<'_>) -> Verdict<'_> {
        let matching = self.policies.iter().find(|(_, policy)| policy.matches(caller));
        Verdict {
            allowed: match self.action {
                Action::Allow => matching.is_some(),
                Action::Deny => matching.is_none(),
                Action::Log => true,
            },
            policy: matching.map(|(name, _)| name.as_str()),
        }
    }
}

impl Policy {
    fn matches(&self, caller: &Caller<'_>) -> bool {
        self.permissions
            .iter()
            .any(|permission| permission.matches(caller))
            && self.principals.iter().any(|principal| principal.matches(caller))
    }
}

impl Permission {
    fn matches(&self, caller: &Caller<'_>) -> bool {
        match self {
            Self::Any => true,
            Self::And(all) => all.iter().all(|one| one.matches(caller)),
            Self::Or(any) => any.iter().any(|one| one.matches(caller)),
            Self::Not(inner) => !inner.matches(caller),
            Self::Header(header) => caller.request.is_some_and(|head| header.matches_request(head)),
            Self::Path(path) => caller.request.is_some_and(|head| path.matches(head.path_only())),
            Self::DestinationIp(range) => range.contains(&caller.peer.destination.ip().to_canonical()),
            Self::DestinationPorts { start, end } => {
                (*start..*end).contains(&u32::from(caller.peer.destination.port()))
            }
            Self::ServerName(name) => name.matches(caller.peer.server_name.unwrap_or_default().as_bytes()),
        }
    }
}

impl Principal {
    fn matches(&self, caller: &Caller<'_>) -> bool {
        let peer = &caller.peer;
        match self {
            Self::Any => true,
            Self::And(all) => all.iter().all(|one| one.matches(caller)),
            Self::Or(any) => any.iter().any(|one| one.matches(caller)),
            Self::Not(inner) => !inner.matches(caller),
            Self::Authenticated(None) => peer.tls,
            Self::Authenticated(Some(name)) => {
                let is_one = |names: &[String]| names.iter().any(|one| name.matches(one.as_bytes()));
                peer.tls && (is_one(peer.uris) || is_one(peer.names) || name.matches(peer.subject.as_bytes()))
            }
            Self::DirectRemoteIp(range) => range.contains(&peer.address.to_canonical()),
            Self::RemoteIp(range) => range.contains(&caller.remote.to_canonical()),
            Self::Header(header) => caller.request.is_some_and(|head| header.matches_request(head)),
            Self::Path(path) => caller.request.is_some_and(|head| path.matches(head.path_only())),
        }
    }
}

/// `%RESPONSE_CODE_DETAILS%` of what is denied; it has no spaces.
pub(crate) fn details(policy: Option<&str>) -> String {
    let policy = policy.unwrap_or("none").replace(' ', "_");
    format!("rbac_access_denied_matched_policy[{policy}]")
}
