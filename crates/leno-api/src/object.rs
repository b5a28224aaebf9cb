//! One object of the user's, with its place.

use std::fmt;
use std::sync::Arc;

use crate::codes::Code;
use crate::diagnostic::{Diagnostic, Place, Severity};
use crate::kinds::Labels;
use crate::kinds::destination_rule::DestinationRuleSpec;
use crate::kinds::http_route::HttpRouteSpec;
use crate::kinds::mesh_config::MeshConfigSpec;
use crate::kinds::peer_authentication::PeerAuthenticationSpec;
use crate::kinds::service::ServiceSpec;
use crate::kinds::virtual_service::VirtualServiceSpec;
use crate::node::{Node, Pos};

/// The kinds that leno serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    MeshConfig,
    Service,
    HttpRoute,
    VirtualService,
    DestinationRule,
    PeerAuthentication,
}

/// What makes an object the same object after an edit.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObjectKey {
    pub kind: Kind,
    pub namespace: Arc<str>,
    pub name: Arc<str>,
}

#[derive(Clone, Debug)]
pub struct Object {
    pub key: ObjectKey,
    pub labels: Labels,
    pub file: Arc<str>,
    pub spec: Spec,
    pub(crate) tree: Arc<Node>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Spec {
    MeshConfig(Box<MeshConfigSpec>),
    Service(Box<ServiceSpec>),
    HttpRoute(Box<HttpRouteSpec>),
    VirtualService(Box<VirtualServiceSpec>),
    DestinationRule(Box<DestinationRuleSpec>),
    PeerAuthentication(Box<PeerAuthenticationSpec>),
}

impl Kind {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::MeshConfig => "MeshConfig",
            Self::Service => "Service",
            Self::HttpRoute => "HTTPRoute",
            Self::VirtualService => "VirtualService",
            Self::DestinationRule => "DestinationRule",
            Self::PeerAuthentication => "PeerAuthentication",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// `VirtualService default/reviews`
impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}/{}", self.kind, self.namespace, self.name)
    }
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
