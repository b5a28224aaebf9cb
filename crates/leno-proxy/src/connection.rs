//! A downstream connection that is being served.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;

use leno_engine::compile::proxy_protocol::Tlv;
use leno_engine::decide::filter::ConnectionFacts;
use leno_engine::decide::notes;
use leno_engine::decide::places::Place;
use leno_engine::decide::proxy_protocol::Addresses;
use leno_engine::decide::rbac::{Caller, Peer};
use leno_telemetry::record::DownstreamRecord;
use leno_telemetry::stats::ListenerStat;
use leno_tls::PeerInfo;

use crate::counts::{Lasting, Timed};
use crate::destination::Behalf;
use crate::drain::Drain;
use crate::load::Counted;
use crate::peer_certificates::PeerCertificates;

/// What serves a connection that has its chain, to its end. Boxed, so that nothing of what is needed only to get so
/// far (inspection, handshake) is held by connections that are idle.
pub(crate) type Serving = Pin<Box<dyn Future<Output = ()>>>;

/// A connection that has its chain.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) drain: Arc<Drain>,
    pub(crate) record: Rc<DownstreamRecord>,
    pub(crate) facts: ConnectionFacts,
    pub(crate) destination: SocketAddr,
    /// Somebody has told it: the connection was redirected, or its PROXY protocol says so.
    pub(crate) told: bool,
    /// Apart: most connections have none, and it is large.
    pub(crate) peer: Option<Box<PeerInfo>>,
    pub(crate) buffer_limit: Option<u32>,
    /// It is served however much there is to do.
    pub(crate) bypasses_overload: bool,
    /// Counted at its listener.
    pub(crate) active: Option<(Lasting<ListenerStat>, Timed<ListenerStat>)>,
    /// As one of its worker's load.
    pub(crate) _counted: Option<Counted>,
    pub(crate) seldom: Option<Box<Seldom>>,
}

/// What few connections have.
#[derive(Debug, Default)]
pub(crate) struct Seldom {
    /// For `x-forwarded-client-cert`, where the chain asks for them.
    pub(crate) client_cert: PeerCertificates,
    /// What it takes of what is limited.
    pub(crate) places: Vec<Place>,
    /// Extensions of the PROXY protocol that it came with and that are passed on. None: it came without it.
    pub(crate) tlvs: Option<Vec<Tlv>>,
}

// === impl Seldom ===

impl Seldom {
    pub(crate) fn is_empty(&self) -> bool {
        self.client_cert.is_empty() && self.places.is_empty() && self.tlvs.is_none()
    }
}

// === impl Connection ===

impl Connection {
    /// As policies see it that know no request.
    pub(crate) fn without_request(&self) -> Caller<'_> {
        Caller {
            request: None,
            ignores_parameters: false,
            remote: self.record.remote,
            peer: self.caller(),
            notes: self.record.notes.as_deref(),
            values: &*self.record,
        }
    }

    /// For connections to upstreams that are told of it.
    pub(crate) fn behalf(&self) -> Behalf<'_> {
        Behalf {
            addresses: Addresses {
                source: self.record.remote,
                destination: self.record.local,
            },
            id: self.record.connection_id,
            tlvs: self.tlvs().unwrap_or_default(),
            notes: self.record.notes.as_deref(),
        }
    }

    /// None: it came without the PROXY protocol.
    pub(crate) fn tlvs(&self) -> Option<&[Tlv]> {
        self.seldom.as_ref()?.tlvs.as_deref()
    }

    /// Where it was going, where that is not here.
    pub(crate) fn original_destination(&self) -> Option<SocketAddr> {
        self.told.then_some(self.destination)
    }

    /// Where filters want it to go.
    pub(crate) fn noted_destination(&self) -> Option<SocketAddr> {
        let notes = self.record.notes.as_deref()?;
        notes.address(notes::ORIGINAL_DST)
    }

    /// Takes places of what is limited.
    pub(crate) fn hold(&mut self, places: Vec<Place>) {
        if !places.is_empty() {
            self.seldom.get_or_insert_default().places.extend(places);
        }
    }

    pub(crate) fn client_cert(&self) -> Option<&PeerCertificates> {
        self.seldom.as_ref().map(|seldom| &seldom.client_cert)
    }

    /// What policies know of the other end.
    pub(crate) fn caller(&self) -> Peer<'_> {
        let peer = self.peer.as_deref();
        Peer {
            address: self.record.direct_remote.ip(),
            source: self.record.remote,
            destination: self.destination,
            server_name: self.record.sni.as_deref(),
            tls: self.facts.tls,
            uris: peer.map_or(&[], |peer| &peer.sans.uris),
            names: peer.map_or(&[], |peer| &peer.sans.dns),
            subject: peer.map_or("", |peer| &peer.subject),
        }
    }

    /// The client has shown a certificate, and it was verified.
    pub(crate) fn has_certificate(&self) -> bool {
        let peer = self.peer.as_deref();
        peer.is_some_and(|peer| peer.certificate_hash.is_some())
    }

    /// The peer's certificate has proved a mesh identity.
    pub(crate) fn is_mesh_peer(&self) -> bool {
        self.facts.peer_principal.is_some()
    }
}
