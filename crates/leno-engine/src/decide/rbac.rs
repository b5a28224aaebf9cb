//! Whether a request, or a connection, is allowed; and by which policy.

mod denial;
mod nearest;

use std::borrow::Cow;
use std::net::{IpAddr, SocketAddr};

use leno_cel::Program;
use smallvec::SmallVec;

use crate::compile::access_log::{Attributes, FormatValues, Heads};
use crate::compile::matcher::input::Input;
use crate::compile::rbac::Index;
use crate::compile::rbac::{Action, Permission, Policy, Principal, Rbac, Rules};
use crate::decide::matcher::tree::{Facts, Undecided};
use crate::decide::notes::{Notes, Object, Shown};
use crate::message::RequestHead;

pub(super) use denial::place;
pub use denial::{Asked, Denial, asked_by, told};
pub use nearest::Nearest;

/// Who asks, and for what.
#[derive(Clone, Copy)]
pub struct Caller<'c> {
    /// None: a connection. What is said of requests then matches nothing.
    pub request: Option<&'c RequestHead>,
    /// Its route is found without what stands behind a `;` in the segments of its path, and so are policies.
    pub ignores_parameters: bool,
    /// The client, as far as it is told by proxies that are trusted.
    pub remote: SocketAddr,
    pub peer: Peer<'c>,
    /// What filters have noted of the request.
    pub notes: Option<&'c Notes>,
    /// What expressions know besides.
    pub values: &'c dyn FormatValues,
}

/// The other end of a connection.
#[derive(Clone, Copy, Debug)]
pub struct Peer<'c> {
    pub address: IpAddr,
    /// The same, or who the PROXY protocol says it is.
    pub source: SocketAddr,
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
    /// Whether a log is to take it; None: nothing is said of that.
    pub log: Option<bool>,
}

impl Rules {
    pub fn decide(&self, caller: &Caller<'_>) -> Verdict<'_> {
        match self {
            Self::Policies(rbac) => rbac.decide(caller),
            Self::Tree { tree, logs } => match tree.decide(caller) {
                Some(leaf) => Verdict {
                    allowed: leaf.action != Action::Deny,
                    policy: Some(&leaf.name),
                    log: logs.then_some(leaf.action == Action::Log),
                },
                None => Verdict {
                    allowed: false,
                    policy: None,
                    log: None,
                },
            },
        }
    }
}

impl<'c> Caller<'c> {
    /// The request's path as policies compare it. Without its parameters also for templates, of which routes see all.
    pub fn path_of(&self, head: &'c RequestHead) -> Cow<'c, [u8]> {
        match self.ignores_parameters {
            true => head.path_without_parameters(),
            false => Cow::Borrowed(head.path_only()),
        }
    }
}

impl Facts for Caller<'_> {
    fn get(&self, input: &Input) -> Result<Option<Cow<'_, [u8]>>, Undecided> {
        let peer = &self.peer;
        let text = |text: String| Some(Cow::Owned(text.into_bytes()));
        if matches!(input, Input::UriSan | Input::DnsSan | Input::Subject) && !peer.tls {
            return Err(Undecided);
        }
        let joined = |names: &[String]| match names {
            [] => None,
            names => text(names.join(",")),
        };
        Ok(match input {
            Input::RequestHeader(name) => self.request.and_then(|head| head.joined(name)),
            Input::DestinationPort => text(peer.destination.port().to_string()),
            Input::SourcePort => text(self.remote.port().to_string()),
            Input::DestinationIp | Input::SourceIp | Input::DirectSourceIp => {
                self.address(input)?.and_then(|address| text(address.to_string()))
            }
            Input::ServerName => peer.server_name.map(|name| Cow::Borrowed(name.as_bytes())),
            Input::UriSan => joined(peer.uris),
            Input::DnsSan => joined(peer.names),
            Input::Subject => Some(peer.subject.as_bytes())
                .filter(|subject| !subject.is_empty())
                .map(Cow::Borrowed),
            Input::FilterState(key) => {
                let shown = |object: &Object| (object.shown != Shown::Nowhere).then(|| object.value.clone());
                let found = self.notes.and_then(|notes| notes.state(key, shown).flatten());
                found.and_then(text)
            }
            // No rules may name them, or no text is made of them.
            Input::QueryParameter(_)
            | Input::Attributes
            | Input::SourceType
            | Input::TransportProtocol
            | Input::ApplicationProtocol
            | Input::DynamicMetadata { .. }
            | Input::EndpointMetadata { .. }
            | Input::LocalityMetadata { .. } => None,
        })
    }

    fn holds(&self, program: &Program) -> bool {
        let heads = Heads {
            request: self.request,
            ..Heads::default()
        };
        program.holds(&Attributes::new(heads, self.values))
    }

    fn notes(&self) -> Option<&Notes> {
        self.notes
    }

    fn address(&self, input: &Input) -> Result<Option<IpAddr>, Undecided> {
        let address = match input {
            Input::DestinationIp => self.peer.destination.ip(),
            Input::SourceIp => self.remote.ip(),
            Input::DirectSourceIp => self.peer.address,
            _ => {
                let text = self.get(input)?;
                return Ok(text.and_then(|text| std::str::from_utf8(&text).ok()?.parse().ok()));
            }
        };
        Ok(Some(address.to_canonical()))
    }
}

impl Rbac {
    fn decide(&self, caller: &Caller<'_>) -> Verdict<'_> {
        let mut candidates = self.candidates(caller);
        let matching = candidates.find(|(_, policy)| policy.matches(caller));
        Verdict {
            allowed: match self.action {
                Action::Allow => matching.is_some(),
                Action::Deny => matching.is_none(),
                Action::Log => true,
            },
            policy: matching.map(|(name, _)| name.as_str()),
            log: (self.action == Action::Log).then_some(matching.is_some()),
        }
    }
}

impl Rbac {
    /// The policies that may match, in their order: all of them, or those that the index finds.
    pub fn candidates<'a>(
        &'a self,
        caller: &Caller<'_>,
    ) -> impl Iterator<Item = &'a (String, Policy)> + use<'a> {
        let everything = match self.index {
            None => self.policies.as_slice(),
            Some(_) => &[],
        };
        let found = self.index.as_deref().map(|index| Candidates::new(index, caller));
        let found = found.into_iter().flatten();
        let found = found.filter_map(|place| self.policies.get(usize::try_from(place).ok()?));
        everything.iter().chain(found)
    }
}

/// Ascending lists, merged; what stands in several comes once.
struct Candidates<'i>(SmallVec<[&'i [u32]; 8]>);

impl<'i> Candidates<'i> {
    fn new(index: &'i Index, caller: &Caller<'_>) -> Self {
        let mut lists: SmallVec<[&[u32]; 8]> = SmallVec::new();
        lists.push(&index.rest);
        let mut add = |list: Option<&'i Vec<u32>>| lists.extend(list.map(Vec::as_slice));
        if let Some(head) = caller.request.filter(|_| !index.paths.is_empty()) {
            add(index.paths.get(&*caller.path_of(head)));
        }
        let peer = &caller.peer;
        if peer.tls {
            for name in peer.uris.iter().chain(peer.names) {
                add(index.identities.get(name.as_bytes()));
                namespaces(name).for_each(|namespace| add(index.namespaces.get(namespace.as_bytes())));
            }
            add(index.identities.get(peer.subject.as_bytes()));
            namespaces(peer.subject).for_each(|namespace| add(index.namespaces.get(namespace.as_bytes())));
        }
        Self(lists)
    }
}

impl Iterator for Candidates<'_> {
    type Item = u32;

    fn next(&mut self) -> Option<u32> {
        let heads = self.0.iter().filter_map(|list| list.first());
        let next = *heads.min()?;
        for list in &mut self.0 {
            if let Some((_, rest)) = list.split_first().filter(|(head, _)| **head == next) {
                *list = rest;
            }
        }
        Some(next)
    }
}

/// All that stands between `/ns/` and the next slash.
fn namespaces(name: &str) -> impl Iterator<Item = &str> {
    name.match_indices("/ns/")
        .filter_map(|(at, found)| name[at + found.len()..].split_once('/'))
        .map(|(namespace, _)| namespace)
}

impl Policy {
    fn matches(&self, caller: &Caller<'_>) -> bool {
        self.permissions
            .iter()
            .any(|permission| permission.matches(caller))
            && self.principals.iter().any(|principal| principal.matches(caller))
            && self
                .condition
                .as_ref()
                .is_none_or(|condition| caller.holds(condition))
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
            Self::Path(path) => caller
                .request
                .is_some_and(|head| path.matches(&caller.path_of(head))),
            Self::Paths(paths) => caller
                .request
                .is_some_and(|head| paths.contains(&*caller.path_of(head))),
            Self::DestinationIp(range) => range.contains(&caller.peer.destination.ip().to_canonical()),
            Self::DestinationPorts { start, end } => {
                (*start..*end).contains(&u32::from(caller.peer.destination.port()))
            }
            Self::Metadata(metadata) => metadata.matches(caller.notes),
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
            Self::AuthenticatedAs(names) => {
                let is_one = |those: &[String]| those.iter().any(|one| names.contains(one.as_bytes()));
                peer.tls
                    && (is_one(peer.uris) || is_one(peer.names) || names.contains(peer.subject.as_bytes()))
            }
            Self::Metadata(metadata) => metadata.matches(caller.notes),
            Self::FilterState(state) => state.matches(caller.notes),
            Self::DirectRemoteIp(range) => range.contains(&peer.address.to_canonical()),
            Self::RemoteIp(range) => range.contains(&caller.remote.ip().to_canonical()),
            Self::Header(header) => caller.request.is_some_and(|head| header.matches_request(head)),
            Self::Path(path) => caller
                .request
                .is_some_and(|head| path.matches(&caller.path_of(head))),
        }
    }
}

/// `%RESPONSE_CODE_DETAILS%` of what is denied; it has no spaces.
pub(crate) fn details(policy: Option<&str>) -> String {
    let policy = policy.unwrap_or("none").replace(' ', "_");
    format!("rbac_access_denied_matched_policy[{policy}]")
}

#[cfg(test)]
mod tests;
