//! Network filters before the one that serves the connection: who may connect, and how many, how often.
//!
//! One filter is one file and one row in [`FILTERS`]. They are asked once, when a connection has its chain and, with TLS,
//! has shaken hands. (Envoy asks some of them when the first byte comes; what is refused is refused all the same.)

mod connection_limit;
mod ext_authz;
mod local_ratelimit;
mod rbac;
mod set_filter_state;

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use leno_proto::google::protobuf::Any;

use crate::compile::Rejection;
use crate::compile::at::At;
use crate::compile::config_source::Source;
use crate::compile::service::GrpcService;
use crate::decide::places::Place;
use crate::decide::rbac::{Asked, Caller, Denial};
use crate::decide::tally::Tally;
use crate::flags::Flags;

/// What becomes of a connection.
#[derive(Debug)]
pub enum Admission {
    Admitted,
    /// While the connection lasts it holds a place.
    Holding(Place),
    /// Somebody outside of the proxy decides; what comes of it goes to [`NetworkFilterConfig::answered`].
    Asks(Ask),
    Refused {
        /// `%CONNECTION_TERMINATION_DETAILS%`
        details: String,
        flags: Flags,
        /// More of it, where policies say so.
        denial: Option<Box<Denial>>,
        /// Kept open and unanswered for so long.
        delay: Option<Duration>,
    },
}

/// A gRPC call of one encoded message; so is its answer.
#[derive(Debug)]
pub struct Ask {
    pub service: Arc<GrpcService>,
    pub path: &'static str,
    pub message: Bytes,
    /// For a service without a timeout of its own.
    pub patience: Duration,
}

/// A filter's compiled configuration, with its state in this process.
pub trait NetworkFilter: std::fmt::Debug + Send + Sync {
    fn admit(&self, caller: &Caller<'_>, now: Instant, tally: &dyn Tally) -> Admission;
    /// Why policies would turn a connection away now, one that was admitted before too; it is not counted.
    fn denies(&self, _caller: &Caller<'_>) -> Option<Denial> {
        None
    }
    /// The policy by which an authorizer would be asked.
    fn asks(&self, _caller: &Caller<'_>) -> Option<Asked> {
        None
    }
    /// What was asked has been answered; Err: why it was not, for people.
    fn answered(
        &self,
        _caller: &Caller<'_>,
        _answer: Result<Bytes, String>,
        _tally: &dyn Tally,
    ) -> Admission {
        Admission::Refused {
            details: "nothing was asked".to_owned(),
            flags: Flags::default(),
            denial: None,
            delay: None,
        }
    }
    /// Names that it counts by.
    fn counts(&self) -> Vec<String>;
    /// States that it tells, by name.
    fn states(&self) -> Vec<(String, u64)> {
        Vec::new()
    }
    /// Whether it may note something of a connection.
    fn notes(&self) -> bool {
        false
    }
}

/// Equal when their configurations are.
pub struct NetworkFilterConfig {
    encoded: Bytes,
    filter: Box<dyn NetworkFilter>,
    /// The configuration is elsewhere, and this is no more than its place.
    pub discovered: Option<Box<Discovered>>,
}

/// Where a filter's configuration comes from (ECDS), and what holds without it.
#[derive(Debug)]
pub struct Discovered {
    /// The filter's name, and the configuration's.
    pub name: String,
    pub source: Source,
    /// The full names of the messages that it may be.
    pub types: Vec<String>,
    pub default: Option<Arc<NetworkFilterConfig>>,
}

struct Kind {
    /// The full name of its configuration's message.
    message: &'static str,
    parse: Parse,
}

type Parse = fn(&At<'_>, &Any) -> Result<Box<dyn NetworkFilter>, Rejection>;

const FILTERS: &[Kind] = &[
    connection_limit::KIND,
    ext_authz::KIND,
    local_ratelimit::KIND,
    rbac::KIND,
    set_filter_state::KIND,
];

/// None: it is none of them.
pub(crate) fn config(at: &At<'_>, any: &Any) -> Result<Option<NetworkFilterConfig>, Rejection> {
    let name = any.type_url.rsplit_once('/').map_or("", |(_, name)| name);
    let Some(kind) = FILTERS.iter().find(|kind| kind.message == name) else {
        return Ok(None);
    };
    Ok(Some(NetworkFilterConfig {
        encoded: Bytes::copy_from_slice(&any.value),
        filter: (kind.parse)(at, any)?,
        discovered: None,
    }))
}

/// Whether a message of this type configures one of them.
pub(crate) fn is_known(any: &Any) -> bool {
    let name = any.type_url.rsplit_once('/').map_or("", |(_, name)| name);
    FILTERS.iter().any(|kind| kind.message == name)
}

impl NetworkFilterConfig {
    pub(crate) fn discovered(encoded: Bytes, discovered: Discovered) -> Self {
        Self {
            encoded,
            filter: Box::new(Missing),
            discovered: Some(Box::new(discovered)),
        }
    }

    pub fn admit(&self, caller: &Caller<'_>, now: Instant, tally: &dyn Tally) -> Admission {
        self.filter.admit(caller, now, tally)
    }

    /// The policy by which an authorizer would be asked about a connection.
    pub fn asks(&self, caller: &Caller<'_>) -> Option<Asked> {
        self.filter.asks(caller)
    }

    pub fn answered(
        &self,
        caller: &Caller<'_>,
        answer: Result<Bytes, String>,
        tally: &dyn Tally,
    ) -> Admission {
        self.filter.answered(caller, answer, tally)
    }

    /// Why policies would turn a connection away now.
    pub fn denies(&self, caller: &Caller<'_>) -> Option<Denial> {
        self.filter.denies(caller)
    }

    pub fn counts(&self) -> Vec<String> {
        self.filter.counts()
    }

    pub fn states(&self) -> Vec<(String, u64)> {
        self.filter.states()
    }

    pub fn notes(&self) -> bool {
        self.filter.notes()
    }
}

/// Without a configuration a filter lets nobody in.
#[derive(Debug)]
struct Missing;

impl NetworkFilter for Missing {
    fn admit(&self, _caller: &Caller<'_>, _now: Instant, _tally: &dyn Tally) -> Admission {
        Admission::Refused {
            details: "filter_config_not_found".to_owned(),
            flags: Flags::default(),
            denial: None,
            delay: None,
        }
    }

    fn counts(&self) -> Vec<String> {
        Vec::new()
    }
}

impl std::fmt::Debug for NetworkFilterConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.filter.fmt(f)
    }
}

impl PartialEq for NetworkFilterConfig {
    fn eq(&self, other: &Self) -> bool {
        self.encoded == other.encoded
    }
}
