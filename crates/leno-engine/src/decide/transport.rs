//! What is spoken to an endpoint below HTTP, and what a listener looks for in what it is sent.

use std::borrow::Cow;

use super::matcher::tree::{Facts, Undecided};
use crate::compile::cluster::{SocketTree, Transport, TransportSockets};
use crate::compile::endpoint::{Endpoint, TRANSPORT_SOCKET_MATCH};
use crate::compile::listener::{ListenerFilters, Ports};
use crate::compile::matcher::input::Input;
use crate::compile::metadata::{Fields, Value};

/// What a matcher of transport sockets looks at.
enum Said<'s> {
    By(&'s Endpoint),
    /// In place of what is said of the endpoint for this.
    Only(&'s Fields),
}

impl TransportSockets {
    /// The first whose demands the endpoint's metadata meet, else the first for its locality's, else the cluster's own.
    /// Where there is a matcher, what it says, else the cluster's own.
    pub fn of(&self, endpoint: &Endpoint) -> &Transport {
        if let Some(matcher) = &self.matcher {
            return self.chosen(matcher, &Said::By(endpoint));
        }
        if self.matches.is_empty() {
            return &self.default;
        }
        let locality = match endpoint.locality_metadata.get(TRANSPORT_SOCKET_MATCH) {
            Some(Value::Fields(fields)) => fields,
            _ => &Fields::new(),
        };
        self.first(&endpoint.transport_match)
            .or_else(|| self.first(locality))
            .unwrap_or(&self.default)
    }

    /// The first whose criteria are all among these, else the cluster's own.
    pub fn matching(&self, has: &Fields) -> &Transport {
        if let Some(matcher) = &self.matcher {
            return self.chosen(matcher, &Said::Only(has));
        }
        self.first(has).unwrap_or(&self.default)
    }

    fn chosen(&self, matcher: &SocketTree, said: &Said<'_>) -> &Transport {
        let place = matcher.decide(said).copied().flatten();
        let chosen = place.and_then(|place| self.matches.get(place));
        chosen.map_or(&self.default, |(_, transport)| transport)
    }

    fn first(&self, has: &Fields) -> Option<&Transport> {
        let mut matches = self.matches.iter();
        matches
            .find(|(wanted, _)| wanted.iter().all(|(name, value)| has.get(name) == Some(value)))
            .map(|(_, transport)| transport)
    }
}

// === impl Said ===

impl Said<'_> {
    fn endpoint(&self, namespace: &str) -> Option<&Fields> {
        match (self, namespace) {
            (Self::By(endpoint), "envoy.lb") => Some(&endpoint.metadata),
            (Self::By(endpoint), TRANSPORT_SOCKET_MATCH) => Some(&endpoint.transport_match),
            (Self::By(endpoint), namespace) => fields(endpoint.other_metadata.as_deref()?.get(namespace)?),
            (Self::Only(fields), TRANSPORT_SOCKET_MATCH) => Some(fields),
            (Self::Only(_), _) => None,
        }
    }

    fn locality(&self, namespace: &str) -> Option<&Fields> {
        match self {
            Self::By(endpoint) => fields(endpoint.locality_metadata.get(namespace)?),
            Self::Only(_) => None,
        }
    }
}

fn fields(value: &Value) -> Option<&Fields> {
    match value {
        Value::Fields(fields) => Some(fields),
        _ => None,
    }
}

impl Facts for Said<'_> {
    /// As in Envoy what is not said is `null`, and what is no text is JSON.
    fn get(&self, input: &Input) -> Result<Option<Cow<'_, [u8]>>, Undecided> {
        let (said, path) = match input {
            Input::EndpointMetadata { namespace, path } => (self.endpoint(namespace), path),
            Input::LocalityMetadata { namespace, path } => (self.locality(namespace), path),
            _ => return Ok(None),
        };
        let Some((last, way)) = path.split_last() else {
            return Ok(None);
        };
        let inner = way
            .iter()
            .try_fold(said, |at, name| Some(at.and_then(|at| fields(at.get(name)?))));
        Ok(match inner.flatten().and_then(|at| at.get(last)) {
            None => Some(Cow::Borrowed(b"null")),
            Some(Value::Text(text)) => Some(Cow::Borrowed(text.as_bytes())).filter(|text| !text.is_empty()),
            Some(value) => {
                let mut json = Vec::new();
                value.write_json(&mut json);
                Some(Cow::Owned(json))
            }
        })
    }
}

// === impl ListenerFilters ===

impl ListenerFilters {
    /// Whether connections to this port are looked at for TLS.
    pub fn looks_for_tls(&self, port: u16) -> bool {
        self.tls_inspector && !self.tls_inspector_off.contain(port)
    }

    /// Whether connections to this port are looked at for HTTP.
    pub fn looks_for_http(&self, port: u16) -> bool {
        self.http_inspector && !self.http_inspector_off.contain(port)
    }
}

// === impl Ports ===

impl Ports {
    fn contain(&self, port: u16) -> bool {
        match self {
            Self::Any => true,
            Self::Range(range) => (range.start..range.end).contains(&port),
            Self::Not(inner) => !inner.contain(port),
            Self::And(all) => all.iter().all(|inner| inner.contain(port)),
            Self::Or(any) => any.iter().any(|inner| inner.contain(port)),
        }
    }
}
