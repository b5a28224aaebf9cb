//! A request from productpage to reviews as both sides record it.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use leno_engine::compile::cluster::ServiceName;
use leno_engine::compile::endpoint::WorkloadLabel;
use leno_engine::compile::listener::{Address, Direction};
use leno_engine::compile::log_filter::LogType;
use leno_engine::decide::filter::PeerMetadata;
use leno_engine::decide::notes::Notes;
use leno_engine::flags::Flags;
use leno_engine::message::{Headers, RequestHead, ResponseHead, Version};
use leno_telemetry::record::{
    ConnectionRecord, DownstreamRecord, LocalWorkload, RequestRecord, RouteRecord, UpstreamRecord,
};

/// Owns what a record borrows.
pub(crate) struct Sample {
    pub(crate) request: RequestHead,
    pub(crate) response: Option<ResponseHead>,
    pub(crate) grpc_status: Option<u32>,
    pub(crate) flags: Flags,
    pub(crate) duration: Duration,
    pub(crate) rule: u32,
    pub(crate) downstream: DownstreamRecord,
    pub(crate) peer: PeerMetadata,
    pub(crate) notes: Notes,
    pub(crate) cluster: String,
    pub(crate) service: Option<ServiceName>,
    pub(crate) workload: Option<WorkloadLabel>,
    pub(crate) remote: Address,
    pub(crate) upstream_peer: Option<Arc<str>>,
    pub(crate) upstream_local: Option<Arc<str>>,
}

pub(crate) const PRODUCTPAGE: &str = "spiffe://cluster.local/ns/default/sa/productpage";
pub(crate) const REVIEWS: &str = "spiffe://cluster.local/ns/default/sa/reviews";

pub(crate) fn productpage() -> LocalWorkload {
    LocalWorkload {
        workload: "productpage-v1".into(),
        namespace: "default".into(),
        app: "productpage".into(),
        version: "v1".into(),
        canonical_service: "productpage".into(),
        canonical_revision: "v1".into(),
        cluster: "Kubernetes".into(),
        principal: PRODUCTPAGE.into(),
    }
}

pub(crate) fn outbound() -> Sample {
    Sample {
        request: RequestHead {
            version: Version::Http11,
            method: Bytes::from_static(b"GET"),
            scheme: Bytes::from_static(b"http"),
            authority: Bytes::from_static(b"reviews:9080"),
            path: Bytes::from_static(b"/reviews/0?full=1"),
            headers: Headers::default(),
            upgrade: None,
        },
        response: Some(ResponseHead {
            version: Version::Http11,
            status: 200,
            headers: Headers::default(),
        }),
        grpc_status: None,
        flags: Flags::default(),
        duration: Duration::from_micros(7_300),
        rule: 1,
        downstream: DownstreamRecord {
            direction: Direction::Outbound,
            named: None,
            local: "240.240.0.7:9080".parse().unwrap(),
            direct_local: "240.240.0.7:9080".parse().unwrap(),
            remote: "198.18.0.2:40000".parse().unwrap(),
            direct_remote: "198.18.0.2:40000".parse().unwrap(),
            connection_id: 17,
            sni: None,
            tls_version: None,
            peer_principal: None,
            local_principal: None,
            tls: None,
            chain: None,
            istio_stats: false,
            listener_metadata: None,
            transport_failure: None,
            notes: None,
            fingerprints: None,
        },
        peer: PeerMetadata::default(),
        notes: Notes::default(),
        cluster: "outbound|9080||reviews.default.svc.cluster.local".into(),
        service: Some(ServiceName {
            host: "reviews.default.svc.cluster.local".into(),
            name: "reviews".into(),
            namespace: "default".into(),
        }),
        workload: Some(WorkloadLabel {
            name: "reviews-v2".into(),
            namespace: "default".into(),
            canonical_service: "reviews".into(),
            canonical_revision: "v2".into(),
            cluster: "Kubernetes".into(),
        }),
        remote: Address::Socket("127.0.0.9:9080".parse().unwrap()),
        upstream_peer: Some(REVIEWS.into()),
        upstream_local: Some(PRODUCTPAGE.into()),
    }
}

impl Sample {
    fn upstream(&self) -> UpstreamRecord<'_> {
        UpstreamRecord {
            name: &self.cluster,
            hostname: "",
            cluster: &self.cluster,
            service: self.service.as_ref(),
            workload: self.workload.as_ref(),
            remote: Some(&self.remote),
            local: Some("127.0.0.1:50000".parse().unwrap()),
            peer_principal: self.upstream_peer.as_ref(),
            local_principal: self.upstream_local.as_ref(),
            transport_failure: None,
            is_connected: true,
            version: None,
            connection_id: None,
            tls: None,
            server_name: None,
            wire: Default::default(),
            cluster_metadata: None,
            metadata: None,
        }
    }

    pub(crate) fn record(&self) -> RequestRecord<'_> {
        RequestRecord {
            // 2026-11-22T04:05:06.007Z
            start: SystemTime::UNIX_EPOCH + Duration::from_millis(1_795_320_306_007),
            duration: self.duration,
            request_duration: Some(Duration::from_millis(1)),
            response_duration: Some(Duration::from_millis(6)),
            request: &self.request,
            response: self.response.as_ref(),
            trailers: None,
            grpc_status: self.grpc_status,
            flags: self.flags,
            details: "via_upstream",
            bytes_received: 0,
            bytes_sent: 375,
            wire: Default::default(),
            route: RouteRecord {
                found: true,
                name: "default",
                rule: self.rule,
                made_by: "/apis/networking.istio.io/v1/namespaces/default/virtual-service/reviews",
                place: "reviews.yaml:8:5",
                ..RouteRecord::default()
            },
            upstream: Some(self.upstream()),
            attempts: 1,
            span: None,
            forced: false,
            random: 0,
            downstream: &self.downstream,
            peer: &self.peer,
            notes: &self.notes,
            log_type: LogType::DownstreamEnd,
            details_on_demand: None,
        }
    }

    pub(crate) fn connection(&self) -> ConnectionRecord<'_> {
        ConnectionRecord {
            start: SystemTime::UNIX_EPOCH,
            duration: self.duration,
            flags: self.flags,
            bytes_received: 10,
            bytes_sent: 20,
            upstream: Some(self.upstream()),
            downstream: &self.downstream,
            peer: &self.peer,
            details: "",
            termination: "",
            reset: false,
            log_type: LogType::TcpConnectionEnd,
            attempts: 1,
        }
    }
}
