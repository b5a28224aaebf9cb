//! An explanation as data: what `-o json` prints, and what the text is made from.

use serde::Serialize;

#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Explanation {
    /// `files of …` or the control plane.
    pub told_by: String,
    pub from: String,
    pub to: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request: Option<Request>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<Name>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub listener: Option<Listener>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<Host>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub route: Option<Route>,
    /// Routes that were tried before, the nearest first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub missed: Vec<Missed>,
    /// Routes that would take the request, if the one that does did not stand before them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub shadowed: Vec<Made>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub action: Option<Action>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub targets: Vec<Target>,
    pub outcome: Outcome,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// Objects that are not in force, and why.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub left_out: Vec<String>,
}

#[derive(Clone, Debug, Serialize)]
pub struct Request {
    pub method: String,
    pub authority: String,
    /// As routes see it.
    pub path: String,
    /// It is not what was asked for.
    pub normalised: bool,
    pub headers: Vec<(String, String)>,
}

#[derive(Clone, Debug, Serialize)]
pub struct Name {
    pub host: String,
    /// Empty: others are asked.
    pub addresses: Vec<String>,
    pub known: bool,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Listener {
    pub name: String,
    pub chain: String,
    /// `HTTP` or `TCP`
    pub taken_as: &'static str,
    /// The route configuration's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub routes: Option<String>,
}

#[derive(Clone, Debug, Serialize)]
pub struct Host {
    pub name: String,
    pub domains: Vec<String>,
}

/// Who wrote a route.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Made {
    /// `VirtualService/default/reviews`; none: nobody, it is the service's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub object: Option<String>,
    /// Which of its rules, from 1 on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<u32>,
    /// `file:line:column`
    #[serde(skip_serializing_if = "Option::is_none")]
    pub place: Option<String>,
    /// The rule's own name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

#[derive(Clone, Debug, Serialize)]
pub struct Route {
    #[serde(flatten)]
    pub made: Made,
    pub matches: Vec<String>,
}

#[derive(Clone, Debug, Serialize)]
pub struct Missed {
    #[serde(flatten)]
    pub made: Made,
    /// Each condition that does not hold: what is wanted, and what the request has.
    pub because: Vec<String>,
}

/// What becomes of a request besides where it goes.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Action {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub answer: Option<Answer>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retries: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub faults: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub mirrors: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub hashed: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub authority: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub request_headers: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub response_headers: Vec<String>,
}

/// What the proxy answers itself.
#[derive(Clone, Debug, Serialize)]
pub struct Answer {
    pub status: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub location: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
}

/// A cluster that takes a share.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Target {
    /// Percent.
    pub share: f64,
    pub cluster: String,
    /// False: the control plane has no such cluster.
    pub found: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subset: Option<String>,
    /// The DestinationRule, and where it was written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy: Option<Made>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub balance: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub limits: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub endpoints: Vec<Endpoint>,
    /// Header edits of this share alone.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub request_headers: Vec<String>,
    /// What the proxy itself has in force of it, where that is not what was explained.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proxy: Option<String>,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Endpoint {
    /// None: it has none before it runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    pub port: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workload: Option<String>,
    pub health: &'static str,
    pub weight: u32,
    pub priority: usize,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub locality: String,
    pub transport: Transport,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inbound: Option<Inbound>,
    /// What declares it, where nothing runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub declared: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Transport {
    /// `plaintext`, `mTLS`, `TLS`
    pub mode: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sni: Option<String>,
    /// Who the other side must be.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub identities: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub alpn: Vec<String>,
    /// `HTTP/1.1`, `HTTP/2`; none: bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub speaks: Option<&'static str>,
}

/// What the far side does with it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Inbound {
    pub workload: String,
    /// What its port takes: `STRICT`, `PERMISSIVE` or `DISABLE`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<&'static str>,
    /// None: refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chain: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub application: Option<String>,
    /// By a policy, with this status.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// The authorizers that are asked first (action CUSTOM).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub asks: Vec<String>,
    /// Why it is refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
    /// By which policy, where that is written, and what the nearest one misses. Of what is not refused: by which policies
    /// somebody is asked.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub because: Vec<String>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Kind {
    /// To somebody.
    Forwarded,
    /// By the proxy itself, because a route says so.
    Answered,
    /// Nobody's route takes it.
    NoRoute,
    /// A policy, or a closed door.
    Refused,
    /// There is nobody to send it to.
    NoEndpoint,
    #[default]
    UnknownName,
}

#[derive(Clone, Debug, Default, Serialize)]
pub struct Outcome {
    pub kind: Kind,
    /// Of an answer that the client's own proxy gives.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    pub said: String,
}

impl Explanation {
    pub fn end(mut self, kind: Kind, status: Option<u16>, said: impl Into<String>) -> Self {
        self.outcome = Outcome {
            kind,
            status,
            said: said.into(),
        };
        self
    }
}

impl Kind {
    /// Whether the client gets what somebody meant it to get.
    pub fn is_served(self) -> bool {
        matches!(self, Self::Forwarded | Self::Answered)
    }
}
