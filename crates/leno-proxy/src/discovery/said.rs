//! What is said between the task and its sources.

use leno_engine::compile::config_source::{Origin, Source};
use leno_proto::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse,
};
use tokio::sync::mpsc;

use crate::grpc;
use crate::resources::Kind;

/// A source, and of which type; ADS is of all.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    origin: Origin,
    kind: Option<Kind>,
}

/// What a feed tells.
pub(super) struct Said {
    pub(super) key: Key,
    /// Of which connection.
    pub(super) epoch: u64,
    pub(super) event: Event,
}

pub(super) enum Event {
    Opened(mpsc::UnboundedSender<Outgoing>),
    Message(Incoming),
    Lost(grpc::Error),
    /// A file has been read, or a poll answered.
    Read(Result<DiscoveryResponse, String>),
}

pub(super) enum Outgoing {
    Delta(DeltaDiscoveryRequest),
    State(DiscoveryRequest),
}

pub(super) enum Incoming {
    Delta(DeltaDiscoveryResponse),
    State(DiscoveryResponse),
}

// === impl Key ===

impl Key {
    pub(super) fn new(source: &Source, kind: Kind) -> Self {
        let kind = (source.origin != Origin::Ads).then_some(kind);
        Self {
            origin: source.origin.clone(),
            kind,
        }
    }

    pub(super) fn kind(&self) -> Option<Kind> {
        self.kind
    }

    pub(super) fn origin(&self) -> &Origin {
        &self.origin
    }

    pub(super) fn ads() -> Self {
        Self {
            origin: Origin::Ads,
            kind: None,
        }
    }
}
