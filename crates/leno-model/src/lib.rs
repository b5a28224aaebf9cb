//! One model for every dialect: an immutable snapshot of the mesh, and what changed.
//!
//! Istio's CRDs and the Gateway API say the same things in different words. Here they are one thing:
//! services, workloads, routes and policies, each naming the object it came from ([`Origin`]), so that
//! a log line, a status or `leno explain` can point at file and line. A [`Snapshot`] is never changed; the
//! single writer builds the next one and says in a [`Delta`] which keys differ.

mod analyze;
pub mod authentication;
pub mod authorization;
mod build;
pub mod delta;
mod diff;
pub mod envoy_filter;
pub mod gateway;
pub mod in_force;
pub mod mesh;
pub mod name;
pub mod policy;
pub mod route;
mod selection;
pub mod service;
pub mod sidecar;
pub mod snapshot;
pub mod telemetry;
pub mod trust;
pub mod vip;
pub mod visibility;
pub mod workload;
mod world;

pub use analyze::analyze;
pub use authentication::{Authentication, JwtRule, KeyNews, KeySource, Keys, RequestAuthentication};
pub use authorization::{
    Authorization, AuthorizationAction, AuthorizationCondition, AuthorizationPolicy, AuthorizationRule,
};
pub use build::request_authentication::key_sources;
pub use delta::Delta;
pub use envoy_filter::{EnvoyFilter, EnvoyFilters, EnvoyPatch};
pub use gateway::{
    Gateway, GatewayHost, GatewayProtocol, GatewaySecret, GatewayServer, GatewayStream, GatewayTls,
};
pub use mesh::{Authorizer, AuthorizerBody, AuthorizerHttp, MeshConfig, OutboundPolicy, PathNormalization};
pub use name::{Host, Labels, Origin, WorkloadId};
pub use policy::{
    ConnectionPool, HostPolicies, LoadBalancer, LocalityLb, MtlsMode, OutlierDetection, PeerMtls,
    ServicePolicy, Subset, TlsMode, TrafficPolicy,
};
pub use route::{HttpAction, HttpMatch, HttpRoute, HttpRule, StringMatch, TcpRoute, WeightedBackend};
pub use service::{Backing, Endpoint, Protocol, Service, ServicePort};
pub use sidecar::Sidecar;
pub use snapshot::Snapshot;
pub use telemetry::{Telemetries, Telemetry};
pub use trust::{Revoked, Trust};
pub use vip::VipTable;
pub use workload::{Workload, WorkloadPort};
pub use world::{Change, Outcome, World};
