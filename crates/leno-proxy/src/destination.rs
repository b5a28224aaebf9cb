//! Where a connection to an upstream goes.

use std::net::SocketAddr;
use std::time::Duration;

use leno_engine::compile::cluster::Transport;

use crate::alpn::{Offer, is_mesh};

/// Where a connection goes and how.
#[derive(Clone, Debug)]
pub(crate) struct Destination {
    pub(crate) address: SocketAddr,
    pub(crate) transport: Transport,
    /// For SNI and verification where the transport takes it from the endpoint or the request.
    pub(crate) host: Option<String>,
    pub(crate) offer: Offer,
    /// To the workload itself, from an inbound listener.
    pub(crate) inbound: bool,
    pub(crate) timeout: Duration,
}

impl Destination {
    /// The far end is a proxy of the mesh.
    pub(crate) fn is_mesh(&self) -> bool {
        matches!(&self.transport, Transport::Tls(tls) if is_mesh(tls))
    }
}
