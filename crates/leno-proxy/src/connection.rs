//! A downstream connection that is being served.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use leno_engine::decide::filter::ConnectionFacts;
use leno_telemetry::record::DownstreamRecord;
use leno_tls::PeerInfo;

use crate::drain::Drain;

/// A connection that has its chain.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) drain: Arc<Drain>,
    pub(crate) record: Rc<DownstreamRecord>,
    pub(crate) facts: ConnectionFacts,
    pub(crate) destination: SocketAddr,
    pub(crate) peer: Option<PeerInfo>,
}

impl Connection {
    /// The peer's certificate has proved a mesh identity.
    pub(crate) fn is_mesh_peer(&self) -> bool {
        self.facts.peer_principal.is_some()
    }
}
