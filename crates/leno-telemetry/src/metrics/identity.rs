//! What keeps one label set apart from another.

use std::sync::Arc;

use leno_engine::compile::endpoint::WorkloadLabel;
use leno_engine::compile::listener::Direction;
use leno_engine::decide::filter::PeerMetadata;
use leno_engine::flags::{Flag, Flags};

use crate::record::{DownstreamRecord, RequestRecord, UpstreamRecord};

/// UNKNOWN, DEADLINE_EXCEEDED, UNIMPLEMENTED, INTERNAL, UNAVAILABLE, DATA_LOSS: a server's failures by OpenTelemetry's
/// semantic conventions for gRPC.
const GRPC_SERVER_ERRORS: [u32; 6] = [2, 4, 12, 13, 14, 15];

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub(crate) enum Protocol {
    Http = 0,
    Grpc = 1,
    Tcp = 2,
}

impl Protocol {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Grpc => "grpc",
            Self::Tcp => "tcp",
        }
    }
}

/// Who speaks of it: the caller's proxy or the called one's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Reporter {
    Source,
    Destination,
}

/// `S` is a borrowed string while a record is counted, an owned one once its label set is kept.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Labels<S> {
    pub(crate) reporter: Reporter,
    pub(crate) protocol: Protocol,
    /// The other workload; empty where unknown.
    pub(crate) peer: Party<S>,
    /// SPIFFE ids as in the handshake; empty without mTLS.
    pub(crate) peer_principal: S,
    pub(crate) local_principal: S,
    pub(crate) service: S,
    pub(crate) service_name: S,
    pub(crate) service_namespace: S,
    /// The caller's route, and the object and rule that made it.
    pub(crate) route: S,
    pub(crate) made_by: S,
    pub(crate) rule: u32,
    /// 0: no response.
    pub(crate) code: u16,
    pub(crate) flags: Flags,
    pub(crate) grpc_status: Option<u32>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Party<S> {
    pub(crate) workload: S,
    pub(crate) namespace: S,
    pub(crate) app: S,
    pub(crate) version: S,
    pub(crate) canonical_service: S,
    pub(crate) canonical_revision: S,
    pub(crate) cluster: S,
}

pub(crate) type Identity<'a> = Labels<&'a str>;
pub(crate) type OwnedIdentity = Labels<String>;

// === impl Identity ===

impl<'a> Identity<'a> {
    pub(crate) fn of_request(record: &RequestRecord<'a>) -> Self {
        let grpc = record
            .request
            .headers
            .get("content-type")
            .is_some_and(|v| v.starts_with(b"application/grpc"));
        let mut identity = Self::of_connection(
            record.downstream,
            record.upstream,
            record.peer,
            record.flags.told(),
        );
        identity.protocol = if grpc { Protocol::Grpc } else { Protocol::Http };
        identity.code = record.response.map_or(0, |response| response.status);
        identity.grpc_status = record.grpc_status.filter(|_| grpc);
        if identity.reporter == Reporter::Source {
            identity.route = record.route.name;
            identity.made_by = record.route.made_by;
            identity.rule = record.route.rule;
        }
        if identity.service.is_empty() && identity.reporter == Reporter::Source {
            // Istio's fallback. For a host that the mesh does not know, the name is the cluster's.
            identity.service = std::str::from_utf8(&record.request.authority).unwrap_or_default();
        }
        identity
    }

    pub(crate) fn of_connection(
        downstream: &'a DownstreamRecord,
        upstream: Option<UpstreamRecord<'a>>,
        peer: &'a PeerMetadata,
        flags: Flags,
    ) -> Self {
        let inbound = downstream.direction == Direction::Inbound;
        let (peer_principal, local_principal) = if inbound {
            (
                downstream.peer_principal.as_ref(),
                downstream.local_principal.as_ref(),
            )
        } else {
            (
                upstream.and_then(|u| u.peer_principal),
                upstream.and_then(|u| u.local_principal),
            )
        };
        // What the peer says of itself, else what its endpoint's metadata say (which for inbound are our own).
        let workload = upstream
            .and_then(|u| u.workload)
            .filter(|_| !inbound && is_unknown(peer));
        let service = upstream.and_then(|u| u.service);
        let cluster = upstream.map_or("", |u| u.cluster);
        Labels {
            reporter: if inbound {
                Reporter::Destination
            } else {
                Reporter::Source
            },
            protocol: Protocol::Tcp,
            peer: workload.map_or_else(|| Party::from(peer), Party::from),
            peer_principal: text(peer_principal),
            local_principal: text(local_principal),
            service: service.map_or("", |service| service.host.as_str()),
            service_name: match service {
                Some(service) => service.name.as_str(),
                None if is_catch_all(cluster) => cluster,
                None => "",
            },
            service_namespace: service.map_or("", |service| service.namespace.as_str()),
            route: "",
            made_by: "",
            rule: 0,
            code: 0,
            flags,
            grpc_status: None,
        }
    }
}

impl Identity<'_> {
    /// A hash that is cheap and easily fooled: it says where to look first, never what is found there.
    pub(crate) fn glance(&self) -> usize {
        let texts = [
            self.service,
            self.peer.workload,
            self.peer_principal,
            self.service_name,
        ];
        let mut mix = u64::from(self.code) ^ (self.protocol as u64) << 16 ^ u64::from(self.rule) << 20;
        for text in texts {
            let tail = text
                .as_bytes()
                .last_chunk()
                .map_or(0, |tail| u64::from_le_bytes(*tail));
            mix = (mix.rotate_left(9) ^ tail ^ text.len() as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        }
        (mix >> 40) as usize
    }
}

// === impl Labels ===

impl<S: AsRef<str>> Labels<S> {
    pub(crate) fn is_mutual_tls(&self) -> bool {
        !self.peer_principal.as_ref().is_empty() && !self.local_principal.as_ref().is_empty()
    }

    /// Whether the operator would call it failed: a 5xx, a status that gRPC gives for a server's failure, or a flag
    /// that is not merely the client's leaving or a delay that was asked for.
    pub(crate) fn is_failure(&self) -> bool {
        let harmless = [
            Flag::DownstreamConnectionTermination,
            Flag::DownstreamRemoteReset,
            Flag::DelayInjected,
        ];
        self.code >= 500
            || self
                .grpc_status
                .is_some_and(|status| GRPC_SERVER_ERRORS.contains(&status))
            || self.flags.iter().any(|flag| !harmless.contains(&flag))
    }
}

// === impl OwnedIdentity ===

impl OwnedIdentity {
    pub(crate) fn overflow(protocol: Protocol) -> Self {
        let text = || "overflow".to_owned();
        Labels {
            reporter: Reporter::Source,
            protocol,
            peer: Party::default(),
            peer_principal: String::new(),
            local_principal: String::new(),
            service: text(),
            service_name: text(),
            service_namespace: text(),
            route: String::new(),
            made_by: String::new(),
            rule: 0,
            code: 0,
            flags: Flags::default(),
            grpc_status: None,
        }
    }

    pub(crate) fn matches(&self, identity: &Identity<'_>) -> bool {
        self.reporter == identity.reporter
            && self.protocol == identity.protocol
            && self.code == identity.code
            && self.flags == identity.flags
            && self.grpc_status == identity.grpc_status
            && self.service == identity.service
            && self.service_name == identity.service_name
            && self.service_namespace == identity.service_namespace
            && self.rule == identity.rule
            && self.route == identity.route
            && self.made_by == identity.made_by
            && self.peer_principal == identity.peer_principal
            && self.local_principal == identity.local_principal
            && self.peer.matches(&identity.peer)
    }
}

impl From<&Identity<'_>> for OwnedIdentity {
    fn from(identity: &Identity<'_>) -> Self {
        Labels {
            reporter: identity.reporter,
            protocol: identity.protocol,
            peer: Party {
                workload: identity.peer.workload.to_owned(),
                namespace: identity.peer.namespace.to_owned(),
                app: identity.peer.app.to_owned(),
                version: identity.peer.version.to_owned(),
                canonical_service: identity.peer.canonical_service.to_owned(),
                canonical_revision: identity.peer.canonical_revision.to_owned(),
                cluster: identity.peer.cluster.to_owned(),
            },
            peer_principal: identity.peer_principal.to_owned(),
            local_principal: identity.local_principal.to_owned(),
            service: identity.service.to_owned(),
            service_name: identity.service_name.to_owned(),
            service_namespace: identity.service_namespace.to_owned(),
            route: identity.route.to_owned(),
            made_by: identity.made_by.to_owned(),
            rule: identity.rule,
            code: identity.code,
            flags: identity.flags,
            grpc_status: identity.grpc_status,
        }
    }
}

// === impl Party ===

impl Party<String> {
    fn matches(&self, other: &Party<&str>) -> bool {
        self.workload == other.workload
            && self.namespace == other.namespace
            && self.app == other.app
            && self.version == other.version
            && self.canonical_service == other.canonical_service
            && self.canonical_revision == other.canonical_revision
            && self.cluster == other.cluster
    }
}

impl<'a> From<&'a PeerMetadata> for Party<&'a str> {
    fn from(peer: &'a PeerMetadata) -> Self {
        Party {
            workload: &peer.workload,
            namespace: &peer.namespace,
            app: &peer.app,
            version: &peer.version,
            canonical_service: &peer.canonical_service,
            canonical_revision: &peer.canonical_revision,
            cluster: &peer.cluster,
        }
    }
}

/// An endpoint's metadata name no `app` and `version` labels; Istio takes the canonical ones for them.
impl<'a> From<&'a WorkloadLabel> for Party<&'a str> {
    fn from(label: &'a WorkloadLabel) -> Self {
        Party {
            workload: &label.name,
            namespace: &label.namespace,
            app: &label.canonical_service,
            version: &label.canonical_revision,
            canonical_service: &label.canonical_service,
            canonical_revision: &label.canonical_revision,
            cluster: &label.cluster,
        }
    }
}

fn is_unknown(peer: &PeerMetadata) -> bool {
    peer.workload.is_empty() && peer.namespace.is_empty() && peer.canonical_service.is_empty()
}

/// Istio's clusters for what no service claims; the metrics call the service by the cluster's name.
fn is_catch_all(cluster: &str) -> bool {
    matches!(
        cluster,
        "PassthroughCluster" | "BlackHoleCluster" | "InboundPassthroughCluster"
    )
}

fn text(principal: Option<&Arc<str>>) -> &str {
    principal.map_or("", |principal| principal)
}
