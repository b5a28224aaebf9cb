//! Which requests a tap is about.

use leno_engine::compile::listener::Direction;
use leno_proto::control::TapFilter;
use regex::bytes::{Regex, RegexBuilder};

use crate::metrics::{Identity, Reporter};
use crate::record::RequestRecord;

/// Bytes that a compiled expression may take.
const LARGEST_REGEX: usize = 1 << 20;

/// All of what is set must hold.
#[derive(Debug, Default)]
pub struct Filter {
    method: String,
    path: String,
    path_regex: Option<Regex>,
    /// First and last status; empty: any. 0: no response.
    status: Vec<(u16, u16)>,
    host: String,
    peer: Option<Peer>,
    direction: Option<Direction>,
    once: bool,
}

/// Whom a request comes from, or goes to.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Peer {
    Namespace(String),
    Principal(String),
    /// A workload, a service, or either with its namespace after a dot.
    Name(String),
}

/// What cannot be meant: field, and what would be right.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} — {field} — {hint}")]
pub struct BadFilter {
    pub field: &'static str,
    pub what: String,
    pub hint: &'static str,
}

// === impl Filter ===

impl Filter {
    pub fn parse(filter: &TapFilter) -> Result<Self, BadFilter> {
        let TapFilter {
            method,
            path,
            path_regex,
            status,
            host,
            peer,
            direction,
            once,
        } = filter;
        if !path.is_empty() && !path.starts_with('/') {
            return Err(BadFilter {
                field: "path",
                what: format!("\"{path}\" is no path"),
                hint: "write the beginning of a path, as /reviews, or use a regular expression",
            });
        }
        Ok(Self {
            method: method.to_ascii_uppercase(),
            path: path.clone(),
            path_regex: match path_regex.as_str() {
                "" => None,
                expression => Some(regex(expression)?),
            },
            status: status_ranges(status)?,
            host: host.to_ascii_lowercase(),
            peer: Peer::parse(peer),
            direction: match direction.as_str() {
                "" => None,
                "inbound" => Some(Direction::Inbound),
                "outbound" => Some(Direction::Outbound),
                other => {
                    return Err(BadFilter {
                        field: "direction",
                        what: format!("\"{other}\" is no direction"),
                        hint: "write inbound or outbound",
                    });
                }
            },
            once: *once,
        })
    }

    pub(super) fn matches(&self, record: &RequestRecord<'_>) -> bool {
        let request = record.request;
        let status = record.response.map_or(0, |response| response.status);
        let inbound = record.downstream.direction == Direction::Inbound;
        let plain = (self.method.is_empty() || self.method.as_bytes() == request.method.as_ref())
            && request.path.starts_with(self.path.as_bytes())
            && self
                .path_regex
                .as_ref()
                .is_none_or(|regex| regex.is_match(&request.path))
            && (self.status.is_empty()
                || self
                    .status
                    .iter()
                    .any(|(first, last)| (*first..=*last).contains(&status)))
            && self
                .direction
                .as_ref()
                .is_none_or(|direction| *direction == record.downstream.direction)
            && !(self.once && inbound && record.downstream.peer_principal.is_some());
        if !plain || (self.host.is_empty() && self.peer.is_none()) {
            return plain;
        }
        let identity = Identity::of_request(record);
        self.is_of_host(&request.authority, &identity)
            && self.peer.as_ref().is_none_or(|peer| peer.is_of(&identity))
    }

    fn is_of_host(&self, authority: &[u8], identity: &Identity<'_>) -> bool {
        if self.host.is_empty() {
            return true;
        }
        let authority = authority.to_ascii_lowercase();
        let rest = authority.strip_prefix(self.host.as_bytes());
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(b":")) || is_service(&self.host, identity)
    }
}

fn regex(expression: &str) -> Result<Regex, BadFilter> {
    // As in Envoy's matchers: the whole path, and without the query, must match.
    let whole = format!("^(?:{expression})(?:\\?.*)?$");
    let built = RegexBuilder::new(&whole).size_limit(LARGEST_REGEX).build();
    built.map_err(|error| BadFilter {
        field: "path",
        what: format!("\"{expression}\" is no regular expression: {}", reason(&error)),
        hint: "write one in RE2's syntax, as /reviews/[0-9]+",
    })
}

/// The last line of a syntax error says what it is; those before it draw the place.
fn reason(error: &regex::Error) -> String {
    let text = error.to_string();
    let last = text.lines().last().unwrap_or_default();
    last.trim_start_matches("error: ").to_owned()
}

/// `404`, `5xx`, `500-504`, or several with commas.
fn status_ranges(text: &str) -> Result<Vec<(u16, u16)>, BadFilter> {
    let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
    parts
        .map(|part| {
            status_range(part).ok_or_else(|| BadFilter {
                field: "status",
                what: format!("\"{part}\" is no status"),
                hint: "write 404, 5xx, 500-504, or several of them with commas; 0 is no response",
            })
        })
        .collect()
}

fn status_range(part: &str) -> Option<(u16, u16)> {
    if let Some(class) = part.strip_suffix("xx") {
        let class: u16 = class.parse().ok().filter(|class| (1..=5).contains(class))?;
        return Some((class * 100, class * 100 + 99));
    }
    let (first, last) = part.split_once('-').unwrap_or((part, part));
    let (first, last): (u16, u16) = (first.parse().ok()?, last.parse().ok()?);
    let known = |status| status == 0 || (100..=599).contains(&status);
    (first <= last && known(first) && known(last)).then_some((first, last))
}

// === impl Peer ===

impl Peer {
    fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "" => return None,
            principal if principal.starts_with("spiffe://") => Self::Principal(principal.to_owned()),
            text => match text.split_once('/') {
                Some(("ns" | "namespace", namespace)) => Self::Namespace(namespace.to_owned()),
                Some((_, name)) => Self::Name(name.to_owned()),
                None => Self::Name(text.to_owned()),
            },
        })
    }

    fn is_of(&self, identity: &Identity<'_>) -> bool {
        let peer = &identity.peer;
        let outbound = identity.reporter == Reporter::Source;
        match self {
            Self::Principal(principal) => principal == identity.peer_principal,
            Self::Namespace(namespace) => {
                namespace == peer.namespace || (outbound && namespace == identity.service_namespace)
            }
            Self::Name(name) => {
                let names = [peer.workload, peer.app, peer.canonical_service];
                let named = |own: &&str| !own.is_empty() && is_name(name, own, peer.namespace);
                names.iter().any(named) || (outbound && is_service(name, identity))
            }
        }
    }
}

fn is_service(name: &str, identity: &Identity<'_>) -> bool {
    let Identity {
        service,
        service_name,
        service_namespace,
        ..
    } = identity;
    name == *service || (!service_name.is_empty() && is_name(name, service_name, service_namespace))
}

/// Alone, or with the namespace after a dot.
fn is_name(text: &str, name: &str, namespace: &str) -> bool {
    let rest = text.strip_prefix(name);
    rest.is_some_and(|rest| rest.is_empty() || rest.strip_prefix('.') == Some(namespace))
}
