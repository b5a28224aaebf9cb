//! One object of the user's, with its place.

use std::sync::Arc;

use crate::codes::Code;
use crate::diagnostic::{Diagnostic, Place, Severity};
use crate::key::ObjectKey;
use crate::kinds::Labels;
use crate::kinds::authorization_policy::AuthorizationPolicySpec;
use crate::kinds::destination_rule::DestinationRuleSpec;
use crate::kinds::endpoint_slice::EndpointSliceSpec;
use crate::kinds::envoy_filter::EnvoyFilterSpec;
use crate::kinds::gateway::GatewaySpec;
use crate::kinds::gateway_api::{self, GatewayClassSpec, ReferenceGrantSpec};
use crate::kinds::http_route::HttpRouteSpec;
use crate::kinds::ingress::{IngressClassSpec, IngressSpec};
use crate::kinds::mesh_config::MeshConfigSpec;
use crate::kinds::namespace::NamespaceSpec;
use crate::kinds::node::NodeSpec;
use crate::kinds::peer_authentication::PeerAuthenticationSpec;
use crate::kinds::proxy_config::ProxyConfigSpec;
use crate::kinds::request_authentication::RequestAuthenticationSpec;
use crate::kinds::secret::SecretSpec;
use crate::kinds::service::ServiceSpec;
use crate::kinds::service_entry::{EntryEndpoint, ServiceEntrySpec};
use crate::kinds::sidecar::SidecarSpec;
use crate::kinds::tcp_route::TcpRouteSpec;
use crate::kinds::telemetry::TelemetrySpec;
use crate::kinds::virtual_service::VirtualServiceSpec;
use crate::kinds::wasm_plugin::WasmPluginSpec;
use crate::kinds::workload_group::WorkloadGroupSpec;
use crate::node::Pos;
use crate::written::Written;

/// A copy shares what it says with the first.
#[derive(Clone, Debug)]
pub struct Object {
    pub key: ObjectKey,
    pub labels: Labels,
    /// Those of Istio's, and those that say an Ingress's class.
    pub annotations: Labels,
    pub file: Arc<str>,
    pub spec: Spec,
    pub(crate) written: Written,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Spec {
    MeshConfig(Arc<MeshConfigSpec>),
    Service(Arc<ServiceSpec>),
    ServiceEntry(Arc<ServiceEntrySpec>),
    Sidecar(Arc<SidecarSpec>),
    HttpRoute(Arc<HttpRouteSpec>),
    TcpRoute(Arc<TcpRouteSpec>),
    VirtualService(Arc<VirtualServiceSpec>),
    DestinationRule(Arc<DestinationRuleSpec>),
    PeerAuthentication(Arc<PeerAuthenticationSpec>),
    AuthorizationPolicy(Arc<AuthorizationPolicySpec>),
    RequestAuthentication(Arc<RequestAuthenticationSpec>),
    Gateway(Arc<GatewaySpec>),
    KubernetesGateway(Arc<gateway_api::GatewaySpec>),
    GatewayClass(Arc<GatewayClassSpec>),
    ReferenceGrant(Arc<ReferenceGrantSpec>),
    Secret(Arc<SecretSpec>),
    Namespace(Arc<NamespaceSpec>),
    EnvoyFilter(Arc<EnvoyFilterSpec>),
    ProxyConfig(Arc<ProxyConfigSpec>),
    Telemetry(Arc<TelemetrySpec>),
    WasmPlugin(Arc<WasmPluginSpec>),
    WorkloadEntry(Arc<EntryEndpoint>),
    WorkloadGroup(Arc<WorkloadGroupSpec>),
    EndpointSlice(Arc<EndpointSliceSpec>),
    Node(Arc<NodeSpec>),
    Ingress(Arc<IngressSpec>),
    IngressClass(Arc<IngressClassSpec>),
}

impl Object {
    /// Where the object begins.
    pub fn place(&self) -> Place {
        self.at(self.written.pos())
    }

    /// Where a field is written, or what encloses it: `spec.http[0].route[1]`.
    pub fn place_of(&self, path: &str) -> Place {
        self.at(self.written.pos_of(path))
    }

    /// A diagnostic about a field of this object.
    pub fn report(
        &self,
        code: Code,
        severity: Severity,
        path: &str,
        message: impl Into<String>,
    ) -> Diagnostic {
        Diagnostic::new(code, severity, self.place_of(path), message)
            .object(self.key.clone())
            .path(path)
    }

    fn at(&self, pos: Pos) -> Place {
        Place {
            file: self.file.clone(),
            line: pos.line,
            column: pos.column,
        }
    }
}

/// The same object, saying the same, at the same place.
impl PartialEq for Object {
    fn eq(&self, other: &Self) -> bool {
        self.key == other.key
            && self.file == other.file
            && self.labels == other.labels
            && self.written == other.written
    }
}
