//! One object of the user's, with its place.

use std::sync::Arc;

use crate::codes::Code;
use crate::diagnostic::{Diagnostic, Place, Severity};
use crate::key::ObjectKey;
use crate::kinds::Labels;
use crate::kinds::authorization_policy::AuthorizationPolicySpec;
use crate::kinds::destination_rule::DestinationRuleSpec;
use crate::kinds::gateway::GatewaySpec;
use crate::kinds::gateway_api::{self, GatewayClassSpec, ReferenceGrantSpec};
use crate::kinds::http_route::HttpRouteSpec;
use crate::kinds::mesh_config::MeshConfigSpec;
use crate::kinds::namespace::NamespaceSpec;
use crate::kinds::peer_authentication::PeerAuthenticationSpec;
use crate::kinds::request_authentication::RequestAuthenticationSpec;
use crate::kinds::secret::SecretSpec;
use crate::kinds::service::ServiceSpec;
use crate::kinds::service_entry::ServiceEntrySpec;
use crate::kinds::sidecar::SidecarSpec;
use crate::kinds::tcp_route::TcpRouteSpec;
use crate::kinds::virtual_service::VirtualServiceSpec;
use crate::node::{Node, Pos};

#[derive(Clone, Debug)]
pub struct Object {
    pub key: ObjectKey,
    pub labels: Labels,
    /// Those of Istio's.
    pub annotations: Labels,
    pub file: Arc<str>,
    pub spec: Spec,
    pub(crate) tree: Arc<Node>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Spec {
    MeshConfig(Box<MeshConfigSpec>),
    Service(Box<ServiceSpec>),
    ServiceEntry(Box<ServiceEntrySpec>),
    Sidecar(Box<SidecarSpec>),
    HttpRoute(Box<HttpRouteSpec>),
    TcpRoute(Box<TcpRouteSpec>),
    VirtualService(Box<VirtualServiceSpec>),
    DestinationRule(Box<DestinationRuleSpec>),
    PeerAuthentication(Box<PeerAuthenticationSpec>),
    AuthorizationPolicy(Box<AuthorizationPolicySpec>),
    RequestAuthentication(Box<RequestAuthenticationSpec>),
    Gateway(Box<GatewaySpec>),
    KubernetesGateway(Box<gateway_api::GatewaySpec>),
    GatewayClass(Box<GatewayClassSpec>),
    ReferenceGrant(Box<ReferenceGrantSpec>),
    Secret(Box<SecretSpec>),
    Namespace(Box<NamespaceSpec>),
}

impl Object {
    /// Where the object begins.
    pub fn place(&self) -> Place {
        self.at(self.tree.pos)
    }

    /// Where a field is written, or what encloses it: `spec.http[0].route[1]`.
    pub fn place_of(&self, path: &str) -> Place {
        self.at(self.tree.pos_of(path))
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
            && self.tree == other.tree
    }
}
