//! A downstream connection that is being served.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use leno_engine::decide::filter::ConnectionFacts;
use leno_telemetry::record::DownstreamRecord;
use leno_tls::PeerInfo;

use crate::drain::Drain;
use crate::peer_certificates::PeerCertificates;

/// A connection that has its chain.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) drain: Arc<Drain>,
    pub(crate) record: Rc<DownstreamRecord>,
    pub(crate) facts: ConnectionFacts,
    pub(crate) destination: SocketAddr,
    pub(crate) peer: Option<PeerInfo>,
    /// For `x-forwarded-client-cert`, where the chain asks for them.
    pub(crate) client_cert: PeerCertificates,
    pub(crate) buffer_limit: Option<u32>,
}

impl Connection {
    /// The peer's certificate has proved a mesh identity.
    pub(crate) fn is_mesh_peer(&self) -> bool {
        self.facts.peer_principal.is_some()
    }
}
