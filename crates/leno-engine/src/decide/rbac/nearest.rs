//! What a caller whom nothing allows was nearest to: the policy that fewest conditions kept from allowing it, and which.
//!
//! Only asked after a denial, so it may look at everything.

use std::fmt::Write;

use super::Caller;
use crate::compile::matcher::metadata::{MetadataMatcher, ValueMatcher};
use crate::compile::matcher::{HeaderMatcher, HeaderTest, Pattern, StringMatcher};
use crate::compile::metadata::Value;
use crate::compile::rbac::{Action, Names, Permission, Policy, Principal, Rbac, Rules, namespace};
use crate::decide::matcher::tree::Facts;

/// So much of a value is told.
const LONGEST: usize = 80;
/// So many of those that would do.
const MOST: usize = 3;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nearest<'r> {
    pub policy: &'r str,
    /// The conditions that did not hold: `method is "POST", not GET`.
    pub missed: Vec<String>,
}

impl Rules {
    /// None: there is no policy, or none that allows.
    pub fn nearest(&self, caller: &Caller<'_>) -> Option<Nearest<'_>> {
        match self {
            Self::Policies(rbac) => rbac.nearest(caller),
            Self::Tree { .. } => None,
        }
    }
}

impl Rbac {
    fn nearest(&self, caller: &Caller<'_>) -> Option<Nearest<'_>> {
        if self.action != Action::Allow {
            return None;
        }
        let all = self.policies.iter().filter_map(|(name, policy)| {
            Some(Nearest {
                policy: name,
                missed: missed(policy, caller)?,
            })
        });
        let nearest = all.min_by_key(|nearest| nearest.missed.len());
        nearest.or_else(|| {
            self.policies.first().map(|(name, _)| Nearest {
                policy: name,
                missed: vec!["it allows nothing".to_owned()],
            })
        })
    }
}

/// What keeps a policy from matching, by its best alternatives. None: it never matches anything.
fn missed(policy: &Policy, caller: &Caller<'_>) -> Option<Vec<String>> {
    let asked = policy.permissions.iter().filter_map(|permission| {
        let mut out = Vec::new();
        of_permission(permission, caller, &mut out).then_some(out)
    });
    let asking = policy.principals.iter().filter_map(|principal| {
        let mut out = Vec::new();
        of_principal(principal, caller, &mut out).then_some(out)
    });
    let mut all = asked.min_by_key(Vec::len)?;
    all.extend(asking.min_by_key(Vec::len)?);
    if policy
        .condition
        .as_ref()
        .is_some_and(|condition| !caller.holds(condition))
    {
        all.push("its condition does not hold".to_owned());
    }
    Some(all)
}

/// False: it can never match.
fn of_permission(permission: &Permission, caller: &Caller<'_>, out: &mut Vec<String>) -> bool {
    match permission {
        Permission::And(parts) => parts.iter().all(|part| of_permission(part, caller, out)),
        Permission::Not(inner) if **inner == Permission::Any => false,
        other => {
            if !other.matches(caller) {
                out.push(told_of_permission(other, caller));
            }
            true
        }
    }
}

fn of_principal(principal: &Principal, caller: &Caller<'_>, out: &mut Vec<String>) -> bool {
    match principal {
        Principal::And(parts) => parts.iter().all(|part| of_principal(part, caller, out)),
        Principal::Not(inner) if **inner == Principal::Any => false,
        other => {
            if !other.matches(caller) {
                out.push(told_of_principal(other, caller));
            }
            true
        }
    }
}

/// What is there, and what would have done.
struct Told {
    subject: String,
    is: String,
    wanted: Vec<String>,
}

impl Told {
    fn sentence(self, excluded: bool) -> String {
        let Self { subject, is, wanted } = self;
        let more = wanted.len().saturating_sub(MOST);
        let mut list = wanted.into_iter().take(MOST).collect::<Vec<_>>().join(" or ");
        if more > 0 {
            let _ = write!(list, " or {more} more");
        }
        match excluded {
            true => format!("{subject} is {is}, which is excluded by {list}"),
            false => format!("{subject} is {is}, not {list}"),
        }
    }
}

fn told_of_permission(permission: &Permission, caller: &Caller<'_>) -> String {
    match permission {
        Permission::Not(inner) => permission_told(inner, caller).sentence(true),
        other => permission_told(other, caller).sentence(false),
    }
}

fn told_of_principal(principal: &Principal, caller: &Caller<'_>) -> String {
    match principal {
        Principal::Not(inner) => principal_told(inner, caller).sentence(true),
        other => principal_told(other, caller).sentence(false),
    }
}

fn permission_told(permission: &Permission, caller: &Caller<'_>) -> Told {
    let told = |subject: &str, is: String, wanted: Vec<String>| Told {
        subject: subject.to_owned(),
        is,
        wanted,
    };
    let path = || match caller.request {
        Some(head) => shown(&caller.path_of(head)),
        None => "none".to_owned(),
    };
    let destination = caller.peer.destination;
    match permission {
        Permission::Or(parts) => several(parts.iter().map(|part| permission_told(part, caller))),
        Permission::Header(header) => header_told(header, caller),
        Permission::Path(text) => told("path", path(), vec![wanted(text)]),
        Permission::Paths(names) => told("path", path(), listed(names)),
        Permission::DestinationIp(range) => {
            let is = destination.ip().to_canonical().to_string();
            told("destination", is, vec![range.to_string()])
        }
        Permission::DestinationPorts { start, end } => {
            let ports = match end - start {
                1 => start.to_string(),
                _ => format!("{start} to {}", end - 1),
            };
            told("port", destination.port().to_string(), vec![ports])
        }
        Permission::ServerName(text) => {
            let is = caller
                .peer
                .server_name
                .map_or("none".to_owned(), |name| shown(name.as_bytes()));
            told("server name", is, vec![wanted(text)])
        }
        Permission::Metadata(metadata) => noted_told(metadata, caller),
        Permission::And(parts) => several(
            parts
                .iter()
                .filter(|part| !part.matches(caller))
                .map(|part| permission_told(part, caller)),
        ),
        Permission::Not(inner) => permission_told(inner, caller),
        Permission::Any => told("anything", "asked for".to_owned(), Vec::new()),
    }
}

fn principal_told(principal: &Principal, caller: &Caller<'_>) -> Told {
    let peer = &caller.peer;
    let told = |subject: &str, is: String, wanted: Vec<String>| Told {
        subject: subject.to_owned(),
        is,
        wanted,
    };
    let identity = || match (peer.tls, peer.uris, peer.names) {
        (false, ..) => "none (no mutual TLS)".to_owned(),
        (true, [first, ..], _) | (true, [], [first, ..]) => shown(first.as_bytes()),
        (true, [], []) if peer.subject.is_empty() => "none (no certificate)".to_owned(),
        (true, [], []) => shown(peer.subject.as_bytes()),
    };
    match principal {
        Principal::Or(parts) => several(parts.iter().map(|part| principal_told(part, caller))),
        Principal::Authenticated(None) => told("identity", identity(), vec!["any".to_owned()]),
        Principal::Authenticated(Some(name)) => {
            let wanted = match namespace(name) {
                Some(namespace) => format!("of namespace {namespace}"),
                None => wanted(name),
            };
            told("identity", identity(), vec![wanted])
        }
        Principal::AuthenticatedAs(names) => told("identity", identity(), listed(names)),
        Principal::DirectRemoteIp(range) => told(
            "source address",
            peer.address.to_canonical().to_string(),
            vec![range.to_string()],
        ),
        Principal::RemoteIp(range) => {
            let is = caller.remote.ip().to_canonical().to_string();
            told("client address", is, vec![range.to_string()])
        }
        Principal::Header(header) => header_told(header, caller),
        Principal::Path(text) => {
            let is = caller
                .request
                .map_or("none".to_owned(), |head| shown(&caller.path_of(head)));
            told("path", is, vec![wanted(text)])
        }
        Principal::Metadata(metadata) => noted_told(metadata, caller),
        Principal::FilterState(_) => told("filter state", "another".to_owned(), vec!["as wanted".to_owned()]),
        Principal::And(parts) => several(
            parts
                .iter()
                .filter(|part| !part.matches(caller))
                .map(|part| principal_told(part, caller)),
        ),
        Principal::Not(inner) => principal_told(inner, caller),
        Principal::Any => told("anybody", "asking".to_owned(), Vec::new()),
    }
}

/// Alternatives speak of the same, as a rule.
fn several(parts: impl Iterator<Item = Told>) -> Told {
    let mut all = parts.fold(None::<Told>, |all, one| match all {
        None => Some(one),
        Some(mut all) => {
            all.wanted.extend(one.wanted);
            Some(all)
        }
    });
    all.take().unwrap_or(Told {
        subject: "nothing".to_owned(),
        is: "there".to_owned(),
        wanted: Vec::new(),
    })
}

fn header_told(header: &HeaderMatcher, caller: &Caller<'_>) -> Told {
    let subject = match header.name.as_str() {
        ":method" => "method".to_owned(),
        ":authority" | "host" => "host".to_owned(),
        ":path" => "path with query".to_owned(),
        name => format!("header {name}"),
    };
    let value = caller.request.and_then(|head| head.field(&header.name));
    let wanted = match &header.test {
        HeaderTest::Value(text) => wanted(text),
        HeaderTest::Present(true) => "any".to_owned(),
        HeaderTest::Present(false) => "none".to_owned(),
        HeaderTest::Range { start, end } => format!("from {start} up to {end}"),
    };
    Told {
        subject,
        is: value.map_or("missing".to_owned(), shown),
        wanted: vec![wanted],
    }
}

/// Of a token that was verified its claims are noted, below one name.
fn noted_told(metadata: &MetadataMatcher, caller: &Caller<'_>) -> Told {
    let subject = match (metadata.namespace.as_str(), metadata.path.as_slice()) {
        ("envoy.filters.http.jwt_authn", [_, claim @ ..]) => format!("the token's {}", claim.join(".")),
        (namespace, path) => format!("{namespace}'s {}", path.join(".")),
    };
    let namespace = &metadata.namespace;
    let is = caller
        .notes
        .and_then(|notes| notes.metadata(namespace, &metadata.path, value_shown));
    let mut wanted = Vec::new();
    values_wanted(&metadata.value, &mut wanted);
    Told {
        subject,
        is: is.unwrap_or_else(|| "missing".to_owned()),
        wanted,
    }
}

fn value_shown(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(value) => value.to_string(),
        Value::Number(_) => "a number".to_owned(),
        Value::Text(text) => shown(text.as_bytes()),
        Value::List(all) => {
            let some: Vec<String> = all.iter().take(MOST).map(value_shown).collect();
            let more = if all.len() > MOST { ", …" } else { "" };
            format!("[{}{more}]", some.join(", "))
        }
        Value::Fields(_) => "an object".to_owned(),
    }
}

/// Each once: a claim may be a value, or a list with it.
fn values_wanted(value: &ValueMatcher, into: &mut Vec<String>) {
    let one = match value {
        ValueMatcher::Or(all) => return all.iter().for_each(|one| values_wanted(one, into)),
        ValueMatcher::OneOf(one) => return values_wanted(one, into),
        ValueMatcher::Text(text) => wanted(text),
        ValueMatcher::Bool(value) => value.to_string(),
        ValueMatcher::Number(number) => number.to_string(),
        ValueMatcher::Range { start, end } => format!("from {start} up to {end}"),
        ValueMatcher::Null => "null".to_owned(),
        ValueMatcher::Present(true) => "any".to_owned(),
        ValueMatcher::Present(false) => "never".to_owned(),
    };
    if !into.contains(&one) {
        into.push(one);
    }
}

/// In quotes, so that nothing of a request's own breaks out of a line.
fn shown(value: &[u8]) -> String {
    let text = String::from_utf8_lossy(value);
    let cut: String = text.chars().take(LONGEST).collect();
    match cut.len() == text.len() {
        true => format!("{cut:?}"),
        false => format!("{cut:?}…"),
    }
}

fn wanted(text: &StringMatcher) -> String {
    let cut = |text: &str| text.chars().take(LONGEST).collect::<String>();
    match &text.pattern {
        Pattern::Exact(text) => cut(text),
        Pattern::Prefix(text) => format!("{}*", cut(text)),
        Pattern::Suffix(text) => format!("*{}", cut(text)),
        Pattern::Contains(text) => format!("*{}*", cut(text)),
        Pattern::Regex(regex) => {
            let anchored = regex.as_str();
            let bare = anchored
                .strip_prefix("^(?:")
                .and_then(|rest| rest.strip_suffix(")$"));
            match bare.unwrap_or(anchored) {
                ".+" => "any".to_owned(),
                said => cut(said),
            }
        }
        Pattern::Present => "any".to_owned(),
    }
}

fn listed(names: &Names) -> Vec<String> {
    names
        .iter()
        .map(|name| String::from_utf8_lossy(name).chars().take(LONGEST).collect())
        .collect()
}
