//! What is told of a connection, above all of one that is not served.

use std::sync::Arc;

use leno_engine::compile::listener::{Listener, TransportProtocol};
use leno_engine::flags::Flag;
use leno_telemetry::record::DownstreamRecord;
use leno_tls::PeerInfo;

use super::Arrival;
use crate::inspect::Found;

impl Arrival {
    /// The client did not say in time what it speaks.
    pub(super) fn unspoken(&self, listener: &Listener, received: usize) {
        tracing::info!(
            remote = %self.remote, destination = %self.destination, received,
            "closed: the client did not say in time what it speaks"
        );
        let record = self.record(listener, &Found::raw(), None, None);
        self.worker.reporter.refused(
            &record,
            Flag::StreamIdleTimeout,
            "inspection_timed_out",
            &listener.access_log,
        );
    }

    pub(super) fn unmatched(&self, listener: &Listener, found: &Found) {
        let (remote, destination) = (self.remote, self.destination);
        let strict = listener.strict.get(&destination.port());
        let details = match strict.filter(|_| found.transport == TransportProtocol::RawBuffer) {
            Some(origin) => {
                tracing::warn!(%remote, %destination, origin, "plaintext refused: the port takes mutual TLS only (STRICT)");
                "strict_mtls"
            }
            None => {
                tracing::debug!(%remote, %destination, "no filter chain matches");
                "filter_chain_not_found"
            }
        };
        let record = self.record(listener, found, None, None);
        self.worker
            .reporter
            .refused(&record, Flag::NoRouteFound, details, &listener.access_log);
    }

    pub(super) fn handshake_failed(&self, listener: &Listener, found: &Found, error: &crate::tls::TlsError) {
        tracing::warn!(
            remote = %self.remote, destination = %self.destination, sni = found.sni.as_deref(), %error,
            "TLS handshake failed"
        );
        let record = DownstreamRecord {
            transport_failure: Some(error.to_string().into()),
            ..self.record(listener, found, None, None)
        };
        let details = "downstream_tls_handshake_failed";
        self.worker.reporter.refused(
            &record,
            Flag::DownstreamProtocolError,
            details,
            &listener.access_log,
        );
    }

    pub(super) fn record(
        &self,
        listener: &Listener,
        found: &Found,
        peer: Option<&PeerInfo>,
        local_principal: Option<Arc<str>>,
    ) -> DownstreamRecord {
        let ids = &self.worker.shared.connection_ids;
        DownstreamRecord {
            direction: listener.direction,
            istio_stats: listener.istio_stats,
            named: self.named.clone(),
            local: self.destination,
            direct_local: self.direct_local,
            remote: self.remote,
            direct_remote: self.direct,
            connection_id: ids.fetch_add(1, std::sync::atomic::Ordering::Relaxed),
            sni: match found.transport {
                TransportProtocol::Tls => found.sni.clone(),
                TransportProtocol::RawBuffer => None,
            },
            tls_version: peer.map(|peer| match peer.version {
                leno_tls::TlsVersion::V1_2 => "TLSv1.2",
                leno_tls::TlsVersion::V1_3 => "TLSv1.3",
            }),
            peer_principal: peer.and_then(|p| p.id.as_ref()).map(|id| id.to_string().into()),
            local_principal,
            tls: None,
            chain: None,
            listener_metadata: listener.told.clone(),
            transport_failure: None,
            notes: self.notes.clone(),
            fingerprints: found.fingerprints.clone(),
        }
    }
}
