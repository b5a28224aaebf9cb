//! Where a connection to an upstream goes.

use std::net::SocketAddr;
use std::time::Duration;

use leno_engine::compile::cluster::{Cluster, Transport};
use leno_engine::compile::endpoint::Endpoint;
use leno_engine::compile::listener::Address;
use leno_engine::compile::proxy_protocol::Tlv;
use leno_engine::compile::socket::SocketOption;
use leno_engine::decide::notes::{self, Notes};
use leno_engine::decide::proxy_protocol::{Addresses, Client};

use crate::alpn::{Offer, is_mesh};

/// Where a connection goes and how.
#[derive(Clone, Debug)]
pub(crate) struct Destination {
    pub(crate) address: Address,
    /// What it comes from; None: as the kernel likes.
    pub(crate) source: Option<SocketAddr>,
    pub(crate) options: Vec<SocketOption>,
    /// The addresses that are tried in turn, where the endpoint has several.
    pub(crate) tries: Vec<Try>,
    pub(crate) transport: Transport,
    /// For SNI and verification where the transport takes it from the endpoint or the request.
    pub(crate) host: Option<String>,
    pub(crate) offer: Offer,
    /// To the workload itself, from an inbound listener.
    pub(crate) inbound: bool,
    pub(crate) timeout: Duration,
    /// Whose connection it is to be, where the far end is told.
    pub(crate) client: Option<Client>,
    /// The client's connection that it is of alone.
    pub(crate) apart: Option<u64>,
    /// What a listener of the proxy's own is told.
    pub(crate) passed: notes::Passed,
}

/// One of an endpoint's addresses, and what a connection there comes from.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Try {
    pub(crate) address: SocketAddr,
    pub(crate) source: Option<SocketAddr>,
    pub(crate) options: Vec<SocketOption>,
}

/// What a connection is wanted for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Purpose<'p> {
    /// The request's, for transports that take a name from there.
    pub(crate) authority: Option<&'p [u8]>,
    pub(crate) offer: Offer,
    /// To the workload itself, from an inbound listener.
    pub(crate) inbound: bool,
    /// None: it is the proxy's own.
    pub(crate) behalf: Option<Behalf<'p>>,
}

/// A client on whose behalf a connection is made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Behalf<'c> {
    pub(crate) addresses: Addresses,
    /// Its connection's id.
    pub(crate) id: u64,
    /// Of the PROXY protocol that it came with.
    pub(crate) tlvs: &'c [Tlv],
    /// What is noted of the connection, or of the request.
    pub(crate) notes: Option<&'c Notes>,
}

// === impl Try ===

impl Try {
    /// In turn; nothing of an endpoint with one address.
    pub(crate) fn all(cluster: &Cluster, endpoint: &Endpoint, address: &Address) -> Vec<Self> {
        let Some(first) = address.socket().filter(|_| !endpoint.others.is_empty()) else {
            return Vec::new();
        };
        let sorted = cluster.address_order.sort(first, &endpoint.others);
        let one = |address: SocketAddr| {
            let (source, options) = cluster.socket_toward(address);
            Self {
                address,
                source,
                options,
            }
        };
        sorted.into_iter().map(one).collect()
    }
}

// === impl Behalf ===

impl From<Behalf<'_>> for Client {
    fn from(behalf: Behalf<'_>) -> Self {
        Self {
            addresses: behalf.addresses,
            tlvs: behalf.tlvs.to_vec(),
        }
    }
}

// === impl Destination ===

impl Destination {
    /// The far end is a proxy of the mesh.
    pub(crate) fn is_mesh(&self) -> bool {
        self.transport.tls().is_some_and(|tls| is_mesh(tls))
    }
}
